"""Making the state of a fresh engine, and filling its slots from the log of a restarted one.

What does not live here: reading the log (``records``), and what a restarted engine says first (``engine``).
"""

from __future__ import annotations

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import EngineParameters
from consensus.leader import create_leader_schedule
from consensus.pacemaker import create_pacemaker
from consensus.pbft.backlog import Backlog
from consensus.pbft.reading import MAX_WINDOW_SLOTS
from consensus.pbft.records import SlotRecords
from consensus.pbft.state import PbftState
from consensus.pbft.window import Slot, Window
from primitives.errors import LocalError
from primitives.signing import Signer


def create_state(
    committee: Committee, signer: Signer, parameters: EngineParameters, certificate: Certificate | None
) -> PbftState:
    """View 0 above ``certificate``. Raises ``LocalError`` for a stranger's key or senseless parameters."""
    index = committee.index_of(signer.public_key)
    if index is None:
        raise LocalError("this key is not a member of the committee")
    if not 1 <= parameters.window_slots <= MAX_WINDOW_SLOTS:
        raise LocalError(f"window_slots must lie between 1 and {MAX_WINDOW_SLOTS}")
    if parameters.extra:
        raise LocalError(f"PBFT has no parameters of its own, so none called {', '.join(sorted(parameters.extra))}")
    own = certificate if certificate is not None and is_of_epoch(certificate, committee) else None
    stable = 0 if certificate is None else certificate.height
    base_height = 0 if own is not None else stable
    return PbftState(
        committee=committee,
        signer=signer,
        index=index,
        parameters=parameters,
        schedule=create_leader_schedule(committee, parameters),
        pacemaker=create_pacemaker(parameters),
        base_height=base_height,
        certificate=own,
        window=Window(stable, parameters.window_slots),
        backlog=Backlog(parameters.window_slots, parameters.max_payload_bytes),
        floor=base_height,
        carried_to=base_height,
    )


def is_of_epoch(certificate: Certificate, committee: Committee) -> bool:
    """Whether it can be carried in this committee's messages; the one an epoch starts from cannot."""
    return (certificate.incarnation, certificate.epoch) == (committee.incarnation, committee.epoch)


def load_slot(state: PbftState, number: int, entry: SlotRecords) -> Slot:
    """What belongs to an earlier view than the installed one is only good as a proof or a decision."""
    slot = state.window.touch(number)
    slot.logged |= entry.keys
    slot.prepared = entry.prepared
    slot.decided = entry.decided
    if entry.proposal is not None and entry.proposal.view == state.view:
        slot.proposal = entry.proposal
    if entry.prepare is not None and entry.prepare.view == state.view:
        slot.prepare = entry.prepare
        slot.prepares.add(state.index, entry.prepare.digest, entry.prepare)
    if entry.commit is not None and entry.commit.view == state.view:
        slot.commit = entry.commit
        slot.commits.add(state.index, entry.commit.digest, entry.commit)
    return slot
