"""How a command says what went wrong: one line. Who catches, and the exit status, is the root command's affair."""

from __future__ import annotations

from primitives.errors import LocalError, RemoteError


def describe_failure(error: LocalError | RemoteError) -> str:
    """What happened and what to change, with the stable code where another side refused."""
    match error:
        case RemoteError():
            text = f"{error.message} ({error.code})"
        case LocalError():
            text = str(error)
    return " ".join(text.split())
