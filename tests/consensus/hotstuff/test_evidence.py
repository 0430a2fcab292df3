"""Evidence convinces strangers, and nothing else does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consensus.engine import EngineParameters, Evidence
from consensus.hotstuff.messages import extend
from primitives.codec import encode
from primitives.errors import RemoteError
from tests.consensus.hotstuff.crafting import FACTORY, ROOT, World
from tests.consensus.tokens import TokenScheme

WORLD = World()
ONE, TWO = WORLD.chain(1, 2)
BLOCK, OTHER = (extend(ROOT.block, 5, bytes([number]) * 32) for number in (1, 2))


def _prove(kind: str, culprit: int, *messages: Any) -> tuple[int, int]:
    evidence = Evidence(kind, culprit, tuple(sorted(map(encode, messages))))
    position = FACTORY.verify_evidence(evidence, WORLD.committee, TokenScheme(), EngineParameters())
    return position.view, position.slot


def test_contradictions_are_proven_with_their_place() -> None:
    assert _prove("conflicting-vote", 2, WORLD.vote(2, BLOCK), WORLD.vote(2, OTHER)) == (5, 1)
    proposals = [WORLD.propose(5, payload).proposal for payload in (b"a", b"b")]
    assert _prove("conflicting-proposal", 1, *proposals) == (5, 1)
    assert _prove("conflicting-timeout", 3, WORLD.time_out(3, 5, ONE), WORLD.time_out(3, 5, TWO)) == (5, 0)


@pytest.mark.parametrize(
    ("kind", "culprit", "messages"),
    [
        ("conflicting-vote", 1, (WORLD.vote(2, BLOCK), WORLD.vote(2, OTHER))),
        ("conflicting-vote", 2, (WORLD.vote(2, BLOCK), WORLD.vote(1, OTHER))),
        ("conflicting-vote", 2, (WORLD.vote(2, BLOCK), WORLD.vote(2, BLOCK))),
        ("conflicting-vote", 2, (WORLD.vote(2, BLOCK), WORLD.vote(2, extend(ROOT.block, 6, bytes(32))))),
        (
            "conflicting-vote",
            2,
            (WORLD.vote(2, BLOCK), msgspec.structs.replace(WORLD.vote(2, OTHER), signature=bytes(64))),
        ),
        ("conflicting-vote", 2, (WORLD.vote(2, BLOCK),)),
        (
            "conflicting-proposal",
            1,
            (
                WORLD.propose(5, b"a", TWO).proposal,
                msgspec.structs.replace(WORLD.propose(5, b"a", TWO).proposal, timeouts=WORLD.certify_timeouts(4)),
            ),
        ),
        ("conflicting-timeout", 3, (WORLD.time_out(3, 5, ONE), WORLD.time_out(3, 6, TWO))),
        (
            "conflicting-timeout",
            3,
            (WORLD.time_out(3, 5, ONE), WORLD.time_out(3, 5, WORLD.certify_block(ONE.block, (1, 2, 3)))),
        ),
        ("conflicting-prepare", 2, (WORLD.vote(2, BLOCK), WORLD.vote(2, OTHER))),
    ],
)
def test_anything_else_is_refused(kind: str, culprit: int, messages: tuple[Any, ...]) -> None:
    with pytest.raises(RemoteError):
        _prove(kind, culprit, *messages)


def test_the_order_of_bytes_is_the_only_one() -> None:
    first, second = sorted((encode(WORLD.vote(2, BLOCK)), encode(WORLD.vote(2, OTHER))))
    evidence = Evidence("conflicting-vote", 2, (second, first))
    with pytest.raises(RemoteError):
        FACTORY.verify_evidence(evidence, WORLD.committee, TokenScheme(), EngineParameters())


def test_two_timeouts_of_one_view_are_found() -> None:
    subject = WORLD.subject(0)
    subject.hear(WORLD.time_out(3, 5, ONE), WORLD.time_out(3, 5, TWO), WORLD.time_out(3, 5))
    (evidence,) = subject.evidence()
    assert (evidence.kind, evidence.culprit) == ("conflicting-timeout", 3)
    FACTORY.verify_evidence(evidence, WORLD.committee, TokenScheme(), EngineParameters())
