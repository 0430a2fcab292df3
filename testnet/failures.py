"""Finding the one sentence in what a nursery raises.

Nurseries wrap whatever their tasks raise in groups; an operator wants the first of our own errors.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from primitives.errors import LocalError, RemoteError


def find_expected_error(error: BaseException) -> LocalError | RemoteError | None:
    """The first of our own errors in ``error``; ``None`` where anything else, a bug, is among its leaves."""
    leaves = [leaf for leaf in _walk_leaves(error) if not isinstance(leaf, trio.Cancelled)]
    expected = [leaf for leaf in leaves if isinstance(leaf, LocalError | RemoteError)]
    return expected[0] if expected and len(expected) == len(leaves) else None


def is_interrupt(error: BaseException) -> bool:
    """Whether a Ctrl-C is what ended it."""
    return any(isinstance(leaf, KeyboardInterrupt) for leaf in _walk_leaves(error))


def _walk_leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _walk_leaves(inner)
    else:
        yield error
