"""Tendermint as the test cluster runs it: its factory, and which of its messages are votes."""

from __future__ import annotations

from typing import Any

from consensus.tendermint.engine import TendermintFactory
from consensus.tendermint.messages import Precommit, Prevote, Propose
from primitives.codec import encode
from tests.consensus.cluster import EngineUnderTest, Vote


def read_vote(message: Any) -> Vote | None:
    """Proposals, prevotes and precommits: an honest member signs one of each per height and round."""
    if isinstance(message, Propose):
        message = message.proposal
    elif not isinstance(message, Prevote | Precommit):
        return None
    return Vote(type(message).__name__, message.round, message.height, encode(message))


TENDERMINT = EngineUnderTest(TendermintFactory(), read_vote)
