"""View timers: how long to wait for a leader, and the set of timers an engine keeps.

A pacemaker says how long a view may go without progress. It is chosen by name in the genesis
(``engine_parameters.pacemaker``) and found through the entry-point group ``rialto.pacemakers``; engines make theirs
with ``create_pacemaker``. All of them begin at the base, grow with failed views (so that some view is long enough
whatever the unknown delay of the network) and are capped (so that a healed network is noticed soon):

| name          | after k failed views in a row     | after progress                      |
|---------------|-----------------------------------|-------------------------------------|
| `exponential` | base · 2^k                        | the base                            |
| `linear`      | base · (k + 1)                    | the base                            |
| `gradual`     | base · 2^k                        | one step of two back, not all of it |

``TimerSet`` turns deadlines into ``SetTimer``. A deadline that moves away costs nothing: the pending timer
fires early, finds its deadline in the future and is set again. So progress, many times a second, sends no
timer orders. What does not live here: what an expired timer means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from consensus.engine import EngineParameters, SetTimer
from consensus.registry import PACEMAKERS, load_registered
from primitives.errors import LocalError


class Pacemaker(Protocol):
    """The patience of one member. It may differ between members without harm to safety; it must grow past any
    delay, up to its cap, or no view of a slow network ever succeeds."""

    @property
    def timeout_ms(self) -> int:
        """How long a view may go without progress now, in milliseconds; at least 1."""
        ...

    def on_view_failed(self) -> None:
        """Another view ended without what we waited for."""
        ...

    def on_progress(self) -> None:
        """Something was decided or certified: the network is better than it was. Called many times a second."""
        ...


PacemakerMaker: TypeAlias = Callable[[EngineParameters], Pacemaker]
"""What an entry point of the group names. It reads the timeouts and ``pacemaker_options`` and raises ``LocalError``
where they make no sense to it."""


def create_pacemaker(parameters: EngineParameters) -> Pacemaker:
    """A fresh one of the kind that the parameters name; raises ``LocalError`` that lists the installed ones where
    there is none of that name, and where its options make no sense."""
    make: PacemakerMaker = load_registered(PACEMAKERS, parameters.pacemaker)
    return make(parameters)


class ExponentialPacemaker:
    """Doubles per failed view and is the base again after progress."""

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
        """One more."""
        self._failed_views += 1

    def on_progress(self) -> None:
        """The network is as good as at the start."""
        self._failed_views = 0


class LinearPacemaker(ExponentialPacemaker):
    """Grows by the base per failed view: less waiting where several leaders are dead and the network is quick."""

    __slots__ = ()

    @property
    def timeout_ms(self) -> int:
        """min(base · (failures + 1), cap)."""
        return min(self._base_ms * (self._failed_views + 1), self._max_ms)


class GradualPacemaker(ExponentialPacemaker):
    """Doubles per failed view, halves per success: on a network that became slow, a view which is long enough is
    not followed by one that is certainly too short."""

    __slots__ = ()

    def on_view_failed(self) -> None:
        """One more, up to the cap: what was never waited for need not be unlearned."""
        self._failed_views = min(self._failed_views + 1, self._max_ms.bit_length())

    def on_progress(self) -> None:
        """One step back."""
        self._failed_views = max(self._failed_views - 1, 0)


def create_exponential(parameters: EngineParameters) -> Pacemaker:
    """The entry point ``exponential``."""
    _refuse_options(parameters)
    return ExponentialPacemaker(parameters.base_timeout_ms, parameters.max_timeout_ms)


def create_linear(parameters: EngineParameters) -> Pacemaker:
    """The entry point ``linear``."""
    _refuse_options(parameters)
    return LinearPacemaker(parameters.base_timeout_ms, parameters.max_timeout_ms)


def create_gradual(parameters: EngineParameters) -> Pacemaker:
    """The entry point ``gradual``."""
    _refuse_options(parameters)
    return GradualPacemaker(parameters.base_timeout_ms, parameters.max_timeout_ms)


def _refuse_options(parameters: EngineParameters) -> None:
    if parameters.pacemaker_options:
        unknown = ", ".join(sorted(parameters.pacemaker_options))
        raise LocalError(f"the pacemaker {parameters.pacemaker!r} has no options, so none called {unknown}")


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
