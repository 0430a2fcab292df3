"""Proposing: whether it is our turn, and the wish for a payload that goes before it.

| highest certified block | work | the leader                                                                |
|-------------------------|------|---------------------------------------------------------------------------|
| undecided               | yes  | asks for the next payload, null allowed; where that is null, repeats it   |
| undecided               | no   | repeats it                                                                |
| undecided, window full  |      | repeats it; likewise where entries below it are missing here              |
| decided                 | yes  | asks for the next payload and waits for it                                |
| decided                 | no   | is silent                                                                 |

So while a payload is uncommitted, at most two repetitions follow it in views without faults, then silence. What
was proposed on abandoned branches needs no release: the digests below the wished slot are all in the wish. What
does not live here: votes and certificates (``ordering``).
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.engine import BuildPayload, CancelWish, PayloadBuilt, WorkLevel, compute_payload_digest
from consensus.hotstuff.messages import Block, Propose, entry_of, extend, repeat, sign_proposal
from consensus.hotstuff.ordering import Ordering
from consensus.hotstuff.records import PROPOSAL
from consensus.hotstuff.safety import is_justified
from consensus.hotstuff.state import HotStuffState
from primitives.errors import LocalError


@dataclass(frozen=True, slots=True)
class _OpenWish:
    ticket: int
    parent: Block
    ancestors: tuple[bytes, ...]
    allow_null: bool


@dataclass(slots=True)
class Building:
    """Holds the one open wish of one ``HotStuffState``."""

    state: HotStuffState
    ordering: Ordering
    wish: _OpenWish | None = None
    tickets: int = 0

    def propose(self) -> None:
        """Keep the right wish open, or repeat the tip; asked after every event."""
        ancestors = self._find_ancestors() if self._is_our_turn() else None
        wants = ancestors is not None and self._wants_payload()
        if self.wish is not None and not (wants and self._covers(self.wish, ancestors or ())):
            self.state.outbox.wishes.append(CancelWish(self.wish.ticket))
            self.wish = None
        if wants:
            self._open(ancestors or ())
        elif self._is_our_turn() and self.state.is_undecided:
            self._send(repeat(self.state.tip, self.state.view), None)

    def _is_our_turn(self) -> bool:
        """Whether we lead this view, have not proposed, voted or given up in it, and can say why we may extend the
        highest certificate: it is of the view before, or no higher one was reported by q who gave that view up."""
        state = self.state
        return (
            state.proposal is None
            and state.terms.compute_leader(state.view) == state.index
            and state.ballot.may_vote(state.view)
            and is_justified(state.view, state.highest, state.timeouts)
        )

    def _wants_payload(self) -> bool:
        """A wish that is open stays open when the work went elsewhere: the builder waits."""
        return self.state.work is not WorkLevel.IDLE or self.wish is not None

    def _find_ancestors(self) -> tuple[bytes, ...] | None:
        """The digests in flight below the next slot; ``None`` where there can be no payload for it yet."""
        state = self.state
        tip, height = state.tip, state.tree.height
        if not height <= tip.slot < height + state.parameters.window_slots:
            return None
        if tip.slot == height:
            return ()
        path = state.tree.trace(entry_of(tip))
        return None if path.missing is not None else tuple(entry.digest for entry in path.entries)

    def _covers(self, wish: _OpenWish, ancestors: tuple[bytes, ...]) -> bool:
        """Whether the wish is still good: what was certified since may stay in its list."""
        is_same = wish.parent == self.state.tip and wish.allow_null == self.state.is_undecided
        return is_same and wish.ancestors[len(wish.ancestors) - len(ancestors) :] == ancestors

    def _open(self, ancestors: tuple[bytes, ...]) -> None:
        state = self.state
        if self.wish is None:
            self.tickets += 1
            self.wish = _OpenWish(self.tickets, state.tip, ancestors, state.is_undecided)
            state.outbox.wishes.append(
                BuildPayload(self.tickets, state.tip.slot + 1, ancestors, allow_null=state.is_undecided)
            )

    def on_payload_built(self, event: PayloadBuilt) -> None:
        """Propose it, unless the wish was cancelled meanwhile. What we built we hold."""
        wish, state = self.wish, self.state
        if wish is None or wish.ticket != event.ticket:
            return
        if len(event.payload) > state.parameters.max_payload_bytes:
            raise LocalError(f"a payload of {len(event.payload)} bytes is over the network's limit")
        self.wish = None
        if wish.allow_null and not event.payload:
            self._send(repeat(wish.parent, state.view), None)
            return
        block = extend(wish.parent, state.view, compute_payload_digest(event.payload))
        state.held[block.slot, block.digest] = event.payload
        self._send(block, event.payload)

    def _send(self, block: Block, payload: bytes | None) -> None:
        """Logged first: after a restart this very proposal leaves again, and no other of its view."""
        state = self.state
        needs_timeouts = state.tip.view != state.view - 1
        proposal = sign_proposal(
            state.committee,
            state.signer,
            state.index,
            block,
            state.highest,
            state.timeouts if needs_timeouts else None,
        )
        state.proposal = proposal
        state.outbox.log(PROPOSAL, proposal)
        state.outbox.transmit(None, Propose(proposal, payload))
        if payload is None:
            self.ordering.resume()
        else:
            self.ordering.vote()
