"""What one faulty member of four sends must harm nobody, and must be counted."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from consensus.certificate import attest
from consensus.engine import Decided, ObtainPayload, compute_payload_digest
from crosslink.header import ShardHeader
from node.events import Outgoing
from node.executor import Diverged
from node.payload import BatchRef, Payload
from node.replica_setup import ReplicaLimits
from node.wire import (
    BatchBody,
    FrameKind,
    RangeBlock,
    RangeResponse,
    Status,
    compute_batch_digest,
    decode_frame,
    decode_signed_batch,
    sign_batch,
)
from primitives.codec import encode
from tests.consensus.tokens import TokenSigner
from tests.node.replica_cluster import Cluster
from tests.node.toy_application import make_transaction


class _WorstLuck(Random):
    """A power failure that loses all that it can."""

    def randint(self, a: int, b: int) -> int:
        return b


def _transactions(count: int, client: str = "client") -> list[bytes]:
    signer = TokenSigner(client)
    return [make_transaction(signer, number + 1, f"{client}{number}".encode()) for number in range(count)]


def _send(cluster: Cluster, kind: FrameKind, body: bytes, target: int = 0, source: int = 3) -> None:
    cluster.deliver(cluster.nodes[source].member, cluster.nodes[target].member, kind, body)


def _refused(cluster: Cluster, index: int, name: str = "s0v3") -> dict[str, int]:
    return dict(cluster.statistics(index).refused.get(name, {}))


def _grow(cluster: Cluster, blocks: int, clients: tuple[int, ...] = (0, 1, 2)) -> None:
    for number in range(blocks):
        cluster.submit(clients[number % len(clients)], *_transactions(2, f"grow {cluster.now_ms}"))
        cluster.run(110)


def test_garbage_of_every_kind_is_refused_and_mutes_its_sender() -> None:
    cluster = Cluster()
    cluster.boot()
    for kind in range(20):
        _send(cluster, kind, b"\xc1garbage")  # type: ignore[arg-type]
        cluster.run(5_500)
    assert sum(_refused(cluster, 0).values()) == 20
    for _ in range(10):
        _send(cluster, FrameKind.STATUS, b"\xc1")
    cluster.run(10)
    assert cluster.statistics(0).muted_frames > 0
    _grow(cluster, 5)
    assert min(cluster.heights()[:3]) >= 5


def test_frames_of_strangers_are_refused() -> None:
    cluster = Cluster()
    cluster.boot()
    stranger = type(cluster.nodes[3].member)(7, 3, bytes(32))
    cluster.deliver(stranger, cluster.nodes[0].member, FrameKind.STATUS, encode(Status(9, bytes(32))))
    cluster.run(10)
    assert cluster.statistics(0).refused[stranger.name] == {"NOT_A_MEMBER": 1}
    assert cluster.statistics(0).catch_up.target <= 1


def test_a_batch_with_a_bad_transaction_is_never_proposed() -> None:
    cluster = Cluster()
    cluster.boot()
    good, bad = _transactions(2)
    forged = bytearray(bad)
    forged[-1] ^= 1
    body = BatchBody(3, 1, 100, (good, bytes(forged)))
    _, frame = sign_batch(cluster.committee, cluster.signers[3], body)
    for target in range(3):
        _send(cluster, FrameKind.BATCH, frame, target)
    cluster.run(2_500)
    assert _refused(cluster, 0) == {"BAD_SIGNATURE": 1}
    assert b"client0" not in cluster.nodes[0].application.values
    assert cluster.heights() == [1] * 4
    assert cluster.statistics(0).view == 0


def test_a_flood_of_batches_stops_at_the_quota() -> None:
    cluster = Cluster()
    cluster.boot()
    filler = bytes(60_000)
    for number in range(90):
        transaction = make_transaction(TokenSigner("flood"), number + 1, b"f", filler)
        _, frame = sign_batch(cluster.committee, cluster.signers[3], BatchBody(3, number, 500, (transaction,)))
        cluster.drops = lambda sender, outgoing: True
        _send(cluster, FrameKind.BATCH, frame)
    cluster.run(10)
    statistics = cluster.statistics(0)
    assert statistics.batches.bytes <= 4 << 20
    assert _refused(cluster, 0)["OVER_QUOTA"] >= 10
    cluster.drops = lambda sender, outgoing: False


def test_a_second_attestation_is_evidence_and_changes_nothing() -> None:
    cluster = Cluster()
    cluster.boot()
    _grow(cluster, 3)
    height = cluster.heights()[0]
    _send(cluster, FrameKind.ATTESTATION, encode(attest(cluster.committee, cluster.signers[3], height, b"x" * 32)))
    cluster.run(10)
    assert cluster.statistics(0).evidence == 1
    assert cluster.nodes[0].alarms == ["evidence against member 3: double-attestation"]
    _grow(cluster, 3)
    assert min(cluster.heights()) > height


def _forge_header(block: RangeBlock) -> RangeBlock:
    fields = {name: getattr(block.header, name) for name in block.header.__struct_fields__}
    fields["state_root"] = b"\x66" * 32
    return RangeBlock(ShardHeader(**fields), block.certificate, block.payload, block.bodies)


def _forge_body(block: RangeBlock) -> RangeBlock:
    return RangeBlock(block.header, block.certificate, block.payload, block.bodies[:-1])


def _forge_payload(block: RangeBlock) -> RangeBlock:
    return RangeBlock(block.header, block.certificate, block.payload + b"\x00", block.bodies)


def _drop_certificate(block: RangeBlock) -> RangeBlock:
    return RangeBlock(block.header, None, block.payload, block.bodies)


@pytest.mark.parametrize("forge", [_forge_header, _forge_body, _forge_payload, _drop_certificate])
def test_a_peer_that_lies_in_ranges_is_dropped_and_others_are_asked(
    forge: Callable[[RangeBlock], RangeBlock],
) -> None:
    cluster = Cluster()
    cluster.boot()
    cluster.kill(3)
    _grow(cluster, 40)
    behind = min(cluster.heights()[:3])

    liars: list[int] = []

    def lie(sender: int, outgoing: Outgoing) -> bool:
        """Whoever is asked first lies from then on."""
        if outgoing.kind != FrameKind.RANGE or sender not in (liars or [sender]):
            return False
        liars[:] = [sender]
        response = decode_frame(outgoing.kind, outgoing.body)
        assert isinstance(response, RangeResponse)
        blocks = (*response.blocks[:-1], forge(response.blocks[-1]))
        forged = encode(RangeResponse(response.first, response.tip, blocks))
        cluster.deliver(cluster.nodes[sender].member, outgoing.member, FrameKind.RANGE, forged)
        return True

    cluster.drops = lie
    cluster.start(3)
    cluster.run_until(lambda: cluster.heights()[3] >= behind, 15_000)
    assert cluster.statistics(3).catch_up.ranges_refused == 1
    assert _refused(cluster, 3, f"s0v{liars[0]}").get("BAD_RANGE") == 1
    assert cluster.nodes[3].halted is None
    cluster.check_prefixes()


def test_a_peer_that_promises_and_never_delivers_only_costs_time() -> None:
    cluster = Cluster()
    cluster.boot()
    cluster.kill(3)
    _grow(cluster, 40)
    behind = min(cluster.heights()[:3])
    silent: list[int] = []

    def withhold(sender: int, outgoing: Outgoing) -> bool:
        if outgoing.kind != FrameKind.RANGE or sender not in (silent or [sender]):
            return False
        silent[:] = [sender]
        return True

    cluster.drops = withhold
    cluster.start(3)
    cluster.run_until(lambda: cluster.heights()[3] >= behind, 15_000)
    assert cluster.statistics(3).catch_up.timeouts >= 1


def test_a_claim_to_be_far_ahead_is_not_a_proof() -> None:
    """Pitfall 12: statuses are hints; no number of them moves the chain."""
    cluster = Cluster()
    cluster.boot()
    for source in (1, 2, 3):
        _send(cluster, FrameKind.STATUS, encode(Status(10_000, bytes(32))), 0, source)
    cluster.run(3_000)
    _grow(cluster, 4)
    assert min(cluster.heights()) >= 4
    assert not cluster.statistics(0).catch_up.is_active


def test_sync_racing_consensus_applies_each_height_once() -> None:
    """Pitfall 7: ranges arrive for heights that consensus is just deciding."""
    cluster = Cluster()
    cluster.boot()
    cluster.kill(3)
    _grow(cluster, 25)
    cluster.start(3)
    # Under load, decisions and ranges race in member 3.
    _grow(cluster, 25)
    cluster.run_until(lambda: len(set(cluster.heights())) == 1, 10_000)
    heights = [block.header.height for block in cluster.nodes[3].certified]
    assert len(heights) == len(set(heights))
    assert cluster.nodes[3].application.values == cluster.nodes[0].application.values
    cluster.check_prefixes()


def test_bodies_survive_at_the_voters_until_they_are_certified() -> None:
    """Pitfall 9: the proposer is gone, the author has forgotten, nothing was synced but the vote logs: the pins of
    those who voted are enough."""
    cluster = Cluster(limits=ReplicaLimits(sync_ms=600_000, sync_blocks=1_000))
    cluster.boot()
    cluster.run(200)
    cluster.drops = lambda sender, outgoing: outgoing.kind == FrameKind.ATTESTATION
    cluster.submit(1, *_transactions(10))
    cluster.run(100)
    assert min(cluster.statistics(index).height for index in range(4)) == 2
    assert max(cluster.heights()) == 1
    for index in range(4):
        cluster.kill(index, _WorstLuck())
        assert cluster.nodes[index].store.get(b"itip") is None
    cluster.drops = lambda sender, outgoing: False
    cluster.start(1, 2, 3)
    cluster.run_until(lambda: min(cluster.heights()[1:]) >= 2, 20_000)
    assert all(b"client9" in cluster.nodes[index].application.values for index in (1, 2, 3))


def test_a_height_that_is_decided_twice_differently_halts() -> None:
    cluster = Cluster()
    cluster.boot()
    cluster.drops = lambda sender, outgoing: outgoing.kind == FrameKind.ATTESTATION
    cluster.submit(0, *_transactions(1))
    cluster.run(200)
    replica = cluster.nodes[0].replica
    assert replica is not None
    assert replica.statistics().height == 2
    with pytest.raises(Diverged, match="decided twice"):
        replica._on_decided(Decided(2, bytes(32), b"", ()), cluster.now_ms)


def test_after_a_restart_the_same_attestation_is_sent_again() -> None:
    """Pitfall 5 at the replica: an upgrade that executes differently must not sign a second header."""
    cluster = Cluster()
    cluster.drops = lambda sender, outgoing: outgoing.kind == FrameKind.ATTESTATION
    cluster.start()
    cluster.run_until(lambda: cluster.statistics(2).height == 1)
    cluster.kill(2)
    sent: list[bytes] = []

    def watch(sender: int, outgoing: Outgoing) -> bool:
        if sender == 2 and outgoing.kind == FrameKind.ATTESTATION:
            sent.append(outgoing.body)
        return outgoing.kind == FrameKind.ATTESTATION

    cluster.drops = watch
    cluster.start(2)
    cluster.run(2_500)
    assert len(set(sent)) == 1
    # The same log under another program: the state was lost, executing again gives another header.
    cluster.kill(2)
    cluster.nodes[2].salt = b"upgraded"
    cluster.nodes[2].store = type(cluster.nodes[2].store)()
    before = len(sent)
    cluster.start(2)
    cluster.run(2_500)
    assert cluster.nodes[2].halted is not None
    assert "another header than the one that we attested" in str(cluster.nodes[2].halted)
    assert len(sent) == before


def test_validity_does_not_depend_on_what_a_member_holds() -> None:
    """Pitfall 8: a badly signed body inside spoils the payload also for a member that holds the good one."""
    cluster, frame = _with_body_at_member_2()
    forged = frame[:-1] + bytes([frame[-1] ^ 1])
    assert [_judge(cluster, index, forged, frame) for index in (0, 2)] == [False, False]


def test_a_reference_that_lies_about_its_body_makes_the_payload_invalid() -> None:
    cluster, frame = _with_body_at_member_2()
    assert _judge(cluster, 2, frame, frame) is True
    assert _judge(cluster, 2, frame, frame, transactions=7) is False


def _with_body_at_member_2() -> tuple[Cluster, bytes]:
    """A cluster, and a batch of member 1 that member 2 has verified."""
    cluster = Cluster()
    cluster.boot()
    _, frame = sign_batch(cluster.committee, cluster.signers[1], BatchBody(1, 1, 100, tuple(_transactions(1))))
    _send(cluster, FrameKind.BATCH, frame, 2, 1)
    cluster.run(4)
    return cluster, frame


def _judge(cluster: Cluster, index: int, inline: bytes, frame: bytes, transactions: int = 1) -> bool | None:
    """What a member thinks of a payload with this body inside."""
    replica = cluster.nodes[index].replica
    assert replica is not None
    digest = compute_batch_digest(cluster.committee, decode_signed_batch(frame).body)
    payload = encode(Payload(1, 0, (BatchRef(1, digest, len(frame), transactions),), (inline,)))
    obtaining = replica._parts.obtaining
    name = compute_payload_digest(payload)
    obtaining.want(ObtainPayload(9, name, payload, (), True), cluster.now_ms)
    obtaining.advance(cluster.now_ms)
    return obtaining.tasks[(9, name)].is_valid
