"""Evidence at the beacon: verified by execution, recorded once, under the state root, and cheap to refuse."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consensus.certificate import attest
from consensus.engine import EngineParameters, Evidence, load_engine_factory
from consensus.evidence import DOUBLE_ATTESTATION, EvidenceItem, Jurisdiction, prove_evidence
from consensus.pbft.messages import sign_prepare
from crosslink import offences
from crosslink.beacon import BeaconApplication
from crosslink.follower import BeaconFollower, FollowResult
from crosslink.offences import MAX_ITEMS_PER_BLOCK, MAX_RECORDED_PER_MEMBER, ReportEvidence
from crosslink.records import Offence, decode_record
from primitives.codec import encode
from primitives.errors import LocalError, RemoteError
from primitives.hashing import hash_tagged
from primitives.identifiers import BEACON_SHARD
from tests.crosslink.toy_network import CHAIN, PARAMETERS, ToyBeacon, ToyScheme, ToySigner, make_committee

ONE, OTHER = b"\x01" * 32, b"\x02" * 32


class CountingScheme(ToyScheme):
    def __init__(self) -> None:
        self.checks = 0

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        self.checks += 1
        return super().verify(public_key, message, signature)


def judge(shard: int, **changes: Any) -> Jurisdiction:
    return Jurisdiction(make_committee(shard, **changes), load_engine_factory("pbft"), EngineParameters())


def open_beacon(scheme: ToyScheme | None = None) -> ToyBeacon:
    beacon = ToyBeacon(range(2))
    judges = {shard: judge(shard) for shard in (0, 1, BEACON_SHARD)}
    committees = {shard: make_committee(shard) for shard in range(2)}
    beacon.application = BeaconApplication(CHAIN, committees, PARAMETERS, scheme or CountingScheme(), judges)
    return beacon


def double_prepare(shard: int = 0, culprit: int = 2, slot: int = 5, **changes: Any) -> EvidenceItem:
    committee = make_committee(shard, **changes)
    signer = ToySigner(committee.members[culprit])
    votes = [encode(sign_prepare(committee, signer, culprit, 3, slot, digest)) for digest in (ONE, OTHER)]
    found = Evidence("conflicting-prepare", culprit, tuple(votes))
    return prove_evidence(found, judge(shard, **changes), ToyScheme())


def report(item: EvidenceItem) -> bytes:
    return encode(ReportEvidence(item))


def test_an_offence_is_recorded_with_its_culprit_and_leaves_the_beacon() -> None:
    beacon = open_beacon()
    item = double_prepare()
    made = beacon.make_block([report(item)])
    assert made.codes == ("OK",)
    (leaf,) = made.result.outbox
    offence = decode_record(leaf)
    assert isinstance(offence, Offence)
    assert (offence.shard, offence.culprit, offence.kind) == (0, 2, "conflicting-prepare")
    assert (offence.slot, offence.view, offence.key) == (5, 3, make_committee(0).members[2])
    (record,) = beacon.application.offences.list_records()
    assert (record.offence, record.recorded_at) == (offence, 1)
    assert any(key.startswith(b"offence/") for key in made.result.changes), "it is under the state root"


def test_evidence_against_the_beacons_own_members_is_taken() -> None:
    beacon = open_beacon()
    committee = make_committee(BEACON_SHARD)
    pair = [encode(attest(committee, ToySigner(committee.members[1]), 4, digest)) for digest in (ONE, OTHER)]
    item = prove_evidence(Evidence(DOUBLE_ATTESTATION, 1, tuple(pair)), judge(BEACON_SHARD), ToyScheme())
    assert beacon.make_block([report(item)]).codes == ("OK",)


def test_an_offence_is_recorded_once_however_often_and_by_whomever_it_is_reported() -> None:
    scheme = CountingScheme()
    beacon = open_beacon(scheme)
    data = report(double_prepare())
    assert beacon.make_block([data, data]).codes == ("OK", "KNOWN")
    scheme.checks = 0
    assert beacon.make_block([data]).codes == ("KNOWN",)
    assert beacon.screen([data]) == ([], ["KNOWN"])
    assert scheme.checks == 0, "what is known costs no signature check"
    assert len(beacon.application.offences.list_records()) == 1


def test_a_member_fills_no_more_than_its_share_of_the_state() -> None:
    scheme = CountingScheme()
    beacon = open_beacon(scheme)
    items = [double_prepare(slot=slot) for slot in range(1, MAX_RECORDED_PER_MEMBER + 3)]
    codes = beacon.make_block([report(item) for item in items]).codes
    assert codes == ("OK",) * MAX_RECORDED_PER_MEMBER + ("ENOUGH",) * 2
    scheme.checks = 0
    assert beacon.screen([report(items[-1])]) == ([], ["ENOUGH"])
    assert scheme.checks == 0
    assert beacon.make_block([report(double_prepare(culprit=1))]).codes == ("OK",), "others have their own"


def test_a_block_spends_only_so_much_on_evidence_and_the_rest_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offences, "BLOCK_SIGNATURES", 3)
    beacon = open_beacon()
    first, second = double_prepare(culprit=1), double_prepare(culprit=2)
    assert beacon.make_block([report(first), report(second)]).codes == ("OK", "BLOCK_FULL")
    assert beacon.make_block([report(second)]).codes == ("OK",)


def test_a_block_judges_only_so_many_items() -> None:
    beacon = open_beacon()
    forged = [
        msgspec.structs.replace(double_prepare(slot=slot), culprit=1) for slot in range(1, MAX_ITEMS_PER_BLOCK + 1)
    ]
    codes = beacon.make_block([report(item) for item in [*forged, double_prepare()]]).codes
    assert codes == ("NOT_THE_CULPRIT",) * MAX_ITEMS_PER_BLOCK + ("BLOCK_FULL",)


def test_forged_evidence_is_refused_at_admission_and_harmless_in_a_block() -> None:
    beacon = open_beacon()
    good = double_prepare()
    forged = {
        "NOT_THE_CULPRIT": msgspec.structs.replace(good, culprit=1),
        "WRONG_POSITION": msgspec.structs.replace(good, slot=6),
        "NO_OFFENCE": msgspec.structs.replace(good, kind=DOUBLE_ATTESTATION),
        "UNKNOWN_EVIDENCE": msgspec.structs.replace(good, kind="bad-manners"),
        "BAD_SIGNATURE": msgspec.structs.replace(
            good, messages=tuple(sorted(message[:-1] + b"\x00" for message in good.messages))
        ),
    }
    forged["NO_OFFENCE"] = msgspec.structs.replace(
        good, messages=tuple(sorted((good.messages[0], good.messages[0][:-1] + b"\x00")))
    )
    for code, item in forged.items():
        assert beacon.screen([report(item)]) == ([], [code])
        assert beacon.make_block([report(item)]).codes == (code,)
    assert beacon.application.offences.list_records() == ()
    assert beacon.make_block([report(good)]).codes == ("OK",), "a forgery takes nobody's place"


def test_replayed_huge_and_senseless_evidence_is_refused_when_it_is_decoded() -> None:
    scheme = CountingScheme()
    beacon = open_beacon(scheme)
    good = double_prepare()
    wrong = [
        (double_prepare(chain=hash_tagged(b"another chain")), "WRONG_CHAIN"),
        (double_prepare(epoch=1), "WRONG_EPOCH"),
        (double_prepare(incarnation=1), "WRONG_EPOCH"),
        (msgspec.structs.replace(good, shard=7), "UNKNOWN_SHARD"),
        (msgspec.structs.replace(good, culprit=4), "NOT_A_MEMBER"),
        (msgspec.structs.replace(good, messages=good.messages[::-1]), "MALFORMED"),
        (msgspec.structs.replace(good, messages=good.messages[:1] * 2), "MALFORMED"),
        (msgspec.structs.replace(good, messages=(bytes(200 << 10), b"\x01" * (200 << 10))), "TOO_LARGE"),
    ]
    for item, code in wrong:
        with pytest.raises(RemoteError) as caught:
            beacon.application.decode(report(item))
        assert caught.value.code == code
    assert scheme.checks == 0


def test_a_restored_beacon_knows_what_is_recorded() -> None:
    beacon = open_beacon()
    beacon.make_block([report(double_prepare()), report(double_prepare(shard=1))])
    twin = open_beacon().application
    assert twin.load(beacon.records.items()) == beacon.blocks[-1].header.state_root
    assert twin.offences.list_records() == beacon.application.offences.list_records()
    assert twin.is_settled(double_prepare())
    assert not twin.is_settled(double_prepare(slot=9))
    for key, value in beacon.records.items():
        if key.startswith(offences.RECORD_PREFIX):
            with pytest.raises(LocalError):
                twin.load([(key, value[:-1])])


def test_followers_hear_of_offences_and_again_after_a_restart() -> None:
    beacon = open_beacon()
    beacon.make_block([report(double_prepare())])
    follower = BeaconFollower(1, make_committee(BEACON_SHARD), PARAMETERS, ToyScheme())
    assert follower.accept(beacon.bundle(1, 1)) is FollowResult.ADVANCED
    (offence,) = follower.take_offences()
    assert offence.culprit == 2
    assert follower.take_offences() == ()
    again = BeaconFollower(1, make_committee(BEACON_SHARD), PARAMETERS, ToyScheme())
    again.load([(key, value) for key, value in follower.take_changes().items() if value is not None])
    assert again.take_offences() == (offence,)
