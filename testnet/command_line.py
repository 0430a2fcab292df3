"""The parts of ``rialto`` under their names, each imported only when it is called.

What does not live here: errors and exit statuses (``testnet.cli``).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group

PROGRAM: Final = "rialto"

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


def invoke(arguments: Sequence[str]) -> None:
    """Run a command line; raises what it raises, ``SystemExit`` where it was used wrongly."""
    get_group(app).main(list(arguments), prog_name=PROGRAM, standalone_mode=True)
