"""One clear line on standard error and a non-zero status for everything that goes wrong in a command."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import typer

from primitives.errors import LocalError, RemoteError, RialtoError

P = ParamSpec("P")
T = TypeVar("T")

EXIT_FAILURE: Final = 1
EXIT_INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""


def reported(command: Callable[P, T]) -> Callable[P, T]:
    """A command whose errors of either family end it with one line instead of a traceback.

    Bugs of ours keep their traceback: hiding it would help nobody.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (RialtoError, KeyboardInterrupt, BrokenPipeError, BaseExceptionGroup) as error:
            raise _end(error) from None

    return run


def describe_failure(error: RialtoError) -> str:
    """One line: what happened and what to change."""
    match error:
        case RemoteError():
            text = f"{error.message} ({error.code})"
        case LocalError():
            text = str(error)
        case _:
            text = repr(error)
    return " ".join(text.split())


def _end(error: BaseException) -> typer.Exit:
    cause = _find_cause(error)
    if cause is None:
        raise error
    if isinstance(cause, RialtoError):
        sys.stderr.write(f"error: {describe_failure(cause)}\n")
        return typer.Exit(EXIT_FAILURE)
    if isinstance(cause, BrokenPipeError):
        # The reader of our output has left; standard output must not complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return typer.Exit(EXIT_FAILURE)
    return typer.Exit(EXIT_INTERRUPTED)


def _find_cause(error: BaseException) -> BaseException | None:
    """The first expected error in a tree of groups; ``None`` where anything unexpected is in it."""
    if not isinstance(error, BaseExceptionGroup):
        return error if isinstance(error, RialtoError | KeyboardInterrupt | BrokenPipeError) else None
    causes = [_find_cause(member) for member in error.exceptions]
    return None if any(cause is None for cause in causes) else causes[0]
