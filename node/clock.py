"""The only reader of the system's clocks.

Everything else is given the time as an argument, so that the simulator can give it virtual time. Intervals are
measured with the monotonic clock; wall-clock time only enters block timestamps, admission and logs.
"""

from __future__ import annotations

import time


def monotonic_ms() -> int:
    """Milliseconds since an arbitrary start; never goes back."""
    return time.monotonic_ns() // 1_000_000


def monotonic_us() -> int:
    """Microseconds since an arbitrary start; for measuring how long something took."""
    return time.monotonic_ns() // 1_000


def wall_ms() -> int:
    """Milliseconds since 1970-01-01 UTC by the system's clock, which an operator or NTP may move."""
    return time.time_ns() // 1_000_000


def cpu_us() -> int:
    """Microseconds of CPU that this process has used; for measuring what something cost on a busy machine."""
    return time.process_time_ns() // 1_000
