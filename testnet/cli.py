"""``rialto``: the start of the command line, and the one place where errors become one line and an exit status.

Exit status: 0 done, 1 failed (one sentence on standard error), 2 used wrongly, 130 interrupted. A plain
``rialto node start --home DIR``, which a launcher runs many times over, goes without the libraries that the command
line is made with: half a second of CPU and 10 MB in each process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from testnet.failures import find_expected_error, is_interrupt

EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
PLAIN_START: Final = ["node", "start", "--home"]
"""Followed by a directory and nothing else."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit with its status."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: list[str]) -> int:
    """The exit status of a command line. A bug of ours keeps its traceback: hiding it would help nobody."""
    try:
        if arguments[:3] == PLAIN_START and len(arguments) == 4 and not arguments[3].startswith("-"):
            _start_node(Path(arguments[3]))
            return 0
        from testnet.command_line import invoke

        invoke(arguments)
    except SystemExit as ended:
        return _read_status(ended)
    except BaseException as error:
        return _report(error)
    return 0


def _start_node(home: Path) -> None:
    from node.cli.prompt import find_prompt
    from node.runtime import start_node

    start_node(home.absolute(), os.environ, find_prompt())


def _read_status(ended: SystemExit) -> int:
    if ended.code is None:
        return 0
    return ended.code if isinstance(ended.code, int) else EXIT_FAILURE


def _report(error: BaseException) -> int:
    expected = find_expected_error(error)
    if expected is not None:
        from node.cli.failures import describe_failure

        sys.stderr.write(f"error: {describe_failure(expected)}\n")
        return EXIT_FAILURE
    if is_interrupt(error):
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader of our output has left; standard output must not complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    raise error


if __name__ == "__main__":
    main()
