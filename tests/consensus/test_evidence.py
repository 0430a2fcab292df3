"""Evidence convinces whoever has the committee, and nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.certificate import attest
from consensus.engine import Evidence
from consensus.evidence import (
    DOUBLE_ATTESTATION,
    MAX_EVIDENCE_BYTES,
    MAX_ITEM_SIGNATURES,
    EvidenceItem,
    Jurisdiction,
    SignatureMeter,
    decode_item,
    encode_item,
    prove_evidence,
    verify_item,
)
from consensus.pbft import messages
from primitives.codec import encode
from primitives.errors import RemoteError
from tests.consensus.crafting import FACTORY, PARAMETERS, World
from tests.consensus.tokens import TokenScheme

ONE, OTHER = b"\x01" * 32, b"\x02" * 32


def jurisdiction(world: World) -> Jurisdiction:
    return Jurisdiction(world.committee, FACTORY, PARAMETERS)


def prove(world: World, kind: str, culprit: int, *found: Any) -> EvidenceItem:
    return prove_evidence(Evidence(kind, culprit, tuple(map(encode, found))), jurisdiction(world), TokenScheme())


def refuse(world: World, item: EvidenceItem, limit: int = MAX_ITEM_SIGNATURES) -> str:
    with pytest.raises(RemoteError) as caught:
        verify_item(item, jurisdiction(world), SignatureMeter(TokenScheme(), limit))
    return caught.value.code


def contradictions(world: World) -> list[tuple[str, int, Any, Any]]:
    """(kind, culprit, two messages) of everything that PBFT's members may contradict themselves in."""
    return [
        ("conflicting-pre-prepare", 0, world.propose(0, 4, 7, ONE), world.propose(0, 4, 7, OTHER)),
        ("conflicting-prepare", 2, world.prepare(2, 4, 7, ONE), world.prepare(2, 4, 7, OTHER)),
        ("conflicting-commit", 3, world.commit(3, 4, 7, ONE), world.commit(3, 4, 7, OTHER)),
    ]


def test_contradicting_messages_prove_their_place_in_either_order() -> None:
    world = World()
    for kind, culprit, first, second in contradictions(world):
        item = prove(world, kind, culprit, first, second)
        assert (item.slot, item.view, item.culprit) == (7, 4, culprit)
        assert prove(world, kind, culprit, second, first) == item, "one pair has one form"
        assert decode_item(encode_item(item)) == item
        verify_item(item, jurisdiction(world), SignatureMeter(TokenScheme(), 2))


def test_two_attestations_of_one_height_prove_it_under_every_engine() -> None:
    world = World()
    pair = [attest(world.committee, world.signers[1], 9, digest) for digest in (ONE, OTHER)]
    item = prove(world, DOUBLE_ATTESTATION, 1, *pair)
    assert (item.slot, item.view) == (9, 0)
    verify_item(item, jurisdiction(world), SignatureMeter(TokenScheme(), 2))


def test_what_the_engine_emits_is_what_strangers_verify() -> None:
    world = World()
    backup = world.subject(1)
    backup.hear(world.pre_prepare(0, 0, 1, b"one"))
    backup.hear(world.pre_prepare(0, 0, 1, b"other"))
    for vote in (world.prepare, world.commit):
        backup.hear(vote(2, 0, 1, ONE))
        backup.hear(vote(2, 0, 1, OTHER))
    backup.hear(world.start_view(1, [world.change_view(sender, 1) for sender in (0, 2, 3)], [(1, ONE)]))
    kinds = []
    for evidence in backup.evidence():
        kinds.append(prove_evidence(evidence, jurisdiction(world), TokenScheme()).kind)
    assert kinds == ["conflicting-pre-prepare", "conflicting-prepare", "conflicting-commit"]
    leader = world.subject(2)
    leader.hear(world.start_view(1, [world.change_view(sender, 1) for sender in (0, 2, 3)], [(1, ONE)]))
    (evidence,) = leader.evidence()
    assert prove_evidence(evidence, jurisdiction(world), TokenScheme()).view == 1


# --- what proves nothing ------------------------------------------------------------------------------------


def test_one_message_twice_or_two_places_prove_nothing() -> None:
    world = World()
    for kind, culprit, first, second in contradictions(world):
        item = prove(world, kind, culprit, first, second)
        twice = msgspec.structs.replace(item, messages=(item.messages[0], item.messages[0]))
        assert refuse(world, twice) == "MALFORMED"
        swapped = msgspec.structs.replace(item, messages=item.messages[::-1])
        assert refuse(world, swapped) == "MALFORMED"
        alone = msgspec.structs.replace(item, messages=item.messages[:1])
        assert refuse(world, alone) == "MALFORMED"
    elsewhere = [
        (world.prepare(2, 4, 8, ONE), "slot"),
        (world.prepare(2, 5, 7, ONE), "view"),
        (msgspec.structs.replace(world.prepare(2, 4, 7, OTHER), signature=bytes(64)), "the same digest"),
    ]
    for second, _ in elsewhere:
        with pytest.raises(RemoteError) as caught:
            prove(world, "conflicting-prepare", 2, world.prepare(2, 4, 7, OTHER), second)
        assert caught.value.code == "NO_OFFENCE"


def test_phases_are_not_mixed() -> None:
    world = World()
    with pytest.raises(RemoteError) as caught:
        prove(world, "conflicting-prepare", 2, world.prepare(2, 4, 7, ONE), world.commit(2, 4, 7, OTHER))
    assert caught.value.code == "MALFORMED"


def test_forged_messages_prove_nothing() -> None:
    world, liar = World(), World()
    liar.signers = list(reversed(liar.signers))
    for (kind, culprit, first, _), (_, _, _, forged) in zip(
        contradictions(world), contradictions(liar), strict=True
    ):
        with pytest.raises(RemoteError) as caught:
            prove(world, kind, culprit, first, forged)
        assert caught.value.code == "BAD_SIGNATURE"


def test_somebody_else_is_not_the_culprit() -> None:
    world = World()
    for kind, culprit, first, second in contradictions(world):
        item = prove(world, kind, culprit, first, second)
        assert refuse(world, msgspec.structs.replace(item, culprit=1)) == "NOT_THE_CULPRIT"
        assert refuse(world, msgspec.structs.replace(item, culprit=4)) == "NOT_A_MEMBER"
        assert refuse(world, msgspec.structs.replace(item, slot=8)) == "WRONG_POSITION"


def test_evidence_of_another_chain_epoch_or_committee_is_refused_before_any_signature() -> None:
    world = World()
    kind, culprit, first, second = contradictions(world)[1]
    item = prove(world, kind, culprit, first, second)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"chain": b"\x09" * 32}, "WRONG_CHAIN"),
        ({"epoch": 1}, "WRONG_EPOCH"),
        ({"incarnation": 1}, "WRONG_EPOCH"),
        ({"shard": 1}, "WRONG_EPOCH"),
    ]
    for change, code in changes:
        assert refuse(world, msgspec.structs.replace(item, **change), limit=0) == code


def test_a_kind_that_no_engine_knows_is_refused() -> None:
    world = World()
    with pytest.raises(RemoteError) as caught:
        prove(world, "bad-manners", 1, world.prepare(1, 0, 1, ONE))
    assert caught.value.code == "UNKNOWN_EVIDENCE"


# --- invalid new views ---------------------------------------------------------------------------------------


def new_view(world: World, changes: Sequence[messages.ViewChange], carried: Sequence[tuple[int, bytes]]) -> Any:
    return world.start_view(1, changes, carried)


def test_a_wrong_o_is_proven_by_computing_it_again() -> None:
    world = World()
    changes = [world.change_view(0, 1, [world.prove(0, 1, ONE)])]
    changes += [world.change_view(sender, 1) for sender in (1, 3)]
    for carried in ([], [(1, OTHER)], [(1, ONE), (2, ONE)]):
        assert prove(world, "invalid-new-view", 1, new_view(world, changes, carried)).view == 1


def test_an_honest_new_view_is_no_offence_and_one_that_somebody_altered_is_not_the_leaders() -> None:
    world = World()
    changes = [world.change_view(0, 1, [world.prove(0, 1, ONE)])]
    changes += [world.change_view(sender, 1) for sender in (1, 3)]
    honest = new_view(world, changes, [(1, ONE)])
    altered = msgspec.structs.replace(honest, proposals=())
    for message, code in ((honest, "NO_OFFENCE"), (altered, "BAD_SIGNATURE")):
        with pytest.raises(RemoteError) as caught:
            prove(world, "invalid-new-view", 1, message)
        assert caught.value.code == code


def test_an_honest_new_view_that_costs_too_much_is_no_offence_either() -> None:
    """A meter that runs out must never look like a signature that is wrong."""
    world = World()
    changes = [
        world.change_view(sender, 1, [world.prove(0, slot, ONE) for slot in (1, 2, 3)]) for sender in (0, 1, 3)
    ]
    honest = new_view(world, changes, [(1, ONE), (2, ONE), (3, ONE)])
    claimed = prove(world, "invalid-new-view", 1, new_view(world, changes, []))
    item = msgspec.structs.replace(claimed, messages=(encode(honest),))
    for limit in range(40):
        assert refuse(world, item, limit) in ("TOO_COSTLY", "NO_OFFENCE")
    assert refuse(world, item) == "NO_OFFENCE"


def test_an_epoch_whose_start_the_evidence_does_not_show_is_left_undecided() -> None:
    world = World()
    item = prove(
        world, "invalid-new-view", 1, new_view(world, [world.change_view(s, 1) for s in (0, 1, 3)], [(1, ONE)])
    )
    later = msgspec.structs.replace(item, epoch=3)
    world.committee = type(world.committee)(bytes(32), 0, 0, 3, world.committee.members)
    assert refuse(world, later) == "UNVERIFIABLE"


# --- hostile bytes -------------------------------------------------------------------------------------------


KINDS = [
    "conflicting-pre-prepare",
    "conflicting-prepare",
    "conflicting-commit",
    "invalid-new-view",
    DOUBLE_ATTESTATION,
    "x",
]
WORLD = World()
SEEDS = [encode(message) for _, _, first, second in contradictions(WORLD) for message in (first, second)]
SEEDS.append(encode(new_view(WORLD, [WORLD.change_view(sender, 1) for sender in (0, 1, 3)], [(1, ONE)])))
SEEDS.append(encode(attest(WORLD.committee, WORLD.signers[1], 9, ONE)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_from_anybody_are_refused_or_accepted_and_never_anything_else(data: st.DataObject) -> None:
    def damage(seed: bytes) -> bytes:
        place = data.draw(st.integers(0, len(seed) - 1))
        return seed[:place] + bytes([data.draw(st.integers(0, 255))]) + seed[place + 1 :]

    found = data.draw(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(SEEDS).map(damage)), max_size=3))
    evidence = Evidence(data.draw(st.sampled_from(KINDS)), data.draw(st.integers(0, 5)), tuple(found))
    try:
        item = prove_evidence(evidence, jurisdiction(WORLD), TokenScheme())
    except (RemoteError, ValueError) as error:
        assert isinstance(error, RemoteError)
    else:
        verify_item(item, jurisdiction(WORLD), SignatureMeter(TokenScheme(), MAX_ITEM_SIGNATURES))


def test_items_are_bounded() -> None:
    world = World()
    kind, culprit, first, second = contradictions(world)[1]
    item = prove(world, kind, culprit, first, second)
    for change in ({"messages": ()}, {"messages": item.messages * 2}, {"kind": ""}, {"kind": "x" * 65}):
        with pytest.raises(RemoteError):
            decode_item(encode_item(msgspec.structs.replace(item, **change)))
    with pytest.raises(RemoteError) as caught:
        decode_item(encode_item(item) + bytes(MAX_EVIDENCE_BYTES))
    assert caught.value.code == "TOO_LARGE"
