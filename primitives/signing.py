"""Ed25519 by one rule on every path: libsodium's, through PyNaCl's bundled library.

libsodium refuses small-order and non-canonical public keys and non-canonical S. Libraries differ on
edge cases, and a committee that mixes rules can split, so ``check_verification_rule`` runs the twelve
published speccheck cases (Chalkias, Garillot and Nikolaenko, "Taming the many EdDSAs") at start.

The engines and replicas are given a ``SignatureScheme`` and a ``Signer``; the simulator injects its own.
"""

from __future__ import annotations

from typing import Final, Protocol

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign, crypto_sign_seed_keypair
from nacl.bindings.crypto_sign import crypto_sign_open
from nacl.exceptions import CryptoError

from primitives.errors import LocalError, RemoteError
from primitives.hashing import hash_tagged
from primitives.speccheck import CASES

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SEED_BYTES: Final = 32


class Signer(Protocol):
    """Holds a private key; ``sign`` is deterministic."""

    @property
    def public_key(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


class SignatureScheme(Protocol):
    """Decides whether a signature is good; pure."""

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool: ...


class Ed25519Signer:
    """A private key in memory, from a 32-byte seed (RFC 8032 §5.1.5)."""

    __slots__ = ("_secret", "public_key")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise LocalError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
        self.public_key: bytes
        self.public_key, self._secret = crypto_sign_seed_keypair(seed)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of ``message``."""
        signed: bytes = crypto_sign(message, self._secret)
        return signed[:SIGNATURE_BYTES]


class Ed25519:
    """The production ``SignatureScheme``."""

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """True if ``signature`` is one of ``message`` under ``public_key`` by libsodium's rule."""
        return verify(public_key, message, signature)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """True if ``signature`` is one of ``message`` under ``public_key``; never raises."""
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except (CryptoError, ValueError):
        return False
    return True


def validate_public_key(public_key: bytes) -> None:
    """Raise ``RemoteError`` (``BAD_KEY``) unless the key is canonical, on the main subgroup, of full order.

    Called where keys enter a registry or a genesis: a small-order key verifies anything.
    """
    if len(public_key) != PUBLIC_KEY_BYTES or not crypto_core_ed25519_is_valid_point(public_key):
        raise RemoteError("BAD_KEY", f"not a canonical Ed25519 key of full order: {public_key.hex()[:80]}")


def check_verification_rule() -> None:
    """Raise ``LocalError`` unless this machine's library decides all speccheck cases as every other node.

    A node that accepted a signature which the rest refuse, or the reverse, would split from its committee.
    """
    wrong = [
        index
        for index, case in enumerate(CASES)
        if verify(case.public_key, case.message, case.signature) is not case.accepted
    ]
    if wrong:
        raise LocalError(
            f"the Ed25519 library decides the speccheck cases {wrong} by another rule than the network; "
            "install the pinned PyNaCl wheel with its bundled libsodium"
        )


def derive_seed(master: bytes, *labels: str | int) -> bytes:
    """A 32-byte seed for the key that ``labels`` name, for devnets and tests that must replay.

    A tagged hash; a number and its decimal text are different labels.
    """
    parts = [f"{type(label).__name__}:{label}".encode() for label in labels]
    return hash_tagged(b"rialto/seed", master, *parts)
