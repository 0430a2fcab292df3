"""The in-node fault plane: what happens to a frame between ``send`` and the secure channel.

Sans-IO and deterministic given the random source: desired state in, a verdict for each frame out.

Theory of operation. A controller states *all* rules that are to hold (``apply``); each has a lease and is
void after it, so a network heals itself when its controller dies. Rules act at the sender, above the secure
channel, on every frame, the transport's own pings included: a cut link therefore goes silent, is closed
after missed heartbeats and is dialled again, as in a real partition. While a destination is cut off
altogether (``is_cut_off``) new links to it are refused before they carry anything; a dialler looks again
every tenth of a second instead of backing off, so healing shows within a second.

Cutting both ways is a rule at either end. Frames under several rules suffer all of them: any may drop,
delays add up. Frames with different delays overtake each other, which is how reordering is made. What this
does not do: bytes on the wire (that is the kernel backend's) and crashes (the supervisor's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from node.framing import Lane
from node.members import Member
from primitives.errors import LocalError

PPM: Final = 1_000_000
MAX_RULES: Final = 256
"""Each frame is compared with each rule; a schedule that needs more wants groups, not rules."""
MAX_DELAY_MS: Final = 60_000
MAX_BACKLOG_MS: Final = 5_000
"""A bandwidth limit drops what would wait longer: a router's buffer is finite too."""
_MS_PER_S: Final = 1000

NO_DELAY: Final = (0,)
DROPPED: Final = ()


@dataclass(frozen=True, slots=True)
class FaultRule:
    """What happens to the frames it selects until ``expires_ms`` (monotonic).

    ``None`` selects everything: destinations are (shard, index). ``cut`` drops all; probabilities are in
    millionths; ``jitter_ms`` adds 0 … jitter to the delay; ``bandwidth_bytes_per_s`` 0 is no limit.
    """

    identifier: str
    expires_ms: int
    destinations: frozenset[tuple[int, int]] | None = None
    lanes: frozenset[Lane] | None = None
    kinds: frozenset[int] | None = None
    cut: bool = False
    drop_ppm: int = 0
    duplicate_ppm: int = 0
    delay_ms: int = 0
    jitter_ms: int = 0
    bandwidth_bytes_per_s: int = 0

    def selects(self, destination: Member, lane: Lane, kind: int) -> bool:
        """True if the rule applies to such a frame."""
        if self.destinations is not None and (destination.shard, destination.index) not in self.destinations:
            return False
        if self.lanes is not None and lane not in self.lanes:
            return False
        return self.kinds is None or kind in self.kinds


def validate_rule(rule: FaultRule) -> None:
    """Raise ``LocalError`` unless the numbers of ``rule`` make sense."""
    if not (0 <= rule.drop_ppm <= PPM and 0 <= rule.duplicate_ppm <= PPM):
        raise LocalError(f"fault {rule.identifier}: probabilities are 0 to {PPM} millionths")
    if not (0 <= rule.delay_ms <= MAX_DELAY_MS and 0 <= rule.jitter_ms <= MAX_DELAY_MS):
        raise LocalError(f"fault {rule.identifier}: delay and jitter are 0 to {MAX_DELAY_MS} ms")
    if rule.bandwidth_bytes_per_s < 0:
        raise LocalError(f"fault {rule.identifier}: a bandwidth is not negative")


class LinkFaults:
    """The rules in force at one node, and what they do to each frame."""

    __slots__ = ("_busy_until_us", "_rng", "_rules")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._rules: tuple[FaultRule, ...] = ()
        self._busy_until_us: dict[tuple[str, int, int], int] = {}

    def apply(self, rules: Sequence[FaultRule]) -> None:
        """Make exactly ``rules`` hold from now on. Raises ``LocalError`` and changes nothing if one is bad."""
        if len(rules) > MAX_RULES:
            raise LocalError(f"{len(rules)} fault rules where {MAX_RULES} are allowed")
        if len({rule.identifier for rule in rules}) != len(rules):
            raise LocalError("two fault rules have the same identifier")
        for rule in rules:
            validate_rule(rule)
        self._rules = tuple(rules)
        kept = {rule.identifier for rule in rules}
        self._busy_until_us = {key: at for key, at in self._busy_until_us.items() if key[0] in kept}

    def clear(self) -> None:
        """Heal everything."""
        self.apply(())

    @property
    def is_active(self) -> bool:
        """False if there is no rule, not even an expired one: every frame then passes at once."""
        return bool(self._rules)

    def rules_in_force(self, now_ms: int) -> tuple[FaultRule, ...]:
        """The applied state: rules whose lease has not run out. Forgets the others."""
        if any(rule.expires_ms <= now_ms for rule in self._rules):
            self.apply([rule for rule in self._rules if rule.expires_ms > now_ms])
        return self._rules

    def is_cut_off(self, now_ms: int, destination: Member) -> bool:
        """True while some rule cuts every frame to ``destination`` on some lane: no link is made then."""
        return any(
            rule.cut and rule.kinds is None and any(rule.selects(destination, lane, 0) for lane in Lane)
            for rule in self.rules_in_force(now_ms)
        )

    def verdict(self, now_ms: int, destination: Member, lane: Lane, kind: int, size_bytes: int) -> tuple[int, ...]:
        """Delays in ms, one for each copy to be sent; empty if the frame is lost."""
        if not self._rules:
            return NO_DELAY
        rules = [rule for rule in self.rules_in_force(now_ms) if rule.selects(destination, lane, kind)]
        if any(rule.cut for rule in rules):
            return DROPPED
        if any(rule.drop_ppm and self._rng.randrange(PPM) < rule.drop_ppm for rule in rules):
            return DROPPED
        copies = 1 + sum(
            bool(rule.duplicate_ppm) and self._rng.randrange(PPM) < rule.duplicate_ppm for rule in rules
        )
        delays = [self._delay(rules, now_ms, destination, size_bytes) for _ in range(copies)]
        return tuple(delay for delay in delays if delay is not None)

    def _delay(self, rules: list[FaultRule], now_ms: int, destination: Member, size_bytes: int) -> int | None:
        total_ms = 0
        for rule in rules:
            total_ms += rule.delay_ms
            if rule.jitter_ms:
                total_ms += self._rng.randrange(rule.jitter_ms + 1)
            if rule.bandwidth_bytes_per_s:
                waited_ms = self._transmit(rule, now_ms, destination, size_bytes)
                if waited_ms > MAX_BACKLOG_MS:
                    return None
                total_ms += waited_ms
        return total_ms

    def _transmit(self, rule: FaultRule, now_ms: int, destination: Member, size_bytes: int) -> int:
        """Put a frame on the narrow line of (rule, destination); milliseconds until its last byte is out."""
        key = (rule.identifier, destination.shard, destination.index)
        now_us = now_ms * _MS_PER_S
        start_us = max(now_us, self._busy_until_us.get(key, 0))
        end_us = start_us + size_bytes * PPM // rule.bandwidth_bytes_per_s
        waited_ms = (end_us - now_us) // _MS_PER_S
        if waited_ms <= MAX_BACKLOG_MS:
            self._busy_until_us[key] = end_us
        return waited_ms
