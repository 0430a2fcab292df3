"""Simulated signatures: tokens that nobody can make without the signer's secret, at a fiftieth of the price.

A token is a tagged hash over a secret that only the signer and the scheme's registry hold; hosts are given the
scheme for ``verify`` alone, so byzantine wrappers can forge nothing that Ed25519 would not let them forge. Some
seeds use the real scheme instead. What does not live here: real keys (``primitives.signing``).
"""

from __future__ import annotations

from typing import Final, Protocol

from primitives.hashing import begin_hash, frame_part, frame_tag, hash_behind, hash_tagged
from primitives.signing import Ed25519, Ed25519Signer, SignatureScheme, Signer, derive_seed

_SECRET_TAG: Final = b"rialto/simulated-secret"
_KEY_TAG: Final = b"rialto/simulated-key"
_TOKEN_TAG: Final = b"rialto/simulated-signature"


class KeyMaker(Protocol):
    """Makes every signer of a world, and the scheme that tells their signatures."""

    @property
    def scheme(self) -> SignatureScheme: ...

    def make(self, *labels: str | int) -> Signer:
        """The signer that ``labels`` name; the same for the same seed."""
        ...


class TokenSigner:
    """A ``Signer`` whose signatures only its own scheme accepts."""

    __slots__ = ("_begun", "public_key")

    def __init__(self, secret: bytes) -> None:
        self._begun = begin_hash(frame_tag(_TOKEN_TAG) + frame_part(secret))
        self.public_key = hash_tagged(_KEY_TAG, secret)

    def sign(self, message: bytes) -> bytes:
        """The token, twice: sixty-four bytes, as the wire formats demand."""
        return hash_behind(self._begun, frame_part(message)) * 2


class TokenKeys:
    """A ``KeyMaker`` and its own ``SignatureScheme``: the registry of signers is the scheme's."""

    def __init__(self, seed: int) -> None:
        self._seed = str(seed).encode()
        self._signers: dict[bytes, TokenSigner] = {}

    @property
    def scheme(self) -> SignatureScheme:
        return self

    def make(self, *labels: str | int) -> Signer:
        """A new signer, known to the registry."""
        secret = hash_tagged(_SECRET_TAG, self._seed, *[str(label).encode() for label in labels])
        signer = TokenSigner(secret)
        self._signers[signer.public_key] = signer
        return signer

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """True where the holder of ``public_key``'s secret made the token for exactly this message."""
        signer = self._signers.get(public_key)
        return signer is not None and signature == signer.sign(message)


class RealKeys:
    """A ``KeyMaker`` of Ed25519 keys."""

    def __init__(self, seed: int) -> None:
        self._master = hash_tagged(_SECRET_TAG, str(seed).encode())
        self.scheme: SignatureScheme = Ed25519()

    def make(self, *labels: str | int) -> Signer:
        """A signer from a derived seed."""
        return Ed25519Signer(derive_seed(self._master, *labels))
