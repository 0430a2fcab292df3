"""What a signature check costs on this machine while a load runs: by it figures of different machines compare, and
those of different hours on a shared one.

A third of a loaded validator's time is such checks, and the rest grows and shrinks with them.
"""

from __future__ import annotations

import statistics
from typing import Final

from node.clock import cpu_us
from primitives.signing import SEED_BYTES, Ed25519Signer, verify

CHECKS: Final = 8
"""Of one sample: half a millisecond."""


class Yardstick:
    """Call ``sample`` now and then while the machine is as busy as what it is to be compared with."""

    def __init__(self) -> None:
        signer = Ed25519Signer(bytes(SEED_BYTES))
        self._public_key = signer.public_key
        self._message = bytes(32)
        self._signature = signer.sign(self._message)
        self._samples_us: list[float] = []

    def sample(self) -> None:
        """Time some checks, in CPU time of this process."""
        before_us = cpu_us()
        for _ in range(CHECKS):
            verify(self._public_key, self._message, self._signature)
        self._samples_us.append((cpu_us() - before_us) / CHECKS)

    @property
    def check_us(self) -> float:
        """The median over the samples, in microseconds; 0 without any."""
        return round(statistics.median(self._samples_us), 1) if self._samples_us else 0.0
