"""PBFT with one bug each, planted by replacing one function.

Every mutant makes the mistake that its pitfall describes, and nothing else. ``plant`` undoes it at the end of
the test that asked for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from consensus.committee import Committee
from consensus.engine import Send, WorkLevel
from consensus.pacemaker import ExponentialPacemaker
from consensus.pbft import engine as engine_module
from consensus.pbft import messages, proofs, reading
from consensus.pbft.backlog import Backlog
from consensus.pbft.deadlines import Deadlines
from consensus.pbft.messages import Phase, PreparedProof, PrePrepare, Proposal, Vote
from consensus.pbft.ordering import Ordering
from consensus.pbft.proofs import ProofChecker
from consensus.pbft.records import SlotRecords
from consensus.pbft.restart import load_slot
from consensus.pbft.state import PbftState
from consensus.pbft.status import StatusExchange
from consensus.pbft.view_change import ViewChanger
from consensus.pbft.window import Slot, Window
from consensus.tally import Tally
from primitives.codec import encode
from tests.consensus import rules

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """``rule`` is the check that must catch what ``plant`` breaks."""

    name: str
    rule: Callable[[], None]
    plant: Plant


def _replace(target: Any, attribute: str, replacement: Any) -> Plant:
    return lambda patch: patch.setattr(target, attribute, replacement)


# --- the bugs ----------------------------------------------------------------------------------------------


def _count_proposer_twice(self: Ordering, vote: messages.Prepare) -> bool:
    slot = self._state.window.peek(vote.slot)
    return slot is None or not slot.prepares.has_voted(vote.sender)


def _ignore_proposer(self: Ordering, slot: Slot, proposal: Proposal) -> None:
    others = self._state.committee.quorum  # the proposal is not counted
    if slot.prepared is None and slot.prepares.has_quorum(proposal.digest, others):
        votes = slot.prepares.votes_for(proposal.digest, others)
        slot.prepared = PreparedProof(
            proposal, tuple(vote.sender for vote in votes), tuple(vote.signature for vote in votes)
        )


_enter_view = Slot.enter_view


def _forget_proofs_on_entering(self: Slot) -> None:
    _enter_view(self)
    self.prepared = None


_advance_window = Window.advance


def _forget_proofs_when_the_window_moves(self: Window, stable: int) -> tuple[Slot, ...]:
    gone = _advance_window(self, stable)
    for slot in self:
        slot.prepared = None
    return gone


def _forget_proofs_at_restart(state: PbftState, number: int, entry: SlotRecords) -> Slot:
    entry.prepared = None
    return load_slot(state, number, entry)


def _forget_votes_at_restart(state: PbftState, number: int, entry: SlotRecords) -> Slot:
    entry.proposal = entry.prepare = entry.commit = None
    return load_slot(state, number, entry)


def _send_without_logging(self: Ordering, slot: Slot, kind: bytes, vote: Vote) -> None:
    self._state.outbox.send.append(Send(None, encode(vote)))


_prepare = Ordering._prepare


def _vote_only_for_known_work(self: Ordering, slot: Slot, proposal: Proposal) -> None:
    if self._state.work is not WorkLevel.IDLE:
        _prepare(self, slot, proposal)


def _vote_only_in_good_time(self: Ordering, slot: Slot, proposal: Proposal) -> None:
    if self._state.now_ms < 1_000_000:
        _prepare(self, slot, proposal)


def _take_the_last_proposal(self: Ordering, message: PrePrepare) -> None:
    slot = self._state.window.touch(message.proposal.slot)
    slot.prepare = None
    self._accept(slot, message.proposal, message.payload, (message.proposal.sender,))


def _count_all_votes(self: Tally[Any], value: bytes, size: int) -> bool:
    return len(self) >= size


def _take_any_votes(self: Tally[Any], value: bytes, size: int) -> tuple[Any, ...]:
    return tuple(self._votes[member] for member in sorted(self._votes)[:size])


def _count_messages(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tally, "has_quorum", _count_all_votes)
    patch.setattr(Tally, "votes_for", _take_any_votes)


def _sign_as(compute: Callable[[Committee, Phase, int, int, bytes], bytes]) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(messages, "compute_statement", compute)
        patch.setattr(reading, "compute_statement", compute)

    return plant


_real_statement = messages.compute_statement


def _sign_without_phase(committee: Committee, phase: Phase, view: int, slot: int, digest: bytes) -> bytes:
    return _real_statement(committee, Phase.PREPARE, view, slot, digest)


def _sign_without_chain(committee: Committee, phase: Phase, view: int, slot: int, digest: bytes) -> bytes:
    return _real_statement(committee, phase, view, slot, digest).replace(committee.chain, b"")


def _sign_without_slot(committee: Committee, phase: Phase, view: int, slot: int, digest: bytes) -> bytes:
    return _real_statement(committee, phase, view, 0, digest)


def _forget_failures(self: ExponentialPacemaker) -> None:
    """Every view gets the base."""


def _ignore_progress(self: ExponentialPacemaker) -> None:
    """Once slow, always slow."""


MUTANTS = (
    Mutant(
        "01 empty P",
        rules.check_view_change_tells_what_is_prepared,
        _replace(ViewChanger, "_collect_prepared", lambda self: ()),
    ),
    Mutant(
        "02 lowest view wins",
        rules.check_highest_view_proof_wins,
        _replace(proofs, "_rank", lambda proof: (-proof.proposal.view, proof.proposal.digest)),
    ),
    Mutant(
        "02 any certificate wins",
        rules.check_highest_view_proof_wins,
        _replace(proofs, "_rank", lambda proof: (0, b"")),
    ),
    Mutant(
        "02 new views are believed",
        rules.check_backups_recompute_the_proposals,
        _replace(ProofChecker, "verify_new_view", lambda self, new_view: None),
    ),
    Mutant(
        "03 the proposer counts twice",
        rules.check_quorums_count_distinct_members,
        _replace(Ordering, "needs_prepare", _count_proposer_twice),
    ),
    Mutant(
        "03 the proposer does not count",
        rules.check_quorums_count_distinct_members,
        _replace(Ordering, "_record_prepared", _ignore_proposer),
    ),
    Mutant(
        "03 quorum is 2f + 1",
        rules.check_quorums_count_distinct_members,
        _replace(Committee, "quorum", property(lambda self: 2 * self.faults + 1)),
    ),
    Mutant(
        "04 proofs go with their view",
        rules.check_proofs_last_until_certified,
        _replace(Slot, "enter_view", _forget_proofs_on_entering),
    ),
    Mutant(
        "04 proofs go with the window",
        rules.check_proofs_last_until_certified,
        _replace(Window, "advance", _forget_proofs_when_the_window_moves),
    ),
    Mutant(
        "04 proofs go at a restart",
        rules.check_proofs_last_until_certified,
        _replace(engine_module, "load_slot", _forget_proofs_at_restart),
    ),
    Mutant(
        "05 votes are not logged",
        rules.check_votes_are_durable_before_they_leave,
        _replace(Ordering, "_publish", _send_without_logging),
    ),
    Mutant(
        "05 votes are forgotten at a restart",
        rules.check_a_restart_repeats_the_same_vote,
        _replace(engine_module, "load_slot", _forget_votes_at_restart),
    ),
    Mutant(
        "08 votes ask the mempool",
        rules.check_votes_depend_on_messages_alone,
        _replace(Ordering, "_prepare", _vote_only_for_known_work),
    ),
    Mutant(
        "08 votes ask the clock",
        rules.check_votes_depend_on_messages_alone,
        _replace(Ordering, "_prepare", _vote_only_in_good_time),
    ),
    Mutant(
        "10 no limit of bytes",
        rules.check_floods_are_bounded,
        _replace(Backlog, "admits", lambda self, message: True),
    ),
    Mutant(
        "10 no horizon",
        rules.check_floods_are_bounded,
        _replace(Ordering, "_is_early", lambda self, view, slot: (view, slot) != (0, 1)),
    ),
    Mutant(
        "11 the last proposal wins",
        rules.check_first_proposal_stands,
        _replace(Ordering, "on_pre_prepare", _take_the_last_proposal),
    ),
    Mutant("12 messages are counted", rules.check_only_matching_votes_count, _count_messages),
    Mutant("13 no phase is signed", rules.check_domains_are_separate, _sign_as(_sign_without_phase)),
    Mutant("13 no chain is signed", rules.check_domains_are_separate, _sign_as(_sign_without_chain)),
    Mutant("13 no slot is signed", rules.check_domains_are_separate, _sign_as(_sign_without_slot)),
    Mutant(
        "15 timeouts never grow",
        rules.check_timeouts_grow_are_capped_and_shrink,
        _replace(ExponentialPacemaker, "on_view_failed", _forget_failures),
    ),
    Mutant(
        "15 timeouts never shrink",
        rules.check_timeouts_grow_are_capped_and_shrink,
        _replace(ExponentialPacemaker, "on_progress", _ignore_progress),
    ),
    Mutant(
        "15 timeouts have no cap",
        rules.check_timeouts_grow_are_capped_and_shrink,
        _replace(ExponentialPacemaker, "timeout_ms", property(lambda self: self._base_ms << self._failed_views)),
    ),
    Mutant(
        "15 only a quorum in one view starts the timer",
        rules.check_a_split_over_views_heals,
        _replace(ViewChanger, "_count_reaching", lambda self, view: len(self._collect_supporters(view))),
    ),
    Mutant(
        "16 no statuses",
        rules.check_late_commits_are_sent_again,
        _replace(Deadlines, "_compute_resend", lambda self: None),
    ),
    Mutant(
        "16 statuses are not answered",
        rules.check_late_commits_are_sent_again,
        _replace(StatusExchange, "_answer_slot", lambda self, status, slot: None),
    ),
)
