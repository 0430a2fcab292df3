"""Evidence is accepted where it proves a contradiction, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from consensus.engine import Evidence
from consensus.tendermint.evidence import CONFLICTING_PRECOMMIT, CONFLICTING_PREVOTE, CONFLICTING_PROPOSAL, accuse
from consensus.tendermint.steps import NIL
from primitives.errors import RemoteError
from tests.consensus.tendermint.crafting import FACTORY, PARAMETERS, World
from tests.consensus.tokens import TokenScheme

WORLD = World()
A, B = b"\x0a" * 32, b"\x0b" * 32
FORGED = msgspec.structs.replace(WORLD.prevote(2, 0, B), signature=bytes(64))


def _verify(evidence: Evidence) -> tuple[int, int]:
    position = FACTORY.verify_evidence(evidence, WORLD.committee, TokenScheme(), PARAMETERS)
    return position.slot, position.view


@pytest.mark.parametrize(
    "evidence",
    [
        accuse(CONFLICTING_PREVOTE, WORLD.prevote(2, 3, A, height=7), WORLD.prevote(2, 3, NIL, height=7)),
        accuse(CONFLICTING_PRECOMMIT, WORLD.precommit(2, 3, A, height=7), WORLD.precommit(2, 3, B, height=7)),
        accuse(CONFLICTING_PROPOSAL, WORLD.proposal(3, A, height=7), WORLD.proposal(3, B, height=7)),
        accuse(CONFLICTING_PROPOSAL, WORLD.proposal(3, A, height=7), WORLD.proposal(3, A, 2, height=7)),
    ],
    ids=["prevotes", "precommits", "proposals", "one value with two valid rounds"],
)
def test_a_contradiction_is_proven(evidence: Evidence) -> None:
    assert _verify(evidence) == (7, 3)


GOOD = accuse(CONFLICTING_PREVOTE, WORLD.prevote(2, 0, A), WORLD.prevote(2, 0, B))


@pytest.mark.parametrize(
    "evidence",
    [
        replace(GOOD, culprit=1),
        replace(GOOD, culprit=9),
        replace(GOOD, kind="unheard-of"),
        replace(GOOD, kind=CONFLICTING_PRECOMMIT),
        replace(GOOD, messages=GOOD.messages[::-1]),
        replace(GOOD, messages=GOOD.messages[:1]),
        replace(GOOD, messages=(GOOD.messages[0],) * 2),
        replace(GOOD, messages=(GOOD.messages[0], b"noise" * 200)),
        accuse(CONFLICTING_PREVOTE, WORLD.prevote(2, 0, A), WORLD.prevote(2, 1, B)),
        accuse(CONFLICTING_PREVOTE, WORLD.prevote(2, 0, A), WORLD.prevote(2, 0, B, height=2)),
        accuse(CONFLICTING_PREVOTE, WORLD.prevote(2, 0, A), WORLD.prevote(3, 0, B)),
        accuse(CONFLICTING_PREVOTE, WORLD.prevote(2, 0, A), FORGED),
        accuse(
            CONFLICTING_PREVOTE,
            WORLD.prevote(2, 0, A),
            msgspec.structs.replace(WORLD.prevote(2, 0, A), signature=b"\x01" * 64),
        ),
    ],
)
def test_anything_else_is_refused(evidence: Evidence) -> None:
    with pytest.raises(RemoteError):
        _verify(evidence)
