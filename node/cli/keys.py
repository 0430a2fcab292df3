"""``rialto keys``: make, show, import and export encrypted key files."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from node.cli.options import JsonOption
from node.cli.output import print_json, print_line
from node.cli.prompt import find_prompt
from node.cli.session import load_signer
from node.durable_files import PRIVATE_FILE_MODE, create_file
from node.keystore import create_key, export_pem, import_seed, load_seed, read_passphrase
from primitives.errors import LocalError
from primitives.identifiers import compute_address, format_address
from primitives.signing import SEED_BYTES, Ed25519Signer

MAX_IMPORT_BYTES = 64 << 10

keys_app = typer.Typer(name="keys", help="Encrypted key files.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The encrypted key file.", show_default=False)]


@keys_app.command("new")
def new_key(file: FileArgument, as_json: JsonOption = False) -> None:
    """Make a new key; nothing that exists is overwritten."""
    _write(file, secrets.token_bytes(SEED_BYTES), as_json)


@keys_app.command("show")
def show_key(file: FileArgument, as_json: JsonOption = False) -> None:
    """Print a key's address and public key."""
    _show(file, load_signer(file), as_json)


@keys_app.command("import")
def import_key(
    file: FileArgument,
    source: Annotated[Path, typer.Option("--from", help="64 hexadecimal digits, or an unencrypted PEM key.")],
    as_json: JsonOption = False,
) -> None:
    """Encrypt an existing key into FILE."""
    try:
        with source.open("rb") as opened:
            data = opened.read(MAX_IMPORT_BYTES)
    except OSError as error:
        raise LocalError(f"cannot read {source}: {error.strerror}") from None
    _write(file, import_seed(data, source=str(source)), as_json)


@keys_app.command("export")
def export_key(
    file: FileArgument,
    to: Annotated[Path | None, typer.Option("--to", help="A new file (0600); default: standard output.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the key as PEM that is NOT encrypted."""
    signer_seed = load_seed(file, read_passphrase(file, os.environ, find_prompt()))
    pem = export_pem(signer_seed)
    if to is not None:
        create_file(to, pem, PRIVATE_FILE_MODE)
        _show(to, Ed25519Signer(signer_seed), as_json)
    elif as_json:
        print_json({**_describe(file, Ed25519Signer(signer_seed)), "pem": pem.decode()})
    else:
        sys.stdout.write(pem.decode())


def _write(file: Path, seed: bytes, as_json: bool) -> None:
    if file.exists():
        raise LocalError(f"{file} exists already: keys are never overwritten")
    passphrase = read_passphrase(file, os.environ, _prompt_twice if find_prompt() else None)
    create_key(file, seed, passphrase)
    _show(file, Ed25519Signer(seed), as_json)


def _prompt_twice(text: str) -> str:
    prompt = find_prompt()
    assert prompt is not None, "somebody is there to ask"
    first: str = prompt(text)
    if prompt("Once more: ") != first:
        raise LocalError("the passphrases differ")
    return first


def _show(file: Path, signer: Ed25519Signer, as_json: bool) -> None:
    described = _describe(file, signer)
    if as_json:
        print_json(described)
    else:
        print_line("\n".join(f"{name + ':':<12}{value}" for name, value in described.items()))


def _describe(file: Path, signer: Ed25519Signer) -> dict[str, str]:
    return {
        "file": str(file),
        "address": format_address(compute_address(signer.public_key)),
        "public_key": signer.public_key.hex(),
    }
