"""The accounts of a load: keys, the next nonces, signing planned transactions.

What does not live here: funds (``preparation``), and what becomes of what is signed (``ledger``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from node.keystore import load_seed, read_passphrase
from primitives.errors import LocalError
from primitives.identifiers import format_address
from primitives.signing import Ed25519Signer
from shards.noop.records import compute_record_id
from shards.transactions import Action, CrossTransfer, sign_transaction
from testnet.directory import Network
from testnet.workloads.plan import PlannedTransaction

VALID_FOR_MS: Final = 120_000
"""Longer than any load waits for a transaction; after it, one that is still unknown can never happen."""


@dataclass(frozen=True, slots=True)
class Signed:
    """``id`` is in hexadecimal digits, as streams write it."""

    id: str
    data: bytes
    plan: PlannedTransaction


class Wallets:
    """Signs for every account of a network, and for those whose seeds the workload derived.

    ``wall_ms`` is the wall clock: a transaction's validity is real time, also where a load is not.
    """

    def __init__(self, network: Network, derived: Mapping[bytes, bytes], wall_ms: Callable[[], int]) -> None:
        self._chain = network.chain
        self._files = {entry.address: entry.key_file for entry in network.accounts}
        self._derived = derived
        self._wall_ms = wall_ms
        self._signers: dict[bytes, Ed25519Signer] = {}
        self._nonces: dict[tuple[int, bytes], int] = {}
        self.beacon_height = 0
        """The newest that is known; deadlines of transfers are counted from it."""

    def start_nonces(self, shard: int, account: bytes, first: int) -> None:
        """The account's next transaction on ``shard`` takes nonce ``first``."""
        self._nonces[shard, account] = first

    def sign(self, plan: PlannedTransaction) -> Signed:
        """The signed transaction; takes the account's next nonce. Raises ``LocalError`` for an unknown account.
        An opaque record is what it is."""
        if plan.opaque is not None:
            return Signed(compute_record_id(plan.opaque).hex(), plan.opaque, plan)
        key = (plan.shard, plan.account)
        nonce = self._nonces.get(key, 1)
        self._nonces[key] = nonce + 1
        identity, data = sign_transaction(
            self._find_signer(plan.account),
            chain=self._chain,
            shard=plan.shard,
            nonce=nonce,
            valid_until_ms=self._wall_ms() + VALID_FOR_MS,
            actions=[self._fix(action) for action in plan.actions],
            subaccount=plan.subaccount,
            mode=plan.mode,
        )
        return Signed(identity.hex(), data, plan)

    def _fix(self, action: Action) -> Action:
        if type(action) is CrossTransfer:
            return msgspec.structs.replace(action, deadline=self.beacon_height + action.deadline)
        return action

    def _find_signer(self, account: bytes) -> Ed25519Signer:
        signer = self._signers.get(account)
        if signer is None:
            signer = self._signers[account] = Ed25519Signer(self._find_seed(account))
        return signer

    def _find_seed(self, account: bytes) -> bytes:
        derived = self._derived.get(account)
        if derived is not None:
            return derived
        path = self._files.get(account)
        if path is None:
            raise LocalError(f"this network has no key of {format_address(account)}")
        # Test accounts have their passphrase beside the key: an operator's own must not be tried on them.
        return load_seed(path, read_passphrase(path, {}, None))
