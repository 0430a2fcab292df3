"""Evidence against a real member, from its key to the beacon's record, over the API that anybody can use."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consensus.certificate import attest
from consensus.committee import Committee
from consensus.engine import EngineParameters, Evidence, load_engine_factory
from consensus.evidence import DOUBLE_ATTESTATION, EvidenceItem, Jurisdiction, prove_evidence
from node.evidence import encode_report
from node.keystore import load_seed, read_passphrase
from primitives.codec import encode
from primitives.signing import Ed25519, Ed25519Signer
from tests.integration.live_network import LiveNetwork, wait_true

pytestmark = pytest.mark.process
CULPRIT = "s1v2"
HEIGHT = 1_000_000


def double_attest(live: LiveNetwork) -> EvidenceItem:
    """What a process with the member's key would have to do twice."""
    network = live.network
    key = live.home(CULPRIT) / "validator.pem"
    signer = Ed25519Signer(load_seed(key, read_passphrase(key, {}, None)))
    committee = Committee(network.chain, 1, 0, 0, network.genesis.committee_of(1))
    pair = [encode(attest(committee, signer, HEIGHT, digest * 32)) for digest in (b"\x01", b"\x02")]
    judge = Jurisdiction(committee, load_engine_factory("pbft"), EngineParameters())
    culprit = committee.index_of(signer.public_key)
    assert culprit is not None
    return prove_evidence(Evidence(DOUBLE_ATTESTATION, culprit, tuple(pair)), judge, Ed25519())


async def test_reported_evidence_is_verified_recorded_once_and_shown(live: LiveNetwork) -> None:
    item = double_attest(live)
    async with live.client("bv0") as beacon, live.client("s0v0") as shard:
        forged = [
            (msgspec.structs.replace(item, culprit=0), "NOT_THE_CULPRIT"),
            (msgspec.structs.replace(item, slot=HEIGHT + 1), "WRONG_POSITION"),
            (msgspec.structs.replace(item, chain=bytes(32)), "WRONG_CHAIN"),
            (msgspec.structs.replace(item, messages=item.messages[::-1]), "MALFORMED"),
        ]
        for lie, code in forged:
            (answer,) = await beacon.submit_transactions([encode_report(lie)])
            assert (answer.accepted, answer.code) == (False, code)
        (answer,) = await beacon.submit_transactions([encode_report(item)])
        assert answer.accepted, answer.code
        assert (await beacon.wait_certified(answer.id)).code == "OK"

        async def find_recorded() -> list[dict[str, Any]]:
            recorded = (await beacon.recorded_evidence())["evidence"]
            return [row for row in recorded if row["culprit"] == CULPRIT]

        (row,) = await wait_true(find_recorded, f"{CULPRIT} on record")
        assert (row["kind"], row["slot"], row["transaction"]) == (DOUBLE_ATTESTATION, HEIGHT, answer.id)
        (again,) = await beacon.submit_transactions([encode_report(item)])
        assert not again.accepted and again.code in ("KNOWN", "DUPLICATE")
        assert (await shard.evidence())["evidence"] == [], "this member has seen nothing itself"
    outcome = await live.testnet("check", "--json")
    assert [row["culprit"] for row in outcome.json["evidence"]] == [CULPRIT]
