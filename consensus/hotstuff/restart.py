"""Making the state of a fresh engine, and filling it from the log of a restarted one.

What does not live here: reading the log (``records``), and what a restarted engine says first (``engine``).
"""

from __future__ import annotations

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.engine import EngineParameters
from consensus.hotstuff.messages import entry_of, make_root
from consensus.hotstuff.proofs import ProofChecker
from consensus.hotstuff.reading import MAX_WINDOW_SLOTS
from consensus.hotstuff.records import RestoredLog, compute_entry_key
from consensus.hotstuff.safety import Ballot
from consensus.hotstuff.state import HotStuffState
from consensus.hotstuff.terms import Terms
from consensus.hotstuff.tree import EntryTree
from consensus.hotstuff.views import Views
from consensus.leader import create_leader_schedule
from consensus.pacemaker import create_pacemaker
from primitives.errors import LocalError
from primitives.signing import SignatureScheme, Signer

_REACH_WINDOWS = 2
"""Entries are kept for the window and the one after it: others may be a window ahead of what is certified here."""


def create_state(
    committee: Committee,
    signer: Signer,
    scheme: SignatureScheme,
    parameters: EngineParameters,
    certificate: Certificate | None,
    first_view: int,
) -> HotStuffState:
    """View 1 above ``certificate``. Raises ``LocalError`` for a stranger's key or senseless parameters.

    All members extend one root: the height at which the epoch began. A certificate of this epoch is above it.
    """
    index = committee.index_of(signer.public_key)
    if index is None:
        raise LocalError("this key is not a member of the committee")
    if not 1 <= parameters.window_slots <= MAX_WINDOW_SLOTS:
        raise LocalError(f"window_slots must lie between 1 and {MAX_WINDOW_SLOTS}")
    if parameters.extra:
        unknown = ", ".join(sorted(parameters.extra))
        raise LocalError(f"HotStuff has no parameters of its own, so none called {unknown}")
    height = 0 if certificate is None else certificate.height
    own = certificate if certificate is not None and is_of_epoch(certificate, committee) else None
    root = make_root(0 if own is not None else height)
    return HotStuffState(
        committee=committee,
        signer=signer,
        index=index,
        parameters=parameters,
        terms=Terms(create_leader_schedule(committee, parameters), max(1, parameters.leader_rotation_slots)),
        pacemaker=create_pacemaker(parameters),
        checker=ProofChecker(committee, scheme, root),
        tree=EntryTree(height, _REACH_WINDOWS * parameters.window_slots),
        certificate=own,
        highest=root,
        decided=height,
        ballot=Ballot(first_view),
    )


def is_of_epoch(certificate: Certificate, committee: Committee) -> bool:
    """Whether it can be carried in this committee's records; the one an epoch starts from cannot."""
    return (certificate.incarnation, certificate.epoch) == (committee.incarnation, committee.epoch)


def load_log(views: Views, log: RestoredLog) -> None:
    """Take back what the log holds; nothing is sent. The view follows from what led to it."""
    state, ordering = views.state, views.ordering
    state.ballot.first_view = max(state.ballot.first_view, log.first_view)
    for entry in log.entries:
        state.keys.setdefault(entry.slot, []).append(compute_entry_key(entry))
        state.tree.learn(entry)
    load_lock(state, log)
    load_ballot(state, log)
    reached = [state.highest.block.view + 1, state.view]
    if log.timeouts is not None:
        reached.append(log.timeouts.view + 1)
    if log.timeout is not None:
        reached.append(log.timeout.view)
        views.newest[state.index] = log.timeout
    state.view = max(reached)
    if log.timeouts is not None and log.timeouts.view == state.view - 1:
        state.timeouts = log.timeouts
    if log.proposal is not None and log.proposal.block.view == state.view:
        state.proposal = log.proposal
    for certificate in (
        *(() if log.proposal is None else (log.proposal.justify,)),
        *(() if log.commit is None else (log.commit.parent, log.commit.child)),
        state.highest,
    ):
        if certificate.signers:
            ordering.note_recent(certificate)
    if log.commit is not None:
        _load_commit(views, log)


def load_lock(state: HotStuffState, log: RestoredLog) -> None:
    """The highest certificate seen: what a timeout reports also in this life."""
    if log.highest is not None:
        state.highest = log.highest
        state.tree.learn(entry_of(log.highest.block))


def load_ballot(state: HotStuffState, log: RestoredLog) -> None:
    """What was signed before the restart, and so is not signed again otherwise."""
    if log.vote is not None:
        state.vote = log.vote
        state.ballot.voted = log.vote.block.view
    if log.timeout is not None:
        state.timeout = log.timeout
        state.ballot.gave_up = log.timeout.view


def _load_commit(views: Views, log: RestoredLog) -> None:
    """What was decided is announced again; where the chain's store lost more than the entries reach, asked for."""
    assert log.commit is not None
    state, block = views.state, log.commit.parent.block
    if block.slot <= state.tree.height or state.tree.trace(entry_of(block)).missing is None:
        state.commit = log.commit
        state.decided = max(state.decided, block.slot)
    else:
        views.ordering.blocked = log.commit
