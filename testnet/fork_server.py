"""The process that members of a local network are forked from: it has loaded what all of them need.

Loading takes two seconds of CPU and 50 MB. A dozen members that each do it keep two cores busy for a quarter of a
minute, and one that is restarted among busy others waits as long. Forked ones begin at once and share the memory.

Theory of operation. ``testnet.forking`` starts this module as a program and talks to it over its standard input and
output, one JSON object a line:

    in     ``{"home": DIR}``                                start the member of this home
    out    ``{"home": DIR, "pid": N}`` or ``{"home": DIR, "error": sentence}``
    out    ``{"pid": N, "status": S}``                      a member ended; negative for a signal

A member is named to the operating system (``ps``, ``testnet.processes``) before its start is answered, so once this
process is gone every member that it started can be found. It ends when its input does, and members live on. No
thread may run here, and nothing may be opened that members must not share: a fork copies both badly.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from setproctitle import setproctitle

from testnet.cli import PLAIN_START, main
from testnet.spawning import build_environment, open_output

MEMBERS_MODULES: Final = (
    "node.runtime",
    "consensus.pbft.engine",
    "consensus.tendermint.engine",
    "consensus.hotstuff.engine",
    # Litestar imports it when it makes an application.
    "litestar.plugins.pydantic",
)
_INPUT, _OUTPUT, _ERRORS = 0, 1, 2
_READ_BYTES: Final = 1 << 16


def load_members_code() -> None:
    """Import what a member imports, and keep the collector from touching it: a touched page is shared no more."""
    for name in MEMBERS_MODULES:
        import_module(name)
    gc.collect()
    gc.freeze()


class ForkLoop:
    """Answers requests until the input ends."""

    def __init__(self) -> None:
        self._partial = b""
        self._answers = os.dup(_OUTPUT)
        # What a library prints while it is loaded must not look like an answer.
        os.dup2(_ERRORS, _OUTPUT)
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def run(self) -> Path | None:
        """``None`` in this process, at the end; in each forked one the home whose member it is to be."""
        while True:
            ready, _, _ = select.select([_INPUT, self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, _READ_BYTES)
                self._report_ended()
            if _INPUT in ready:
                received = os.read(_INPUT, _READ_BYTES)
                if not received:
                    return None
                for home in self._split(received):
                    if self._fork(home):
                        return home

    def _split(self, received: bytes) -> Iterator[Path]:
        *lines, self._partial = (self._partial + received).split(b"\n")
        for line in lines:
            yield Path(json.loads(line)["home"])

    def _fork(self, home: Path) -> bool:
        """True in the new process."""
        try:
            output = open_output(home)
        except OSError as error:
            self._refuse(home, error)
            return False
        named, name = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            pid = None
            self._refuse(home, error)
        if pid == 0:
            self._become_member(home, output, (named, name))
            return True
        os.close(name)
        if pid is not None:
            # Ends when the other end is closed: by the member that has its name, or by its death.
            os.read(named, 1)
            self._answer({"home": str(home), "pid": pid})
        os.close(named)
        os.close(output)
        return False

    def _refuse(self, home: Path, error: OSError) -> None:
        self._answer({"home": str(home), "error": f"cannot start {home.name}: {error.strerror or error}"})

    def _become_member(self, home: Path, output: int, pipe: tuple[int, int]) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        setproctitle(" ".join(("rialto", *PLAIN_START, str(home))))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, _INPUT)
        os.dup2(output, _OUTPUT)
        os.dup2(output, _ERRORS)
        members = build_environment(os.environ)
        os.environ.clear()
        os.environ.update(members)
        os.chdir(home)
        for descriptor in (nothing, output, *pipe, self._answers, self._woken, self._wake):
            os.close(descriptor)

    def _report_ended(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._answer({"pid": pid, "status": os.waitstatus_to_exitcode(status)})

    def _answer(self, message: dict[str, Any]) -> None:
        rest = (json.dumps(message) + "\n").encode()
        try:
            while rest:
                rest = rest[os.write(self._answers, rest) :]
        except BrokenPipeError:
            # The supervisor is gone; the input ends too then.
            return


def serve() -> None:
    """Serve until the input ends; a forked member runs as ``rialto node start`` does, and exits likewise."""
    loop = ForkLoop()
    load_members_code()
    home = loop.run()
    if home is not None:
        main([*PLAIN_START, str(home)])


if __name__ == "__main__":
    serve()
