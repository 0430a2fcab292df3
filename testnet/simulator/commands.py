"""``rialto simulate …``: seeds of the simulator, from the command line.

Each command reads its options, calls one function of another module and prints what it returns. What does not live
here: anything that decides.
"""

from __future__ import annotations

import typer

from testnet.simulator.twins_command import simulate_twins

simulate_app = typer.Typer(name="simulate", help="Break engines on virtual time: seeds, replay, shrink.")
simulate_app.command("twins")(simulate_twins)


@simulate_app.callback(invoke_without_command=True)
def simulate_seeds(context: typer.Context) -> None:
    """Run seeds and say what became of them."""
    if context.invoked_subcommand is not None:
        return
    raise typer.Exit(2)
