"""HotStuff as the test cluster runs it: its factory, and which of its messages are votes."""

from __future__ import annotations

from typing import Any

from consensus.hotstuff.engine import HotStuffFactory
from consensus.hotstuff.messages import Propose, Timeout
from consensus.hotstuff.messages import Vote as HotStuffVote
from primitives.codec import encode
from tests.consensus.cluster import EngineUnderTest, Vote


def read_vote(message: Any) -> Vote | None:
    """Proposals, votes and timeouts: an honest member signs one of each per view, whatever the slot."""
    match message:
        case Propose(proposal=proposal):
            return Vote("Proposal", proposal.block.view, 0, encode(proposal))
        case HotStuffVote(block=block):
            return Vote("Vote", block.view, 0, encode(message))
        case Timeout(view=view):
            return Vote("Timeout", view, 0, encode(message))
        case _:
            return None


HOTSTUFF = EngineUnderTest(HotStuffFactory(), read_vote)
