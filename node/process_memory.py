"""How this process keeps memory: the allocator is set before anything is opened, the collector once all is.

What does not live here: bounds of queues and caches, which each component has of its own.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

GC_THRESHOLDS: Final = (20_000, 20, 20)
_M_ARENA_MAX: Final = -8
"""mallopt(3)."""


def share_one_arena() -> None:
    """Let all threads allocate from one arena, where the C library is glibc.

    LevelDB's and trio's threads would each get one of its own, in which write buffers leave holes that no other
    thread can use: megabytes of each validator, and a machine runs many. They allocate too rarely to contend.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def settle_collector() -> None:
    """Start-up is over: what it made stays for good, and the collector need not look at it again.

    Messages and state records make no cycles, so it looks rarely at the rest: its pauses were a tenth of a busy
    validator's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
