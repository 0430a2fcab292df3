"""Ed25519 by one rule on every path, libsodium's: the equation without cofactor (RFC 8032 §5.1.7, R compared as
bytes), and neither a key nor an R of small order, nor a key, an R or an S that is not reduced.

Keys are made and messages signed by libsodium itself (PyNaCl). Signatures, a third of what a loaded validator
computes, are verified by vodozemac, whose ed25519-dalek takes 0.7 of libsodium's time and decides the equation
alike; what it lets pass and libsodium does not is refused here. Libraries differ on edge cases, and a committee
that mixes rules can split, so ``check_verification_rule`` runs the twelve published speccheck cases (Chalkias,
Garillot and Nikolaenko, "Taming the many EdDSAs") at start.

The engines and replicas are given a ``SignatureScheme`` and a ``Signer``; the simulator injects its own.
"""

from __future__ import annotations

from binascii import b2a_base64
from functools import lru_cache
from typing import Final, Protocol

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign, crypto_sign_seed_keypair
from vodozemac import Ed25519PublicKey, Ed25519Signature

from primitives.errors import LocalError, RemoteError
from primitives.hashing import hash_tagged
from primitives.identifiers import REMEMBERED_KEYS
from primitives.speccheck import CASES

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SEED_BYTES: Final = 32

_FIELD: Final = 2**255 - 19
_Y_BITS: Final = 2**255 - 1
"""An encoded point is y, and above it the sign of x."""
_Y_OF_ORDER_EIGHT: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_YS: Final = frozenset({0, 1, _FIELD - 1, _Y_OF_ORDER_EIGHT, _FIELD - _Y_OF_ORDER_EIGHT})
"""Of the eight points whose order divides the cofactor."""


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
    # Given a key of another length, the library panics.
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    key = _load_key(public_key)
    if key is None or _read_y(signature[:32]) in _SMALL_ORDER_YS:
        return False
    try:
        key.verify_signature(message, Ed25519Signature.from_base64(_encode_base64(signature)))
    except ValueError:
        return False
    return True


@lru_cache(maxsize=REMEMBERED_KEYS)
def _load_key(public_key: bytes) -> Ed25519PublicKey | None:
    """The decoded key of ``PUBLIC_KEY_BYTES``, ``None`` where nothing verifies under it; 7 µs without the cache."""
    y = _read_y(public_key)
    if y >= _FIELD or y in _SMALL_ORDER_YS:
        return None
    try:
        return Ed25519PublicKey.from_base64(_encode_base64(public_key))
    except ValueError:
        return None


def _read_y(point: bytes) -> int:
    return int.from_bytes(point, "little") & _Y_BITS


def _encode_base64(data: bytes) -> str:
    """Base64 without padding, the only form in which the library takes keys and signatures."""
    return b2a_base64(data, newline=False).decode("ascii").rstrip("=")


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
            "install the pinned vodozemac wheel"
        )


def derive_seed(master: bytes, *labels: str | int) -> bytes:
    """A 32-byte seed for the key that ``labels`` name, for devnets and tests that must replay.

    A tagged hash; a number and its decimal text are different labels.
    """
    parts = [f"{type(label).__name__}:{label}".encode() for label in labels]
    return hash_tagged(b"rialto/seed", master, *parts)
