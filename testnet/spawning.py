"""Starting members: what a supervisor asks of whoever does it, and what every way of doing it has to keep.

What does not live here: how it is done (``testnet.forking``), finding processes again (``testnet.processes``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from node.durable_files import PRIVATE_FILE_MODE
from testnet.processes import wait_gone

OUTPUT_FILE: Final = "output.log"
PREVIOUS_OUTPUT_FILE: Final = "output.previous.log"
MAX_OUTPUT_TAIL_BYTES: Final = 64 << 10
FOUND_POLL_S: Final = 0.5
_VARIABLE_PREFIX: Final = "RIALTO_"


class MemberProcess(Protocol):
    """One member's process."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int | None:
        """Return when it has ended: its exit status, negative for a signal; ``None`` where nobody knows it."""
        ...


class Spawner(Protocol):
    """Starts members, each in a session of its own, in its home, its output in ``output.log`` there."""

    async def spawn(self, home: Path) -> MemberProcess:
        """Start the member of ``home``; raises ``LocalError``."""
        ...

    async def close(self) -> None:
        """After this nothing is started any more, also nothing that was asked for. Members live on."""
        ...


@dataclass(frozen=True, slots=True)
class FoundMember:
    """A process whose parent somebody else is, or was: watched from outside."""

    home: Path
    pid: int

    async def wait(self) -> int | None:
        await wait_gone({self.home: self.pid}, math.inf, FOUND_POLL_S)
        return None


def build_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of members: without our own variables, which would give all the same port or passphrase."""
    return {name: value for name, value in environment.items() if not name.startswith(_VARIABLE_PREFIX)}


def open_output(home: Path) -> int:
    """A descriptor of the empty ``output.log``; what was in it is kept beside it. Raises ``OSError``."""
    output = home / OUTPUT_FILE
    if output.exists() and output.stat().st_size:
        output.replace(home / PREVIOUS_OUTPUT_FILE)
    return os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE_MODE)


def read_last_words(home: Path) -> str:
    """The last line that a process wrote to standard error before it ended."""
    try:
        with (home / OUTPUT_FILE).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - MAX_OUTPUT_TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip().removeprefix("error: ") if lines else "it said nothing"
