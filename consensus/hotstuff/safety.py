"""The rules that keep HotStuff safe, each where it can be read alone.

| rule                                                   | source                                                |
|--------------------------------------------------------|-------------------------------------------------------|
| vote at most once per view, in rising views            | Jolteon Fig. 2 "Vote", ``r > r_vote``; HotStuff-2 §3  |
| vote only for the parent's certificate of view v − 1,  | Jolteon Fig. 2 "Vote", (1)                            |
| or with timeouts of view v − 1 none of which reports   | Jolteon Fig. 2 "Vote", (2): ``qc.r ≥ max qc_high.r``; |
| a higher certificate than the proposal's               | HotStuff-2 §3, the leader's proof of no higher lock   |
| a timeout for a view ends voting up to that view       | Jolteon Fig. 2 "Timer and timeout"                    |
| the lock: the highest certificate seen never falls,    | HotStuff-2 §3 "lock"; Jolteon ``qc_high``: what a     |
| is logged before a vote that builds on it, and is what | quorum of timeouts reports is what keeps a commit     |
| a timeout reports                                      |                                                       |
| a block and its child certified in consecutive views   | Jolteon Fig. 2 "Commit" (2-chain); HotStuff-2 §3      |
| commit the block and its ancestors                     | "double certificate"                                  |

Why it holds: let b of view v be committed by its child in v + 1. The q voters of the child held b's certificate
when they voted. Any later certified block has, by induction, a proposal whose certificate is of view v + 1 or above
and so extends b, or comes with q timeouts; those intersect the q voters in an honest member that gave the view up
*after* its vote in v + 1, so it reported b's certificate or a higher one. One lower than b's is never voted for.

What does not live here: verifying signatures (``proofs``), durability (``ordering``, ``views``).
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.hotstuff.messages import Block, Proposal, QuorumCertificate, TimeoutCertificate, compute_block_id


def is_justified(view: int, justify: QuorumCertificate, timeouts: TimeoutCertificate | None) -> bool:
    """Whether a proposal of ``view`` may extend the block that ``justify`` certifies."""
    if justify.block.view == view - 1:
        return True
    if timeouts is None or timeouts.view != view - 1:
        return False
    return max(timeouts.certified_views) <= justify.block.view < view


def names_its_parent(proposal: Proposal) -> bool:
    """Whether the certificate in a proposal is that of the block which it extends."""
    return proposal.block.parent == compute_block_id(proposal.justify.block)


def commits(parent: Block, child: Block) -> bool:
    """Whether certificates of both commit ``parent`` and its ancestors: the 2-chain rule."""
    return child.parent == compute_block_id(parent) and child.view == parent.view + 1


@dataclass(slots=True)
class Ballot:
    """What this member may still sign. ``voted`` and ``gave_up`` are the highest views that it voted in or timed
    out (0: none); below ``first_view`` it may have signed what it does not remember."""

    first_view: int = 0
    voted: int = 0
    gave_up: int = 0

    def may_vote(self, view: int) -> bool:
        """Once per view, in rising views, never in one that was given up."""
        return view > max(self.voted, self.gave_up) and view >= self.first_view

    def may_give_up(self, view: int) -> bool:
        """A timeout is signed once per view, in rising views; having voted is no obstacle."""
        return view > self.gave_up and view >= self.first_view
