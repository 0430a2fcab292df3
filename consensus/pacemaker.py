"""View timers: how long to wait for a leader, and the set of timers an engine keeps.

``Pacemaker`` says how long a view may go without progress: the base, doubled per failed view (so that some view
is long enough whatever the unknown delay of the network), capped (so that a healed network is noticed soon),
and back at the base after progress.

``TimerSet`` turns deadlines into ``SetTimer``. A deadline that moves away costs nothing: the pending timer
fires early, finds its deadline in the future and is set again. So progress, many times a second, sends no
timer orders. What does not live here: what an expired timer means.
"""

from __future__ import annotations

from collections.abc import Mapping

from consensus.engine import SetTimer
from primitives.errors import LocalError


class Pacemaker:
    """The patience of one member, in milliseconds."""

    __slots__ = ("_base_ms", "_failed_views", "_max_ms")

    def __init__(self, base_ms: int, max_ms: int) -> None:
        if not 1 <= base_ms <= max_ms:
            raise LocalError(f"timeouts must satisfy 1 ≤ base ≤ max, not {base_ms} and {max_ms}")
        self._base_ms = base_ms
        self._max_ms = max_ms
        self._failed_views = 0

    @property
    def timeout_ms(self) -> int:
        """min(base · 2^failures, cap)."""
        # The exponent is bounded by the cap's size, so a long outage does not build huge integers.
        return min(self._base_ms << min(self._failed_views, self._max_ms.bit_length()), self._max_ms)

    def on_view_failed(self) -> None:
        """Another view ended without what we waited for."""
        self._failed_views += 1

    def on_progress(self) -> None:
        """Something was decided or certified: the network is as good as at the start."""
        self._failed_views = 0


class TimerSet:
    """Which timers are pending, and for when."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: dict[str, int] = {}

    def on_fired(self, timer: str) -> None:
        """The timer is no longer pending."""
        self._pending.pop(timer, None)

    def update(self, deadlines: Mapping[str, int | None], now_ms: int) -> tuple[SetTimer, ...]:
        """The orders that make every named timer fire no later than its deadline; ``None``: not at all."""
        orders: list[SetTimer] = []
        for timer, deadline in deadlines.items():
            pending = self._pending.get(timer)
            if deadline is None:
                if pending is not None:
                    del self._pending[timer]
                    orders.append(SetTimer(timer, None))
            elif pending is None or pending > deadline:
                self._pending[timer] = max(deadline, now_ms)
                orders.append(SetTimer(timer, max(deadline - now_ms, 0)))
        return tuple(orders)
