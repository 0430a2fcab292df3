"""How this process keeps memory: the allocator is set before anything is opened, the collector once all is.

What does not live here: bounds of queues and caches, which each component has of its own.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

GC_THRESHOLDS: Final = (20_000, 20, 20)
LARGE_BYTES: Final = 256 << 10
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""mallopt(3)."""


def set_allocator() -> None:
    """Keep less than an allocator does that expects to be alone on its machine, where the C library is glibc.

    One arena for all threads: LevelDB's and trio's would each get one of its own, in which write buffers leave
    holes that no other thread can use. They allocate too rarely to contend. And large blocks, such as LevelDB
    compacts with, go back to the system when they are freed: left to itself glibc keeps all up to the largest it
    has seen. Together that is megabytes of each validator, and a machine runs many.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, LARGE_BYTES)


def settle_collector() -> None:
    """Start-up is over: what it made stays for good, and the collector need not look at it again.

    Messages and state records make no cycles, so it looks rarely at the rest: its pauses were a tenth of a busy
    validator's time, and as much of that of a client who loads a network.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
