"""``process.json``: what a running node tells the outside about itself: pid, ports, the API's URL.

Written after everything is bound, removed at a clean exit. One that is left over names a pid that is dead, or by
now somebody else's; whoever reads it compares the start time too.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from node.durable_files import PUBLIC_FILE_MODE, read_file, replace_file
from primitives.errors import LocalError

PROCESS_FILE_NAME: Final = "process.json"
MAX_FILE_BYTES: Final = 4_096


@dataclass(frozen=True, slots=True)
class ProcessFile:
    """``started_ms`` is wall-clock time; ``rpc`` is the API's URL."""

    name: str
    pid: int
    p2p_port: int
    rpc_port: int
    rpc: str
    started_ms: int


def write_process_file(home: Path, process: ProcessFile) -> None:
    """Replace the file atomically."""
    data = json.dumps(asdict(process), indent=1).encode() + b"\n"
    replace_file(home / PROCESS_FILE_NAME, data, PUBLIC_FILE_MODE)


def read_process_file(home: Path) -> ProcessFile:
    """What the node in ``home`` wrote; raises ``LocalError`` where none runs there."""
    path = home / PROCESS_FILE_NAME
    if not path.exists():
        raise LocalError(f"{home}: no node runs here (there is no {PROCESS_FILE_NAME})")
    try:
        return ProcessFile(**json.loads(read_file(path, MAX_FILE_BYTES)))
    except (ValueError, TypeError) as error:
        raise LocalError(f"{path}: is no process file ({error})") from None


def remove_process_file(home: Path) -> None:
    """Remove it if it is ours."""
    path = home / PROCESS_FILE_NAME
    try:
        if json.loads(path.read_text())["pid"] == os.getpid():
            path.unlink()
    except (OSError, ValueError, KeyError, TypeError):
        return
