"""PBFT's mutants: each breaks one rule whose loss costs safety or liveness, and names the seed that kills it.

Some of the bugs are those of ``tests.consensus.mutants``, where a unit rule catches each; here the campaign has to
find them in runs, knowing nothing of what is broken. Not here, because neither safety nor liveness of one committee
hangs on them:

| rule | what its loss costs, and where it is held |
|---|---|
| 08 votes ask the clock | nothing specific: its clock is an invented constant; the mempool's mutant is here |
| 10 no limit of bytes | memory, not votes: ``test_pitfalls`` and the simulator's bounds hold it |
| 13 no chain is signed | needs a second chain with the same keys, whose votes are replayed: ``test_pitfalls`` |
| 15 timeouts never shrink | speed after trouble: the cap bounds every wait, so slots are still decided |
| 15 timeouts have no cap | speed after trouble: a wait doubles with the trouble, so it is about as long at most |
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import msgspec

from consensus.committee import Committee
from consensus.engine import NULL_DIGEST, Engine, EngineStatistics, Event, MessageReceived, Output, Send
from consensus.pbft import proofs, reading
from consensus.pbft.engine import PbftFactory
from consensus.pbft.messages import (
    MESSAGE_KINDS,
    Commit,
    CommitCertificate,
    NewView,
    Prepare,
    PreparedProof,
    Proposal,
    ViewChange,
    sign_new_view,
    sign_proposal,
    sign_view_change,
)
from consensus.pbft.ordering import Ordering
from consensus.pbft.proofs import ProofChecker
from consensus.pbft.records import PREPARED
from consensus.pbft.view_change import ViewChanger
from consensus.pbft.window import Slot
from primitives.codec import decode, encode
from primitives.errors import RemoteError
from primitives.signing import Signer
from tests.consensus.mutants import MUTANTS as PITFALLS
from tests.simulation.mutants.counting import count_every_message
from tests.simulation.mutants.hunts import Hunt, Swarm, Twins
from tests.simulation.mutants.planting import Liar, Plant, PlantedFactory, plant_all, replace_in
from tests.simulation.mutants.table import Mutant

_PITFALLS: Final = {mutant.name: mutant.plant for mutant in PITFALLS}


# --- quorums -----------------------------------------------------------------------------------------------


def _require_one_less(
    signers: tuple[int, ...], signatures: tuple[bytes, ...], count: int, committee: Committee
) -> None:
    if not count - 1 <= len(signers) == len(signatures) <= count or len(set(signers)) != len(signers):
        raise RemoteError("MALFORMED", "not enough signers")


_READ_ONE_LESS: Final = replace_in(reading, "_require_signers", _require_one_less)


def _prepare_with_one_less(self: Ordering, slot: Slot, proposal: Proposal) -> None:
    others = self._state.committee.quorum - 2
    if slot.prepared is not None and slot.prepared.proposal.view == self._state.view:
        return
    if slot.prepares.has_quorum(proposal.digest, others):
        votes = slot.prepares.votes_for(proposal.digest, others)
        slot.prepared = PreparedProof(
            proposal, tuple(vote.sender for vote in votes), tuple(vote.signature for vote in votes)
        )
        self._state.outbox.log_slot(slot, PREPARED, encode(slot.prepared))


def _decide_with_one_less(self: Ordering, slot: Slot, digest: bytes) -> None:
    quorum = self._state.committee.quorum - 1
    if slot.decided is not None or not slot.commits.has_quorum(digest, quorum):
        return
    votes = slot.commits.votes_for(digest, quorum)
    signers, signatures = tuple(vote.sender for vote in votes), tuple(vote.signature for vote in votes)
    self._decide(slot, CommitCertificate(self._state.view, slot.number, digest, signers, signatures))


def _require_any_view_changes(message: NewView, committee: Committee) -> None:
    for change in message.view_changes:
        reading._require_view_change_shape(change, committee)


def _start_with_one_less(patch: Any) -> None:
    honest = ViewChanger._start_view

    def proceed(self: ViewChanger) -> None:
        state = self.state
        wanted = self._compute_view_to_join()
        if wanted is not None:
            self.ask_for(wanted)
        if not state.is_changing_view:
            return
        supporters = self._collect_supporters(state.target)
        is_leader = state.schedule.compute_view_leader(state.target) == state.index
        if is_leader and len(supporters) >= state.committee.quorum - 1:
            honest(self, supporters[: state.committee.quorum - 1])
        elif self.quorum_ms is None and self._count_reaching(state.target) >= state.committee.quorum - 1:
            self.quorum_ms = state.now_ms

    patch.setattr(ViewChanger, "proceed", proceed)
    patch.setattr(reading, "_require_new_view_shape", _require_any_view_changes)


# --- one sender, many votes --------------------------------------------------------------------------------


def _count_every_message(patch: Any) -> None:
    """A repeated vote counts again, also in certificates."""

    def require(signers: tuple[int, ...], signatures: tuple[bytes, ...], count: int, committee: Committee) -> None:
        if len(signers) != count or len(signatures) != count:
            raise RemoteError("MALFORMED", "not enough signers")

    count_every_message(patch)
    patch.setattr(reading, "_require_signers", require)


# --- views -------------------------------------------------------------------------------------------------


def _as_if_not_leaving(method: Any) -> Any:
    """The method, blind to the view change that waits for its new view."""

    def call(self: Ordering, *arguments: Any) -> Any:
        state = self._state
        target, state.target = state.target, state.view
        try:
            return method(self, *arguments)
        finally:
            state.target = max(target, state.target)

    return call


_VOTE_WHILE_LEAVING: Final = plant_all(
    *[
        replace_in(Ordering, name, _as_if_not_leaving(getattr(Ordering, name)))
        for name in ("needs_pre_prepare", "needs_prepare", "on_pre_prepare", "on_prepare", "on_payload_held")
    ]
)


def _enter_any_higher_view(self: ViewChanger, message: NewView) -> bool:
    return message.view > self.state.view


def _vote_unheld(patch: Any) -> None:
    """Votes for what it only heard of: the payload counts as held from the proposal on."""
    honest = Ordering._advance

    def advance(self: Ordering, slot: Slot) -> None:
        if slot.proposal is not None:
            slot.held.setdefault(slot.proposal.digest, b"")
        honest(self, slot)

    patch.setattr(Ordering, "_advance", advance)


_PREPARE_ONE_SHORT: Final = plant_all(
    _READ_ONE_LESS, replace_in(Ordering, "_record_prepared", _prepare_with_one_less)
)
_DECIDE_ONE_SHORT: Final = plant_all(
    _READ_ONE_LESS, replace_in(Ordering, "_decide_by_votes", _decide_with_one_less)
)
_COUNT_2F_1: Final = plant_all(
    # The judge's certificates keep their size; the engine must not refuse them for it.
    _PITFALLS["03 quorum is 2f + 1"],
    replace_in(proofs, "verify_certificate", lambda certificate, committee, scheme: None),
)
_ENTER_LOWER: Final = replace_in(ViewChanger, "needs_new_view", _enter_any_higher_view)


# --- liars -------------------------------------------------------------------------------------------------


def _start_with_nothing(self: ViewChanger, supporters: tuple[ViewChange, ...]) -> None:
    """A leader that proposes null again for every slot that is proven prepared."""
    state = self.state
    others = [change for change in supporters if change.sender != state.index]
    chosen = [self.newest[state.index], *others[: state.committee.quorum - 1]]
    changes = tuple(sorted(chosen, key=lambda change: change.sender))
    proposals = tuple(
        sign_proposal(state.committee, state.signer, state.index, state.target, carried.slot, NULL_DIGEST)
        for carried in proofs.compute_carried(changes, state.base_height)
    )
    new_view = sign_new_view(state.committee, state.signer, state.index, state.target, changes, proposals)
    state.outbox.send.append(Send(None, encode(new_view)))
    self._enter(new_view)


def _believe_new_views(patch: Any) -> None:
    """No check of what follows from V; and what a new view proposes is taken as it stands."""

    def compute_expected(self: ProofChecker, new_view: NewView) -> tuple[proofs.Carried, ...]:
        return tuple(proofs.Carried(item.slot, item.digest, (item.sender,)) for item in new_view.proposals)

    patch.setattr(ProofChecker, "verify_new_view", lambda self, new_view: None)
    patch.setattr(ProofChecker, "compute_expected", compute_expected)


def _prove_falsely(self: ViewChanger) -> tuple[PreparedProof, ...]:
    """ "Null was prepared in the last view, everywhere", signed by nobody."""
    state = self.state
    view = state.target - 1
    others = [
        member for member in range(state.committee.size) if member != state.schedule.compute_view_leader(view)
    ]
    signers = tuple(others[: state.committee.quorum - 1])
    return tuple(
        PreparedProof(
            Proposal(view, number, NULL_DIGEST, state.schedule.compute_view_leader(view), bytes(64)),
            signers,
            (bytes(64),) * len(signers),
        )
        for number in range(state.window.stable + 1, state.window.last + 1)
    )


_LEAD_WITH_NOTHING: Final = replace_in(ViewChanger, "_start_view", _start_with_nothing)
_BELIEVE_PROOFS: Final = replace_in(ProofChecker, "_verify_proof", lambda self, proof: None)
_PROVE_NULLS: Final = replace_in(ViewChanger, "_collect_prepared", _prove_falsely)


class _Secretive:
    """Keeps its votes and decisions to itself, so it has proofs and decisions that nobody else has; and shows in
    its view changes the oldest proof that it ever had of a slot, none where it has no older one.

    It forges nothing: all that it shows is valid, and the highest-view proof of an honest member outdoes it.
    """

    def __init__(self, engine: Engine, committee: Committee, signer: Signer) -> None:
        self._engine = engine
        self._committee = committee
        self._signer = signer
        self._oldest: dict[int, PreparedProof] = {}

    def handle(self, event: Event, now_ms: int) -> Output:
        output = self._engine.handle(event, now_ms)
        sends = [self._disguise(send) for send in output.send]
        return replace(output, send=tuple([send for send in sends if send is not None]))

    def _disguise(self, send: Send) -> Send | None:
        message = decode(MESSAGE_KINDS, send.message, max_bytes=len(send.message))
        if isinstance(message, Prepare | Commit | CommitCertificate):
            return None
        if not isinstance(message, ViewChange):
            return send
        shown = []
        for proof in message.prepared:
            oldest = self._oldest.setdefault(proof.proposal.slot, proof)
            if oldest.proposal.view < proof.proposal.view:
                shown.append(oldest)
        lie = sign_view_change(
            self._committee, self._signer, message.sender, message.view, message.certificate, tuple(shown)
        )
        return msgspec.structs.replace(send, message=encode(lie))

    def needs(self, signer: int, message: Any) -> bool:
        return self._engine.needs(signer, message)

    def statistics(self) -> EngineStatistics:
        return self._engine.statistics()


class _Resigning:
    """Sends every vote that it hears again as another one under the same signature, in its author's name."""

    def __init__(self, engine: Engine, *, moves_slot: bool) -> None:
        self._engine = engine
        self._moves_slot = moves_slot

    def handle(self, event: Event, now_ms: int) -> Output:
        output = self._engine.handle(event, now_ms)
        match event:
            case MessageReceived(message=Prepare() as vote) if not self._moves_slot:
                forged = Commit(vote.view, vote.slot, vote.digest, vote.sender, vote.signature)
            case MessageReceived(message=Commit() as vote) if self._moves_slot:
                forged = msgspec.structs.replace(vote, slot=vote.slot + 1)
            case _:
                return output
        return replace(output, send=(*output.send, Send(None, encode(forged))))

    def needs(self, signer: int, message: Any) -> bool:
        return isinstance(message, Prepare | Commit) or self._engine.needs(signer, message)

    def statistics(self) -> EngineStatistics:
        return self._engine.statistics()


def _resign_phases(engine: Engine, committee: Committee, signer: Signer) -> Engine:
    return _Resigning(engine, moves_slot=False)


def _resign_slots(engine: Engine, committee: Committee, signer: Signer) -> Engine:
    return _Resigning(engine, moves_slot=True)


# --- the table ---------------------------------------------------------------------------------------------

_PBFT: Final = PbftFactory()
TWINS: Final = Twins()
FIVE: Final = Twins(nodes=5)
SECRETIVE: Final = Liar(wrap=_Secretive)
SWARM: Final = Swarm()


def _mutant(name: str, plant: Plant, hunt: Hunt, seed: int, within: int, liar: Liar | None = None) -> Mutant:
    return Mutant(name, PlantedFactory(_PBFT, plant, liar), hunt, seed, within)


MUTANTS: Final = (
    _mutant("a view change tells nothing", _PITFALLS["01 empty P"], TWINS, 1, 20),
    _mutant("the lowest view wins in O", _PITFALLS["02 lowest view wins"], TWINS, 10, 20, SECRETIVE),
    _mutant("any certificate wins in O", _PITFALLS["02 any certificate wins"], TWINS, 18, 50, SECRETIVE),
    _mutant("new views are believed", _believe_new_views, TWINS, 11, 100, Liar(_LEAD_WITH_NOTHING)),
    _mutant("proofs are believed", _BELIEVE_PROOFS, TWINS, 11, 50, Liar(_PROVE_NULLS)),
    _mutant("q - 1 members prepare", _PREPARE_ONE_SHORT, TWINS, 8, 20, SECRETIVE),
    _mutant("q - 1 members decide", _DECIDE_ONE_SHORT, TWINS, 8, 20, SECRETIVE),
    _mutant("q - 1 members change the view", _start_with_one_less, TWINS, 14, 100),
    _mutant("a quorum is 2f + 1 of five", _COUNT_2F_1, FIVE, 28, 50),
    _mutant("repeated votes count again", _count_every_message, TWINS, 34, 100),
    _mutant("votes count whatever they are for", _PITFALLS["12 messages are counted"], TWINS, 0, 20),
    _mutant("proofs go with their view", _PITFALLS["04 proofs go with their view"], TWINS, 27, 50, SECRETIVE),
    _mutant("proofs go with the window", _PITFALLS["04 proofs go with the window"], TWINS, 2, 20, SECRETIVE),
    _mutant("proofs go at a restart", _PITFALLS["04 proofs go at a restart"], TWINS, 1, 50, SECRETIVE),
    _mutant("votes leave before they are logged", _PITFALLS["05 votes are not logged"], SWARM, 0, 20),
    _mutant("votes are forgotten at a restart", _PITFALLS["05 votes are forgotten at a restart"], TWINS, 1, 20),
    _mutant("a vote asks the mempool", _PITFALLS["08 votes ask the mempool"], TWINS, 1, 20),
    _mutant("a vote does not wait for the payload", _vote_unheld, TWINS, 3, 20),
    _mutant("the last proposal wins", _PITFALLS["11 the last proposal wins"], TWINS, 0, 20),
    _mutant(
        "a prepare is good as a commit",
        _PITFALLS["13 no phase is signed"],
        TWINS,
        0,
        50,
        Liar(wrap=_resign_phases),
    ),
    _mutant(
        "a vote is good for every slot", _PITFALLS["13 no slot is signed"], TWINS, 0, 20, Liar(wrap=_resign_slots)
    ),
    _mutant("votes go on after the view change", _VOTE_WHILE_LEAVING, TWINS, 56, 100, SECRETIVE),
    _mutant("a lower view than asked for is entered", _ENTER_LOWER, TWINS, 0, 300, SECRETIVE),
    _mutant("timeouts never grow", _PITFALLS["15 timeouts never grow"], TWINS, 11, 20),
    _mutant("a split over views stays", _PITFALLS["15 only a quorum in one view starts the timer"], TWINS, 16, 50),
    _mutant("nobody says where it stands", _PITFALLS["16 no statuses"], TWINS, 0, 20),
    _mutant("nobody answers a status", _PITFALLS["16 statuses are not answered"], TWINS, 1, 20),
    _mutant("what is due waits in the backlog", _PITFALLS["10 no horizon"], TWINS, 0, 20),
)
