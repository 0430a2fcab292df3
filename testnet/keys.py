"""Keys of a local network, all derived from its seed, so that a run can be repeated.

They are no secrets: whoever knows the seed has them all. That is what a devnet is, and why only a genesis
marked ``devnet`` may be made of them.
"""

from __future__ import annotations

from typing import Final

from primitives.hashing import hash_tagged
from primitives.identifiers import compute_address
from primitives.signing import Ed25519Signer, derive_seed

_MASTER_TAG: Final = b"rialto/testnet-seed"


def derive_validator_seed(seed: int, shard: int, index: int) -> bytes:
    """The 32-byte key seed of a shard's (or the beacon's) validator."""
    return derive_seed(_master(seed), "validator", shard, index)


def derive_account_seed(seed: int, role: str, shard: int, index: int) -> bytes:
    """The key seed of a test account."""
    return derive_seed(_master(seed), role, shard, index)


def derive_faucet_seed(seed: int) -> bytes:
    """The key seed of the faucet."""
    return derive_seed(_master(seed), "faucet")


def compute_public_key(key_seed: bytes) -> bytes:
    """The public key of a key seed."""
    return Ed25519Signer(key_seed).public_key


def compute_key_address(key_seed: bytes) -> bytes:
    """The address that a key seed controls."""
    return compute_address(compute_public_key(key_seed))


def _master(seed: int) -> bytes:
    return hash_tagged(_MASTER_TAG, str(seed).encode())
