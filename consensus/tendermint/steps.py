"""The vocabulary of the core: one input per step, and the outputs of that step.

Named after Algorithm 1 of arXiv 1807.04938. There are no signatures, heights, clocks or payloads here: values are
digests, members are indices, a timeout is a name. What does not live here: the rules (``core``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from primitives.hashing import DIGEST_BYTES

NIL: Final = bytes(DIGEST_BYTES)
"""What is voted for where no value is acceptable. No payload hashes to it."""
NO_ROUND: Final = -1
"""The initial lockedRound and validRound (lines 7 and 9), and the valid_round of a fresh proposal."""


class Step(IntEnum):
    """step_p; ordered, so that line 36's ``step_p ≥ prevote`` is a comparison."""

    PROPOSE = 0
    PREVOTE = 1
    PRECOMMIT = 2


class TimeoutKind(IntEnum):
    """Which of the three timeouts."""

    PROPOSE = 0
    PREVOTE = 1
    PRECOMMIT = 2


# --- inputs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartRound:
    """Lines 10 and 11: begin with this round. Later rounds begin by the rules."""

    round: int


@dataclass(frozen=True, slots=True)
class ValueReady:
    """Answers ``GetValue``: in the paper getValue() of line 18 returns at once, here building takes time."""

    round: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Proposal:
    """⟨PROPOSAL, h, round, value, valid_round⟩ from proposer(h, round), and whether valid(value) holds."""

    round: int
    value: bytes
    valid_round: int
    is_valid: bool


@dataclass(frozen=True, slots=True)
class Prevote:
    """⟨PREVOTE, h, round, value⟩ from ``sender``; ``value`` may be ``NIL``."""

    sender: int
    round: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Precommit:
    """⟨PRECOMMIT, h, round, value⟩ from ``sender``; ``value`` may be ``NIL``."""

    sender: int
    round: int
    value: bytes


@dataclass(frozen=True, slots=True)
class PolkaProven:
    """2f + 1 ⟨PREVOTE, h, round, value⟩ came in one piece, as a proof of lock.

    The paper assumes that gossip brings every prevote to everybody. Here a proposal with a valid round carries
    them. They count beside what we heard: a faulty member that told us another prevote cannot make us deaf.
    """

    round: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Timeout:
    """A scheduled timeout ran out: OnTimeoutPropose, OnTimeoutPrevote or OnTimeoutPrecommit (lines 57-67)."""

    kind: TimeoutKind
    round: int


StepInput: TypeAlias = StartRound | ValueReady | Proposal | Prevote | Precommit | PolkaProven | Timeout


# --- outputs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewRound:
    """round_p ← round, step_p ← propose (lines 12 and 13)."""

    round: int


@dataclass(frozen=True, slots=True)
class GetValue:
    """Line 18: we propose in this round and have no valid value; answered by ``ValueReady``."""

    round: int


@dataclass(frozen=True, slots=True)
class BroadcastProposal:
    """Line 19. What we broadcast is also delivered to ourselves, as an input of its own."""

    round: int
    value: bytes
    valid_round: int


@dataclass(frozen=True, slots=True)
class BroadcastPrevote:
    """Lines 24, 26, 30, 32 and 59."""

    round: int
    value: bytes


@dataclass(frozen=True, slots=True)
class BroadcastPrecommit:
    """Lines 40, 45 and 63."""

    round: int
    value: bytes


@dataclass(frozen=True, slots=True)
class ScheduleTimeout:
    """Lines 21, 35 and 48."""

    kind: TimeoutKind
    round: int


@dataclass(frozen=True, slots=True)
class Locked:
    """Lines 38 and 39."""

    round: int
    value: bytes


@dataclass(frozen=True, slots=True)
class ValidValueSet:
    """Lines 42 and 43."""

    round: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Decide:
    """Line 51: the core is done."""

    round: int
    value: bytes


StepOutput: TypeAlias = (
    NewRound
    | GetValue
    | BroadcastProposal
    | BroadcastPrevote
    | BroadcastPrecommit
    | ScheduleTimeout
    | Locked
    | ValidValueSet
    | Decide
)
