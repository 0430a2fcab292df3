"""``rialto node init|start|rebuild|status``: one validator, as an operator runs it.

What does not live here: what a home holds (``node.home``), what runs (``node.runtime``), which is imported only by
the command that needs it, so that the others answer at once.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.prompt import find_prompt
from primitives.errors import LocalError

node_app = typer.Typer(help="Run one validator.", no_args_is_help=True)

Home = Annotated[Path, typer.Option("--home", help="The node's own directory.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@node_app.command()
def init(
    home: Home,
    genesis: Annotated[Path, typer.Option(help="The network's genesis file.", show_default=False)],
    key: Annotated[Path, typer.Option(help="This validator's key file (rialto keys new).", show_default=False)],
    name: Annotated[str, typer.Option(help="What logs call this node; default: its member name.")] = "",
    p2p_host: Annotated[str, typer.Option(help="Address to listen on for peers.")] = "127.0.0.1",
    p2p_port: Annotated[int, typer.Option(help="Port for peers; 0 lets the system choose.")] = 0,
    rpc_port: Annotated[int, typer.Option(help="Port for clients; 0 lets the system choose.")] = 0,
    seed: Annotated[list[str] | None, typer.Option(help="Multiaddr of a member to ask for the others.")] = None,
) -> None:
    """Make a home: its place in the committee is found by the key, which the genesis must name."""
    from node.config import NodeConfig, NodeSettings, PeerSettings, RpcSettings
    from node.genesis import read_genesis
    from node.home import find_membership, initialise_home
    from node.keystore import load_seed, read_passphrase
    from primitives.identifiers import format_member

    loaded = read_genesis(genesis)
    passphrase = read_passphrase(key, os.environ, find_prompt())
    secret = load_seed(key, passphrase)
    shard, index = find_membership(loaded, secret)
    config = NodeConfig(
        home=home.absolute(),
        node=NodeSettings(name=name or format_member(shard, index), shard=shard, index=index),
        p2p=PeerSettings(host=p2p_host, port=p2p_port, seeds=tuple(seed or ())),
        rpc=replace(RpcSettings(), port=rpc_port),
    )
    initialise_home(config, loaded, secret, passphrase)
    typer.echo(f"{home}: ready as {format_member(shard, index)}; start it with: rialto node start --home {home}")


@node_app.command()
def start(
    home: Home,
    paranoid: Annotated[bool, typer.Option("--paranoid", help="Check every invariant after every block.")] = False,
) -> None:
    """Run the validator until Ctrl-C or SIGTERM."""
    from node.runtime import start_node

    environment = {**os.environ, "RIALTO_CHECKS_PARANOID": "true"} if paranoid else os.environ
    start_node(home.absolute(), environment, find_prompt())


@node_app.command()
def rebuild(
    home: Home,
    forgets_votes: Annotated[
        bool,
        typer.Option("--forget-votes", help="Replace the vote log instead: lost, damaged, or an old copy."),
    ] = False,
) -> None:
    """Replace a damaged or lost chain store by an empty one; the blocks come again from the peers."""
    from node.home import forget_votes, rebuild_chain

    if forgets_votes:
        aside = forget_votes(home.absolute(), os.environ, find_prompt())
        kept = "" if aside is None else f"; the old one is kept as {aside.name}"
        typer.echo(f"{home}: has an empty vote log{kept}; start the node, and it abstains until it may vote again")
        return
    aside = rebuild_chain(home.absolute(), os.environ, find_prompt())
    kept = "" if aside is None else f"; the old one is kept as {aside.name}"
    typer.echo(f"{home}: has an empty chain store{kept}; start the node, and it catches up")


@node_app.command()
def status(home: Home, as_json: AsJson = False) -> None:
    """Ask the running node how it is."""
    import httpx

    from node.process_file import read_process_file

    process = read_process_file(home)
    try:
        answer: dict[str, Any] = httpx.get(f"{process.rpc}/v1/status", timeout=5, trust_env=False).json()
    except (httpx.HTTPError, ValueError) as error:
        raise LocalError(
            f"{home}: {process.name} does not answer at {process.rpc} ({error}): is it running?"
        ) from None
    if as_json:
        typer.echo(json.dumps(answer))
        return
    width = max(len(field) for field in answer)
    for field, value in answer.items():
        typer.echo(f"{field:<{width}}  {value}")
