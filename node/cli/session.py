"""One command's conversation with a node: connect, sign, submit, wait for the certificate."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import randrange
from typing import TYPE_CHECKING, Any, Final

from node.cli.network_file import Target
from node.cli.prompt import find_prompt
from node.clock import wall_ms
from node.keystore import load_seed, read_passphrase
from primitives.errors import LocalError, RemoteError
from primitives.identifiers import BEACON_SHARD, compute_address, format_address
from primitives.signing import Ed25519Signer
from shards.codes import EXPLANATIONS, ResultCode
from shards.transactions import Action, Mode, sign_transaction

if TYPE_CHECKING:
    from node.client import NodeClient, TransactionStatus

VALIDITY_MS: Final = 300_000
"""Five minutes: longer than anybody waits, short enough that a lost transaction is soon known to be dead."""
PROBE_TIMEOUT_S: Final = 3.0
NONCE_ATTEMPTS: Final = 5
"""Another client of the same account may take a nonce between our look and our transaction's turn."""
NONCES_SKIPPED: Final = 64
"""At most, after the first attempt: the transactions that such a client has on their way use the next ones."""
_NOT_THE_CAUSE: Final = ("OK", ResultCode.ROLLED_BACK.name, ResultCode.NOT_ATTEMPTED.name)


@dataclass(frozen=True, slots=True)
class Session:
    """A node of ``shard`` that answered, and what transactions there are signed for."""

    client: NodeClient
    shard: int
    chain: bytes
    beacon_height: int


def load_signer(path: Path) -> Ed25519Signer:
    """The key in a file, with its passphrase from the environment, a file beside it or the terminal."""
    if not path.exists():
        raise LocalError(f"--key: there is no file {path}")
    return Ed25519Signer(load_seed(path, read_passphrase(path, os.environ, find_prompt())))


@asynccontextmanager
async def connect(target: Target, shard: int) -> AsyncIterator[Session]:
    """A session with the first member of ``shard`` that answers; with ``--node`` the node's own shard.

    Raises ``RemoteError`` (``UNREACHABLE``) where none does.
    """
    # Importing an HTTP library takes longer than most commands that need none.
    from node.client import NodeClient

    problem: RemoteError | None = None
    for url in target.urls_of(shard):
        try:
            async with NodeClient(url, timeout_s=PROBE_TIMEOUT_S) as probe:
                status = await probe.status()
        except RemoteError as error:
            problem = error
            continue
        async with NodeClient(url) as client:
            yield _open(client, status)
        return
    raise problem or RemoteError("UNREACHABLE", f"no member of shard {shard} answers")


def _open(client: NodeClient, status: Mapping[str, Any]) -> Session:
    try:
        chain = bytes.fromhex(status["chain"])
        session = Session(client, int(status["shard"]), chain, int(status["beacon_height"]))
    except (KeyError, TypeError, ValueError):
        raise RemoteError("BAD_RESPONSE", f"{client.url} is no Rialto node") from None
    if session.shard == BEACON_SHARD:
        raise LocalError(f"{client.url} is a member of the beacon, which has no accounts: use a shard's member")
    return session


async def submit_actions(
    session: Session,
    signer: Ed25519Signer,
    actions: Sequence[Action],
    *,
    subaccount: int = 0,
    timeout_s: float = 30,
) -> TransactionStatus:
    """Sign, submit and wait until certified; raises ``RemoteError`` with the code of whatever refused it.

    Where somebody else used the nonce meanwhile nothing of ours was executed, and another one is tried.
    """
    address = compute_address(signer.public_key)
    for attempt in range(NONCE_ATTEMPTS):
        skipped = randrange(NONCES_SKIPPED) if attempt else 0
        nonce = await fetch_next_nonce(session.client, address) + skipped
        try:
            return await _submit_once(session, signer, actions, nonce, subaccount, timeout_s)
        except RemoteError as error:
            if error.code != ResultCode.NONCE_USED.name:
                raise
            refused = error
    raise refused


async def _submit_once(
    session: Session,
    signer: Ed25519Signer,
    actions: Sequence[Action],
    nonce: int,
    subaccount: int,
    timeout_s: float,
) -> TransactionStatus:
    _, signed = sign_transaction(
        signer,
        chain=session.chain,
        shard=session.shard,
        nonce=nonce,
        valid_until_ms=wall_ms() + VALIDITY_MS,
        actions=actions,
        subaccount=subaccount,
        mode=Mode.ATOMIC,
    )
    [answer] = await session.client.submit_transactions([signed])
    if not answer.accepted:
        raise RemoteError(answer.code, answer.message)
    status = await session.client.wait_certified(answer.id, timeout_s=timeout_s)
    code = find_failure(status)
    if code is not None:
        known = ResultCode.__members__.get(code)
        raise RemoteError(code, EXPLANATIONS[known] if known is not None else "the transaction failed")
    return status


async def fetch_next_nonce(client: NodeClient, address: bytes) -> int:
    """A nonce that the account has not used on this shard; raises ``RemoteError`` (``NO_ACCOUNT``)."""
    try:
        account = await client.account(address)
    except RemoteError as error:
        if error.code != "NOT_FOUND":
            raise
        raise RemoteError(
            "NO_ACCOUNT", f"{format_address(address)} does not exist on this shard: fund it first"
        ) from None
    highest: int = account["nonce"]
    return highest + 1


def find_failure(status: TransactionStatus) -> str | None:
    """The code that says why a certified transaction did nothing; ``None`` where it succeeded."""
    receipt = status.receipt or {}
    codes = [*receipt.get("action_codes", ()), receipt.get("code", "OK")]
    return next((code for code in codes if code not in _NOT_THE_CAUSE), None)
