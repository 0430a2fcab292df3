"""Files and directories that survive a crash once the call returns.

A file is durable when its own bytes *and* the entry in its directory are synced; forgetting the second loses
the whole file. What does not live here: anything about the contents.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from node.clock import monotonic_us
from primitives.errors import LocalError

PRIVATE_FILE_MODE = 0o600
PUBLIC_FILE_MODE = 0o644
DIRECTORY_MODE = 0o700
COARSE_TICK_US: Final = 2_500_000
"""Longer than a tick of file systems that keep modification times in whole seconds, or every other one."""
FINE_TICK_US: Final = 100_000
"""The same of all others, which take the time from the kernel's tick of at most 10 ms."""
_SECOND_NS: Final = 10**9


def sync_directory(path: Path) -> None:
    """Make the entries of ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_directory(path: Path) -> None:
    """Create ``path`` and its missing parents, readable by the owner only, each entry durable.

    Raises ``LocalError`` where that is not possible; a directory that exists is fine.
    """
    if path.is_dir():
        return
    if path.parent != path:
        create_directory(path.parent)
    try:
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise LocalError(f"cannot create the directory {path}: {error.strerror}") from error


def create_file(path: Path, data: bytes, mode: int) -> None:
    """Create ``path`` with ``data`` as one atomic, durable step; raises ``LocalError`` if it exists.

    The bytes are written to a temporary file and linked into place, so no reader and no crash ever sees half
    of them, and linking (unlike renaming) never replaces what is there.
    """
    temporary = _write_temporary(path, data, mode)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise LocalError(f"{path} exists already and is never overwritten: move it away first") from None
    except OSError as error:
        raise LocalError(f"cannot create {path}: {error.strerror}") from error
    finally:
        temporary.unlink()
    sync_directory(path.parent)


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Put ``data`` at ``path`` as one atomic, durable step, whatever was there; raises ``LocalError``."""
    temporary = _write_temporary(path, data, mode)
    try:
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise LocalError(f"cannot write {path}: {error.strerror}") from error
    sync_directory(path.parent)


def read_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of ``path``; raises ``LocalError`` where it cannot be read or has more than ``max_bytes``."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > max_bytes:
        raise LocalError(f"{path} has more than {max_bytes} bytes")
    return data


def _write_temporary(path: Path, data: bytes, mode: int) -> Path:
    """A synced temporary file beside ``path``; the process id keeps two writers apart."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise LocalError(f"cannot write {path}: {error.strerror}") from error
    return temporary


class DirectoryWatch:
    """Tells from its modification time that a directory has no new entries, which costs a tenth of listing it.

    A file system's clock stands still for a tick, and what comes in the same tick changes nothing. So a time is
    believed only once the directory was listed again after its tick was over.
    """

    __slots__ = ("_is_settled", "_path", "_seen_ns", "_since_us")

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._seen_ns = -1
        self._since_us = 0
        self._is_settled = False

    def is_unchanged(self) -> bool:
        """Whether no entry came since the caller last listed the directory; it does so after each no."""
        modified_ns = os.stat(self._path).st_mtime_ns
        if modified_ns != self._seen_ns:
            self._seen_ns, self._since_us, self._is_settled = modified_ns, monotonic_us(), False
            return False
        if self._is_settled:
            return True
        tick_us = FINE_TICK_US if modified_ns % _SECOND_NS else COARSE_TICK_US
        self._is_settled = monotonic_us() - self._since_us > tick_us
        return False
