"""Options that several commands share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

NameOption: TypeAlias = Annotated[
    str | None, typer.Option("--name", help="A local network by name; default: the one brought up last.")
]
NodeOption: TypeAlias = Annotated[
    str | None, typer.Option("--node", metavar="URL", help="A node's URL, instead of --name.")
]
KeyOption: TypeAlias = Annotated[
    Path, typer.Option("--key", metavar="FILE", help="The key file that signs.", show_default=False)
]
MaybeKeyOption: TypeAlias = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="The account of this key file.", show_default=False)
]
ShardOption: TypeAlias = Annotated[
    int | None, typer.Option("--shard", min=0, max=65_534, help="The shard; default: the account's home, or 0.")
]
SubaccountOption: TypeAlias = Annotated[int, typer.Option("--subaccount", min=0, max=15, help="The subaccount.")]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
]
TimeoutOption: TypeAlias = Annotated[
    float, typer.Option("--timeout", min=1, help="Seconds to wait for the certificate or settlement.")
]
