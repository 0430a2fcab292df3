"""A signature scheme for tests: tagged hashes under the public key.

Nobody in a test forges, so a hash that names key and message does what a signature does, at a fiftieth of
the price. Sixty-four bytes, as the messages demand.
"""

from __future__ import annotations

from hashlib import sha256

from consensus.committee import Committee


class TokenSigner:
    """Deterministic, like the real one."""

    def __init__(self, name: str) -> None:
        self.public_key = sha256(name.encode()).digest()

    def sign(self, message: bytes) -> bytes:
        return sha256(self.public_key + message).digest() * 2


class TokenScheme:
    """Counts what it verifies, so that tests can see what was spared."""

    def __init__(self) -> None:
        self.verifications = 0

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        self.verifications += 1
        return signature == sha256(public_key + message).digest() * 2


def make_signers(size: int) -> list[TokenSigner]:
    return [TokenSigner(f"member {index}") for index in range(size)]


def make_committee(size: int, chain: bytes = bytes(32)) -> Committee:
    return Committee(chain, 0, 0, 0, tuple(signer.public_key for signer in make_signers(size)))
