"""What the beacon registers, what it refuses, and what freezes a shard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from crosslink.beacon import BeaconApplication
from crosslink.block import Readiness
from crosslink.conservation import Flow, PeerPosition, check_summary, compute_mint_limit
from crosslink.forks import CertifiedPath, ReportFork
from crosslink.header import BeaconRef, InboxCursor, ShardHeader, compute_header_hash
from crosslink.messages import (
    Purpose,
    RejectReason,
    TransferLock,
    TransferVerdict,
    Verdict,
    compute_xid,
    encode_message,
)
from crosslink.records import Freeze, Registration, decode_record
from crosslink.submission import ChannelTally, SubmitHeaders, SubmittedHeader, count_submittable, encode_submission
from crosslink.summary import AssetSummary, PeerAmounts, PeerSummary, ShardSummary, compute_summary_root
from primitives.codec import decode, encode
from primitives.errors import LocalError, RemoteError
from primitives.hashing import ZERO_DIGEST, hash_tagged
from primitives.merkle import compute_root
from tests.crosslink.toy_network import (
    CHAIN,
    PARAMETERS,
    USD,
    ToyBeacon,
    ToyNetwork,
    ToyScheme,
    ToyShard,
    address,
    certify,
    make_committee,
    request,
)


def forge(
    shard: ToyShard,
    height: int,
    *,
    leaves: tuple[bytes, ...] | None = None,
    summary: ShardSummary | None = None,
    **changes: Any,
) -> ToyShard:
    """Replace block ``height`` (and drop what follows) by one that more than f members sign against the rules."""
    block = shard.blocks[height - 1]
    leaves = block.leaves if leaves is None else leaves
    summary = block.summary if summary is None else summary
    changes = {
        "outbox_root": compute_root(leaves),
        "summary_root": compute_summary_root(summary),
        **changes,
    }
    header: ShardHeader = msgspec.structs.replace(block.header, **changes)
    block.header, block.leaves, block.summary = header, leaves, summary
    del shard.blocks[height:]
    return shard


def open_network(size: int = 2) -> ToyNetwork:
    """A network with one registered header per shard, and one transfer 0 → 1 in it."""
    network = ToyNetwork(size)
    assert set(network.step({0: [request(1)]}).codes) == {"OK"}
    return network


def refuse(beacon: ToyBeacon, data: bytes) -> str:
    """The code by which the bytes or the signatures are refused."""
    with pytest.raises(RemoteError) as caught:
        beacon.application.verify(beacon.application.decode(data))
    return caught.value.code


# --- registration ------------------------------------------------------------------------------------------


def test_a_submission_registers_its_tip_and_commits_to_what_it_delivers() -> None:
    network = ToyNetwork(3)
    block = network.shards[0].make_block([request(1), request(2), request(1, owner=2)])
    data = network.submit(0)
    assert data is not None
    made = network.beacon.make_block([data])
    record = decode_record(made.result.outbox[0])
    assert isinstance(record, Registration)
    assert (record.shard, record.first_height, record.height) == (0, 1, 1)
    assert record.tip_hash == compute_header_hash(block.header)
    assert [(delivery.destination, delivery.count) for delivery in record.deliveries] == [(1, 2), (2, 1)]
    assert network.beacon.application.registry.tip(0).registered_at == 1


def test_stale_and_duplicate_submissions_are_dropped_at_admission_and_skipped_by_execution() -> None:
    network = ToyNetwork(2)
    network.shards[0].make_block([request(1)])
    one = network.shards[0].build_submission(1, signers=(0, 1, 2))
    other = network.shards[0].build_submission(1, signers=(1, 2, 3))
    decoder = network.beacon.application
    assert decoder.decode(one).id == decoder.decode(other).id, "signer subsets are not part of the identity"
    assert network.beacon.make_block([one, other]).codes == ("OK", "STALE")
    assert network.beacon.screen([one, other]) == ([], ["STALE", "STALE"])


def test_a_submission_ahead_of_its_turn_is_kept_for_later_and_registers_after_the_missing_one() -> None:
    network = ToyNetwork(2)
    shard = network.shards[0]
    shard.make_block()
    shard.make_block()
    first, second = shard.build_submission(1, 1), shard.build_submission(2, 2)
    assert network.beacon.screen([second]) == ([second], [])
    assert network.beacon.make_block([second]).codes == ("GAP",)
    assert network.beacon.make_block([first, second]).codes == ("OK", "OK")


def test_an_overlapping_submission_is_refused_without_harm() -> None:
    network = ToyNetwork(2)
    shard = network.shards[0]
    for _ in range(3):
        shard.make_block()
    codes = network.beacon.make_block([shard.build_submission(1, 2), shard.build_submission(1, 3)]).codes
    assert codes == ("OK", "OVERLAP")
    assert network.beacon.make_block([shard.build_submission(3)]).codes == ("OK",)


def test_a_block_registers_at_most_its_messages_and_the_rest_later() -> None:
    network = ToyNetwork(3)
    limit = PARAMETERS.messages_per_beacon_block
    for shard in network.shards:
        for owner in range(10, 10 + limit):
            shard.ledger.cash[address(owner), 0, USD] = 1_000
            shard.ledger.minted[USD] += 1_000
        others = [s for s in range(3) if s != shard.shard]
        wanted = [request(others[n % 2], owner=10 + n, purpose=Purpose.TOP_UP) for n in range(limit)]
        assert shard.make_block(wanted).codes.count("OK") == 2 * PARAMETERS.channel_window
    submissions = [shard.build_submission(1) for shard in network.shards]
    assert network.beacon.make_block(submissions).codes == ("OK", "OK", "BLOCK_FULL")
    assert network.beacon.make_block(submissions[2:]).codes == ("OK",)


def test_a_wrong_body_that_races_the_right_one_does_not_displace_it() -> None:
    network = ToyNetwork(2)
    block = network.shards[0].make_block([request(1)])
    right = network.shards[0].build_submission(1)
    certificate = certify(block.header, network.shards[0].committee)
    other_lock = TransferLock(CHAIN, 0, 1, 0, address(9), 0, address(9), 0, USD, 5_000, 30, Purpose.TRANSFER)
    for leaves in ((), (encode_message(other_lock),), block.leaves * 2):
        wrong = encode_submission([SubmittedHeader(block.header, leaves)], block.summary, certificate)
        assert refuse(network.beacon, wrong) == "BAD_BODY"
    assert network.beacon.make_block([right]).codes == ("OK",)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"chain": bytes(32)}, "WRONG_CHAIN"),
        ({"shard": 5}, "UNKNOWN_SHARD"),
        ({"incarnation": 1}, "WRONG_EPOCH"),
        ({"epoch": 3}, "WRONG_EPOCH"),
        ({"state_root": b"short"}, "MALFORMED"),
        ({"height": 0}, "MALFORMED"),
        ({"timestamp_ms": -1}, "MALFORMED"),
        ({"inbox_cursor": InboxCursor(7, 0, 0)}, "MALFORMED"),
    ],
)
def test_an_impossible_header_is_refused_by_its_bytes(change: dict[str, Any], code: str) -> None:
    network = ToyNetwork(2)
    block = network.shards[0].make_block()
    certificate = certify(block.header, network.shards[0].committee)
    header = msgspec.structs.replace(block.header, **change)
    data = encode(SubmitHeaders((SubmittedHeader(header, block.leaves),), block.summary, certificate))
    assert refuse(network.beacon, data) == code


def test_headers_with_a_gap_are_refused_by_their_bytes() -> None:
    network = ToyNetwork(2)
    shard = network.shards[0]
    blocks = [shard.make_block() for _ in range(3)]
    certificate = certify(blocks[2].header, shard.committee)
    data = encode_submission([blocks[0].submitted, blocks[2].submitted], blocks[2].summary, certificate)
    assert refuse(network.beacon, data) == "MALFORMED"


@pytest.mark.parametrize(
    "committee",
    [
        make_committee(0, epoch=1),
        make_committee(0, incarnation=1),
        make_committee(1),
        make_committee(0, chain=bytes(32)),
    ],
    ids=["epoch", "incarnation", "shard", "chain"],
)
def test_another_committees_certificate_is_refused(committee: Any) -> None:
    network = ToyNetwork(2)
    block = network.shards[0].make_block()
    certificate = certify(block.header, committee)
    data = encode_submission([block.submitted], block.summary, certificate)
    assert refuse(network.beacon, data) in {"WRONG_EPOCH", "BAD_SIGNATURE"}


@pytest.mark.parametrize("signers", [(0, 1), (0, 1, 2, 3), (0, 0, 1), (2, 1, 0)])
def test_a_certificate_has_exactly_a_quorum_of_distinct_signers(signers: tuple[int, ...]) -> None:
    network = ToyNetwork(2)
    network.shards[0].make_block()
    assert refuse(network.beacon, network.shards[0].build_submission(1, signers=signers)) == "BAD_QUORUM"


def test_a_summary_that_the_header_does_not_commit_to_is_refused() -> None:
    network = ToyNetwork(2)
    block = network.shards[0].make_block()
    certificate = certify(block.header, network.shards[0].committee)
    data = encode_submission([block.submitted], ShardSummary((), ()), certificate)
    assert refuse(network.beacon, data) == "BAD_BODY"


def test_leaves_are_bound_to_chain_source_destination_and_sequence() -> None:
    def lock(**changes: Any) -> bytes:
        good = TransferLock(CHAIN, 0, 1, 0, address(1), 0, address(2), 0, USD, 100, 30, Purpose.TRANSFER)
        return encode_message(msgspec.structs.replace(good, **changes))

    for leaves in (
        (lock(chain=bytes(32)),),
        (lock(source=2),),
        (lock(destination=9),),
        (lock(destination=0),),
        (lock(), lock()),
        (lock(), lock(sequence=2)),
        (b"\xc0",),
        (lock(), b"x" * 600),
    ):
        network = ToyNetwork(3)
        network.shards[0].make_block()
        forge(network.shards[0], 1, leaves=leaves)
        assert refuse(network.beacon, network.shards[0].build_submission(1)) in {
            "BAD_BODY",
            "MALFORMED",
            "TOO_LARGE",
        }


# --- what only more than f faulty members sign --------------------------------------------------------------


def test_references_off_the_beacons_chain_from_the_future_or_falling_are_refused_with_an_alarm() -> None:
    for reference in (BeaconRef(1, hash_tagged(b"another chain")), BeaconRef(40, hash_tagged(b"future"))):
        network = open_network()
        network.shards[0].make_block()
        forge(network.shards[0], 2, beacon_ref=reference)
        data = network.submit(0)
        assert data is not None
        assert network.beacon.make_block([data]).codes == ("BAD_REFERENCE",)
        refusal = network.beacon.application.registry.refusal(0)
        assert refusal is not None and refusal.code == "BAD_REFERENCE"
    network = open_network()
    network.step()
    network.shards[0].make_block()
    forge(network.shards[0], 3, beacon_ref=BeaconRef(0, ZERO_DIGEST), inbox_cursor=InboxCursor(0, 0, 0))
    data = network.submit(0)
    assert data is not None and network.beacon.make_block([data]).codes == ("BAD_REFERENCE",)


def make_verdict(sequence: int = 0, amount: int = 100, verdict: Verdict = Verdict.ACCEPTED) -> bytes:
    reason = RejectReason.BLOCKED if verdict is Verdict.REJECTED else RejectReason.NONE
    xid = compute_xid(CHAIN, 0, 1, sequence)
    return encode_message(TransferVerdict(CHAIN, 1, 0, sequence, xid, verdict, reason, USD, amount))


@pytest.mark.parametrize(
    ("leaves", "code"),
    [
        ((make_verdict(sequence=1),), "SEQUENCE_GAP"),
        ((make_verdict(), make_verdict(1)), "UNSOLICITED_VERDICT"),
        ((make_verdict(amount=101),), "UNSOLICITED_VERDICT"),
        ((make_verdict(amount=50), make_verdict(1, amount=50)), "UNSOLICITED_VERDICT"),
    ],
)
def test_verdicts_without_a_registered_lock_are_refused(leaves: tuple[bytes, ...], code: str) -> None:
    network = open_network()
    network.shards[1].make_block()
    forge(network.shards[1], 2, leaves=leaves)
    data = network.submit(1)
    assert data is not None and network.beacon.make_block([data]).codes == (code,)


def make_lock(sequence: int) -> bytes:
    lock = TransferLock(CHAIN, 0, 1, sequence, address(1), 0, address(2), 0, USD, 100, 30, Purpose.TRANSFER)
    return encode_message(lock)


def test_locks_leave_no_gap_and_never_exceed_the_window() -> None:
    window = PARAMETERS.channel_window
    for first, count, code in ((2, 1, "SEQUENCE_GAP"), (0, 1, "SEQUENCE_GAP"), (1, window, "WINDOW_EXCEEDED")):
        network = open_network()
        network.shards[0].make_block()
        forge(network.shards[0], 2, leaves=tuple(make_lock(first + n) for n in range(count)))
        data = network.submit(0)
        assert data is not None and network.beacon.make_block([data]).codes == (code,)


def test_neither_reference_nor_cursor_nor_time_leaps_or_falls_between_submissions_or_inside_one() -> None:
    narrow = replace(PARAMETERS, beacon_ref_step_blocks=3)
    for change in (
        {"beacon_ref": 9},
        {"inbox_cursor": InboxCursor(0, 0, 0)},
        {"timestamp_ms": 1_050},
    ):
        for inside in (False, True):
            network = ToyNetwork(2, narrow)
            for _ in range(9):
                network.beacon.make_block()
            network.push(0)
            network.shards[0].make_block()
            if not inside:
                network.beacon.make_block([network.shards[0].build_submission(1)])
            network.shards[0].make_block()
            if "beacon_ref" in change:
                known = network.shards[0].follower.hash_at(9)
                assert known is not None
                change = {"beacon_ref": BeaconRef(9, known)}
            forge(network.shards[0], 2, **change)
            data = network.submit(0)
            assert data is not None
            if inside:
                assert refuse(network.beacon, data) == "MALFORMED"
            else:
                assert network.beacon.make_block([data]).codes == ("BAD_REFERENCE",)


def change_summary(shard: ToyShard, *, asset: dict[str, int], amounts: dict[str, int]) -> None:
    """Let the newest block claim other figures for USD, and towards the only peer."""
    block = shard.blocks[-1]
    assets = [msgspec.structs.replace(block.summary.assets[0], **asset), *block.summary.assets[1:]]
    peer = block.summary.peers[0]
    listed = peer.amounts
    if amounts:
        known = peer.amounts or (PeerAmounts(USD, 0, 0, 0, 0),)
        listed = (msgspec.structs.replace(known[0], **amounts), *known[1:])
    peers = (msgspec.structs.replace(peer, amounts=listed), *block.summary.peers[1:])
    forge(shard, len(shard.blocks), summary=ShardSummary(tuple(assets), peers))


@pytest.mark.parametrize(
    ("shard", "asset", "amounts"),
    [
        (0, {"cash": 3_000_000}, {}),  # money from nowhere
        (0, {"cash": 3_000_000}, {"refunded": 100}),  # a refund without a verdict
        (0, {}, {"burned": 100}),  # an escrow burned without a verdict
        (0, {"cash": 3_000_000}, {"sent": 0}),  # a lock that was never taken from anybody
        (1, {"cash": 3_000_100}, {"released": 100}),  # released before its acceptance was registered
        (1, {"cash": 3_000_101}, {"released": 101}),  # more than the peers sent
        (1, {"minted": 2_000_000, "cash": 2_000_000}, {}),  # minting undone
    ],
)
def test_a_shard_that_makes_or_loses_money_is_not_registered(
    shard: int, asset: dict[str, int], amounts: dict[str, int]
) -> None:
    network = open_network()
    network.shards[1].make_block()  # accepts the transfer, so that it has sums towards shard 0
    network.shards[0].make_block()
    change_summary(network.shards[shard], asset=asset, amounts=amounts)
    data = network.submit(shard)
    assert data is not None
    made = network.beacon.make_block([data])
    assert made.codes == ("CONSERVATION",) and made.result.outbox == ()
    assert network.registered(shard) == 1
    assert network.beacon.summarise().conserved


def test_counters_that_disagree_with_the_registered_sequences_are_refused() -> None:
    for change in ({"next_send": 2}, {"next_recv": 1}, {"next_ack": 1, "open_count": 0}, {"open_count": 0}):
        network = open_network()
        block = network.shards[0].make_block()
        peer = msgspec.structs.replace(block.summary.peers[0], **change)
        forge(network.shards[0], 2, summary=ShardSummary(block.summary.assets, (peer,)))
        data = network.submit(0)
        assert data is not None and network.beacon.make_block([data]).codes == ("COUNTERS",)


def test_figures_that_could_overflow_the_sum_over_shards_are_refused() -> None:
    network = ToyNetwork(2)
    network.shards[0].make_block()
    change_summary(network.shards[0], asset={"cash": 2**62, "minted": 2**62}, amounts={})
    data = network.submit(0)
    assert data is not None and network.beacon.make_block([data]).codes == ("OVERFLOW",)


def test_one_shard_may_hold_what_all_have_minted_and_none_less_than_it_could_burn() -> None:
    limit = compute_mint_limit(4)
    richest = AssetSummary(USD, 4 * limit, 0, 0, 0, 0, 0, 0, limit, 0)
    received = PeerSummary(1, 0, 3, 0, 0, (PeerAmounts(USD, 0, 0, 0, 3 * limit),))
    incoming = Flow(3, 3, {USD: (3 * limit, 3 * limit, 0)})
    positions = {peer: PeerPosition(Flow(), Flow(), ChannelTally()) for peer in (2, 3)}
    positions[1] = PeerPosition(Flow(), incoming, ChannelTally())
    summary = ShardSummary((richest,), (received,))
    assert check_summary(summary, ShardSummary((), ()), positions, 16) is None
    for asset in (
        msgspec.structs.replace(richest, cash=-limit - 1),
        msgspec.structs.replace(richest, minted=limit + 1),
        msgspec.structs.replace(richest, burned=limit + 1),
    ):
        assert check_summary(ShardSummary((asset,), ()), ShardSummary((), ()), positions, 16) == "OVERFLOW"


# --- forks --------------------------------------------------------------------------------------------------


def fork_at(network: ToyNetwork, height: int) -> ToyShard:
    """A second chain of shard 0 that differs from ``height`` on, certified by members 1, 2, 3."""
    twin = ToyShard(0, range(network.size))
    for number in range(1, 4):
        twin.make_block([request(1)] if number == 1 else (), beacon_height=0)
        if number == height:
            forge(twin, number, payload_digest=hash_tagged(b"other payload"))
    return twin


@pytest.mark.parametrize("height", [1, 2, 3])
def test_a_submission_that_contradicts_a_registered_header_freezes_the_shard(height: int) -> None:
    network = ToyNetwork(2)
    for number in range(3):
        network.shards[0].make_block([request(1)] if number == 0 else (), beacon_height=0)
    network.beacon.make_block([network.shards[0].build_submission(1)])
    twin = fork_at(network, height)
    data = twin.build_submission(height, signers=(1, 2, 3))
    assert network.beacon.screen([data]) == ([data], []), "evidence is not dropped as stale"
    made = network.beacon.make_block([data])
    assert made.codes == ("FORK",)
    record = decode_record(made.result.outbox[0])
    assert isinstance(record, Freeze)
    assert (record.shard, record.height) == (0, height)
    assert record.guilty == tuple(network.shards[0].committee.members[i] for i in (1, 2))
    network.shards[0].make_block()
    later = network.shards[0].build_submission(4)
    assert network.beacon.screen([later]) == ([], ["FROZEN"])
    assert network.beacon.make_block([later]).codes == ("FROZEN",)
    network.push(1)
    back = network.shards[1].make_block([request(0, deadline=20)])
    assert back.codes == ("DESTINATION_FROZEN",)


def test_the_next_submission_off_a_fork_freezes_too() -> None:
    network = ToyNetwork(2)
    network.shards[0].make_block([request(1)], beacon_height=0)
    network.beacon.make_block([network.shards[0].build_submission(1)])
    twin = fork_at(network, 1)
    assert network.beacon.make_block([twin.build_submission(2, signers=(1, 2, 3))]).codes == ("FORK",)


def make_report(first: ToyShard, second: ToyShard, height: int, signers: tuple[int, ...] = (1, 2, 3)) -> bytes:
    def path(shard: ToyShard, who: tuple[int, ...]) -> CertifiedPath:
        headers = tuple(block.header for block in shard.blocks[height - 1 :])
        return CertifiedPath(headers, certify(headers[-1], shard.committee, who))

    return encode(ReportFork(path(first, (0, 1, 2)), path(second, signers)))


def test_a_fork_report_freezes_by_itself_also_at_an_intermediate_height() -> None:
    network = ToyNetwork(2)
    for number in range(3):
        network.shards[0].make_block([request(1)] if number == 0 else (), beacon_height=0)
    report = make_report(network.shards[0], fork_at(network, 2), 2)
    assert network.beacon.make_block([report, report]).codes == ("OK", "FROZEN")
    assert network.beacon.application.registry.tip(0).frozen
    assert network.beacon.screen([report]) == ([], ["FROZEN"])


def test_two_signer_subsets_of_one_header_are_no_fork() -> None:
    network = ToyNetwork(2)
    network.shards[0].make_block()
    report = make_report(network.shards[0], network.shards[0], 1, signers=(0, 2, 3))
    assert refuse(network.beacon, report) == "NO_FORK"


def test_a_fork_report_needs_both_certificates() -> None:
    network = ToyNetwork(2)
    for number in range(3):
        network.shards[0].make_block([request(1)] if number == 0 else (), beacon_height=0)
    report: ReportFork = decode(
        ReportFork, make_report(network.shards[0], fork_at(network, 3), 3), max_bytes=1 << 20
    )
    bad = msgspec.structs.replace(report.second.certificate, signatures=(bytes(64),) * 3)
    forged = ReportFork(report.first, CertifiedPath(report.second.headers, bad))
    assert refuse(network.beacon, encode(forged)) == "BAD_SIGNATURE"


# --- around it ----------------------------------------------------------------------------------------------


def test_the_beacon_wants_heartbeats_only_while_something_is_open() -> None:
    network = ToyNetwork(2)
    ready = network.beacon.application.readiness
    assert ready(10_000, 0) is Readiness.IDLE
    network.step({0: [request(1)]})
    assert ready(999, 0) is Readiness.IDLE
    assert ready(1_000, 0) is Readiness.PENDING
    assert ready(4_000, 0) is Readiness.OVERDUE
    for _ in range(3):
        network.step()
    assert ready(10_000, 0) is Readiness.IDLE


def test_a_restored_beacon_continues_with_the_same_roots() -> None:
    network = open_network(3)
    network.step({1: [request(2)]})
    beacon = network.beacon
    committees = {shard: make_committee(shard) for shard in range(3)}
    twin = BeaconApplication(CHAIN, committees, PARAMETERS, ToyScheme())
    root = twin.load(reversed(list(beacon.records.items())))
    assert root == beacon.blocks[-1].header.state_root
    assert twin.summarise() == beacon.summarise()
    network.step({2: [request(0)]})
    assert twin.load(beacon.records.items()) == beacon.blocks[-1].header.state_root


def test_damaged_records_are_refused() -> None:
    network = open_network()
    fresh = BeaconApplication(CHAIN, {0: make_committee(0), 1: make_committee(1)}, PARAMETERS, ToyScheme())
    for key, value in network.beacon.records.items():
        with pytest.raises(LocalError):
            fresh.load([(key, value[:-1])])
    with pytest.raises(LocalError):
        fresh.load([(b"unknown/1", b"")])


def test_submittable_headers_are_counted_within_every_limit() -> None:
    network = ToyNetwork(2)
    headers = [network.shards[0].make_block().submitted for _ in range(5)]
    assert count_submittable(headers, 100, PARAMETERS) == 5
    assert count_submittable([], 100, PARAMETERS) == 0
    assert count_submittable(headers * 60, 100, PARAMETERS) == PARAMETERS.submission_headers
    full = SubmittedHeader(headers[0].header, (b"x" * 500,) * PARAMETERS.messages_per_beacon_block)
    assert count_submittable([full, full], 100, PARAMETERS) == 1
