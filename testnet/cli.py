"""``rialto``: the root of the command line, and the one place where errors become one line and an exit status.

Exit status: 0 done, 1 failed (one sentence on standard error), 2 used wrongly, 130 interrupted. Each part of the
command line is imported only when it is called, so ``rialto --help`` and the start of a node are quick.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group

from testnet.failures import find_expected_error, is_interrupt

PROGRAM: Final = "rialto"
EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

PARTS: Final[dict[str, tuple[str, str, str]]] = {
    "testnet": ("testnet.commands", "testnet_app", "Networks on this machine: start, break, check, measure."),
    "node": ("node.cli.node", "node_app", "Run one validator."),
    "keys": ("node.cli.keys", "keys_app", "Encrypted key files."),
    "account": ("node.cli.account", "account_app", "Accounts: balances, funding, transfers."),
    "order": ("node.cli.order", "order_app", "Orders of your account."),
    "market": ("node.cli.market", "market_app", "Markets and their books."),
    "engine": ("testnet.conformance.commands", "engine_app", "Consensus engines: list them, check them."),
    "simulate": ("testnet.simulator.commands", "simulate_app", "Break engines on virtual time, by seed."),
    "bench": ("testnet.bench.commands", "bench_app", "Measure speed and memory."),
}
"""name → module, its typer application, and what it is for."""


class LazyGroup(TyperGroup):
    """Lists all parts and imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(PARTS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A name and a sentence, which is all that help needs; ``resolve_command`` loads the real one."""
        if cmd_name not in PARTS:
            return None
        return TyperGroup(name=cmd_name, help=PARTS[cmd_name][2])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or command is None:
            return name, command, rest
        module, attribute, _ = PARTS[name]
        loaded = get_group(getattr(importlib.import_module(module), attribute))
        loaded.name = name
        return name, loaded, rest


app = typer.Typer(
    cls=LazyGroup,
    name=PROGRAM,
    help="Rialto: a sharded blockchain node for derivatives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def describe() -> None:
    """Rialto: a sharded blockchain node for derivatives."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit with its status."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: list[str]) -> int:
    """The exit status of a command line. A bug of ours keeps its traceback: hiding it would help nobody."""
    try:
        get_group(app).main(arguments, prog_name=PROGRAM, standalone_mode=True)
    except SystemExit as ended:
        return _read_status(ended)
    except BaseException as error:
        return _report(error)
    return 0


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
