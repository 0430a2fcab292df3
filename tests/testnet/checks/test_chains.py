"""Checks of chains pass on good ones and fail on each kind of bad one."""

from typing import Any

import msgspec
import pytest

from crosslink.header import BeaconRef, InboxCursor, ShardHeader, compute_header_hash
from primitives.hashing import ZERO_DIGEST
from primitives.signing import Ed25519
from testnet.checks.chains import CertificateCheck, MonotoneCheck, PrefixCheck, ServedBlock
from testnet.checks.run import drop_forgotten
from tests.testnet.checks.fabricated import COMMITTEES, certify, make_chain, serve


def judge_certificates(blocks: list[ServedBlock]) -> tuple[bool, str]:
    check = CertificateCheck(COMMITTEES, Ed25519())
    for block in blocks:
        check.on_block(block)
    verdict = check.conclude()
    return verdict.ok, verdict.detail


def test_members_that_serve_the_same_chain_agree() -> None:
    check = PrefixCheck()
    for block in (*serve(make_chain(5), "s0v0"), *serve(make_chain(3), "s0v1")):
        check.on_block(block)
    assert check.conclude().ok


def test_two_blocks_at_one_height_break_the_prefix() -> None:
    check = PrefixCheck()
    for block in (*serve(make_chain(5), "s0v0"), *serve(make_chain(5, timestamp_ms=9), "s0v1")):
        check.on_block(block)
    verdict = check.conclude()
    assert not verdict.ok
    assert "shard0 height 1: s0v1 has" in verdict.detail


def test_nothing_shown_is_no_agreement() -> None:
    assert not PrefixCheck().conclude().ok
    assert not CertificateCheck(COMMITTEES, Ed25519()).conclude().ok
    assert not MonotoneCheck().conclude().ok


def test_good_certificates_pass_whoever_signed() -> None:
    headers = make_chain(3)
    proofs = [certify(headers[0], (0, 1, 2)), certify(headers[1], (1, 2, 3)), certify(headers[2], (0, 2, 3))]
    assert judge_certificates(serve(headers, certificates=proofs))[0]


def test_a_certificate_covers_the_ancestors_of_its_block() -> None:
    headers = make_chain(3)
    assert judge_certificates(serve(headers, certificates=[certify(headers[2])] * 3))[0]


def test_a_certificate_of_a_block_that_is_never_shown_covers_nothing() -> None:
    headers = make_chain(3)
    ok, detail = judge_certificates(serve(headers[:2], certificates=[certify(headers[2])] * 2))
    assert not ok
    assert "height 3 is said to cover earlier blocks" in detail


def test_a_certificate_of_another_branch_covers_nothing() -> None:
    headers, branch = make_chain(3), make_chain(3, timestamp_ms=5)
    ok, detail = judge_certificates(serve(headers, certificates=[certify(branch[2])] * 2 + [certify(headers[2])]))
    assert not ok
    assert "is for another block at this height" in detail


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"signers": (0, 1), "signatures": (b"", b"")}, "exactly 3 signers"),
        ({"signers": (0, 1, 1)}, "strictly increasing"),
        ({"signers": (0, 1, 3)}, "bad signature"),
        ({"header_hash": ZERO_DIGEST}, "for another block"),
        ({"epoch": 1}, "another incarnation or epoch"),
    ],
)
def test_a_bad_certificate_is_found(changes: dict[str, Any], complaint: str) -> None:
    headers = make_chain(1)
    bad = msgspec.structs.replace(certify(headers[0]), **changes)
    ok, detail = judge_certificates(serve(headers, certificates=[bad]))
    assert not ok
    assert complaint in detail


def test_a_block_that_does_not_chain_onto_the_one_before_is_found() -> None:
    headers = make_chain(3)
    ok, detail = judge_certificates(serve([headers[0], headers[2]]))
    assert not ok
    assert "does not chain onto height 1" in detail


def test_a_header_of_another_chain_is_found() -> None:
    assert "another chain or shard" in judge_certificates(serve(make_chain(1, chain=ZERO_DIGEST)))[1]


def judge_monotone(headers: list[ShardHeader]) -> tuple[bool, str]:
    check = MonotoneCheck()
    for block in serve(headers, certificates=[certify(headers[0])] * len(headers)):
        check.on_block(block)
    verdict = check.conclude()
    return verdict.ok, verdict.detail


@pytest.mark.parametrize(
    ("name", "high", "low"),
    [
        ("timestamp_ms", 2_000, 1_999),
        ("beacon_ref", BeaconRef(7, ZERO_DIGEST), BeaconRef(6, ZERO_DIGEST)),
        ("inbox_cursor", InboxCursor(7, 1, 4), InboxCursor(7, 1, 3)),
        ("incarnation", 1, 0),
        ("epoch", 1, 0),
    ],
)
def test_whatever_runs_backwards_along_a_chain_is_found(name: str, high: Any, low: Any) -> None:
    first, second = make_chain(2)
    up = [msgspec.structs.replace(first, **{name: low}), msgspec.structs.replace(second, **{name: high})]
    down = [msgspec.structs.replace(first, **{name: high}), msgspec.structs.replace(second, **{name: low})]
    if name != "timestamp_ms":
        assert judge_monotone(up)[0]
    ok, detail = judge_monotone(down)
    assert not ok
    assert f"{name} falls" in detail


def judge_samples(heights: list[int], length: int) -> bool:
    check = MonotoneCheck()
    for block in serve(make_chain(length)):
        check.on_block(block)
    check.on_samples({"member": "s0v0", "certified_height": height} for height in heights)
    return check.conclude().ok


def test_a_member_must_still_have_what_it_once_showed() -> None:
    assert judge_samples([1, 2, 2, 5], length=5)
    assert not judge_samples([1, 5, 4], length=5), "fell back after a restart"
    assert not judge_samples([1, 2, 6], length=5), "showed more before than now"


def test_what_an_earlier_check_saw_must_still_be_there() -> None:
    headers = make_chain(1)
    block_hash = compute_header_hash(headers[0])
    for now, holds in ((block_hash, True), (ZERO_DIGEST, False), (None, False)):
        check = MonotoneCheck()
        check.on_block(serve(headers)[0])
        check.on_memory(0, 1, block_hash, now)
        assert check.conclude().ok is holds


def test_what_a_member_showed_before_its_databases_were_emptied_is_not_held_against_it() -> None:
    samples = [
        {"time_ms": 1, "member": "s0v0", "certified_height": 9},
        {"time_ms": 1, "member": "s0v1", "certified_height": 9},
        {"time_ms": 5, "member": "s0v1", "certified_height": 2},
    ]
    events = [
        {"time_ms": 3, "kind": "renew", "members": ["s0v1"]},
        {"time_ms": 4, "kind": "kill", "members": ["s0v0"]},
    ]
    assert drop_forgotten(samples, events) == [samples[0], samples[2]]
