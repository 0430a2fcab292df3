"""How fast this machine is now: what one signature check takes while nothing else runs.

A loaded validator spends a quarter of its CPU on them, in code that is the same everywhere (libsodium). Figures of
two machines, or of two days on a shared one, compare by it.
"""

from __future__ import annotations

from typing import Final

from node.clock import monotonic_us
from primitives.signing import Ed25519Signer, verify

ROUNDS: Final = 5
CHECKS: Final = 200
MESSAGE: Final = bytes(200)
"""As long as a transaction of one action."""


def measure_verify_us() -> float:
    """Microseconds of one check, by the fastest of several rounds; takes a tenth of a second."""
    signer = Ed25519Signer(bytes(32))
    signature = signer.sign(MESSAGE)
    rounds = []
    for _ in range(ROUNDS):
        started_us = monotonic_us()
        for _ in range(CHECKS):
            assert verify(signer.public_key, MESSAGE, signature), "our own"
        rounds.append(monotonic_us() - started_us)
    return round(min(rounds) / CHECKS, 1)
