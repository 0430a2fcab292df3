"""Making the state of an engine, and the height that it left when it was restarted.

What does not live here: reading the log (``records``), and what a restarted engine says first (``ordering``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import EngineParameters
from consensus.leader import LeaderSchedule, create_leader_schedule
from consensus.pacemaker import create_pacemaker
from consensus.tendermint.backlog import Backlog
from consensus.tendermint.core import CoreSetup, TendermintCore
from consensus.tendermint.records import HeightRecords
from consensus.tendermint.round_book import RoundBook
from consensus.tendermint.state import Height, TendermintState
from consensus.tendermint.steps import PolkaProven, Step
from primitives.errors import LocalError
from primitives.signing import Signer

MAX_WINDOW_SLOTS: Final = 256
"""No network sets a larger window."""


def create_state(
    committee: Committee, signer: Signer, parameters: EngineParameters, certificate: Certificate | None
) -> TendermintState:
    """Above ``certificate``. Raises ``LocalError`` for a stranger's key or senseless parameters."""
    index = committee.index_of(signer.public_key)
    if index is None:
        raise LocalError("this key is not a member of the committee")
    if not 1 <= parameters.window_slots <= MAX_WINDOW_SLOTS:
        raise LocalError(f"window_slots must lie between 1 and {MAX_WINDOW_SLOTS}")
    if parameters.extra:
        unknown = ", ".join(sorted(parameters.extra))
        raise LocalError(f"Tendermint has no parameters of its own, so none called {unknown}")
    is_own = certificate is not None and is_of_epoch(certificate, committee)
    return TendermintState(
        committee=committee,
        signer=signer,
        index=index,
        parameters=parameters,
        schedule=_create_schedule(committee, parameters),
        pacemaker=create_pacemaker(parameters),
        backlog=Backlog(parameters.window_slots, parameters.max_payload_bytes),
        stable=0 if certificate is None else certificate.height,
        certificate=certificate if is_own else None,
    )


def _create_schedule(committee: Committee, parameters: EngineParameters) -> LeaderSchedule:
    """Tendermint's proposer moves on with every height, unless the topology names another pace, or a schedule
    that refuses to rotate."""
    if parameters.leader_rotation_slots == 0:
        try:
            return create_leader_schedule(committee, replace(parameters, leader_rotation_slots=1))
        except LocalError:
            pass  # Whatever else is wrong with the parameters is said below.
    return create_leader_schedule(committee, parameters)


def is_of_epoch(certificate: Certificate, committee: Committee) -> bool:
    """Whether it certifies a height of this committee; the one an epoch starts from does not."""
    return (certificate.incarnation, certificate.epoch) == (committee.incarnation, committee.epoch)


def create_height(state: TendermintState, number: int) -> Height:
    """A height that nothing is known of."""
    committee = state.committee
    setup = CoreSetup(
        index=state.index,
        quorum=committee.quorum,
        one_honest=committee.faults + 1,
        proposer_of=lambda round: state.compute_proposer(round, number),
    )
    return Height(number, TendermintCore(setup), RoundBook(committee.quorum), entered_ms=state.now_ms)


def restore_height(state: TendermintState, number: int, records: HeightRecords) -> Height:
    """The height as it was left: round, step, lock, valid value, our votes. The votes of others are lost and come
    again; the core is told of our own ones when it runs."""
    height = create_height(state, number)
    height.logged |= records.keys
    height.prevotes, height.precommits = dict(records.prevotes), dict(records.precommits)
    round = records.round
    height.book.enter(round)
    for prevote in records.prevotes.values():
        height.book.add_vote(prevote)
    for precommit in records.precommits.values():
        height.book.add_vote(precommit)
    if records.proposal is not None:
        height.book.touch(records.proposal.round).proposal = records.proposal
        if records.proposal.sender == state.index:
            height.proposal = records.proposal
    valid, locked = records.valid, records.locked
    height.core.restore(
        round,
        _compute_step(records),
        None if locked is None else (locked.round, locked.digest),
        None if valid is None else (valid.round, valid.digest),
    )
    if valid is not None:
        height.valid = valid
        height.book.add_proof(valid)
        height.core.handle(PolkaProven(valid.round, valid.digest))
    return height


def _compute_step(records: HeightRecords) -> Step:
    """How far we came in the round that we are in."""
    if records.round in records.precommits:
        return Step.PRECOMMIT
    return Step.PREVOTE if records.round in records.prevotes else Step.PROPOSE
