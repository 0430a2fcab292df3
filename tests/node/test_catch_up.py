"""Ranges of certified blocks: what is verified, whom we ask, and what a lie costs."""

from __future__ import annotations

import pytest

from consensus.certificate import Certificate, attest
from consensus.engine import NULL_PAYLOAD, compute_payload_digest
from crosslink.header import NO_BEACON_REF, START_CURSOR, ShardHeader, compute_header_hash
from node.catch_up import DOUBT_MS, PATIENCE_MS, SEGMENT_BLOCKS, CatchUp, verify_range
from node.executor import Diverged
from node.replica_setup import ReplicaLimits
from node.wire import RangeBlock, RangeRequest, RangeResponse
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST
from tests.consensus.tokens import TokenScheme, make_committee, make_signers

COMMITTEE = make_committee(4)
SIGNERS = make_signers(4)
SCHEME = TokenScheme()
LIMITS = ReplicaLimits()


def _header(height: int, parent: bytes, *, root: bytes = ZERO_DIGEST, shard: int = 0) -> ShardHeader:
    return ShardHeader(
        COMMITTEE.chain,
        shard,
        0,
        0,
        height,
        parent,
        compute_payload_digest(NULL_PAYLOAD),
        height,
        root,
        ZERO_DIGEST,
        ZERO_DIGEST,
        ZERO_DIGEST,
        START_CURSOR,
        NO_BEACON_REF,
        ZERO_DIGEST,
    )


def _certify(header: ShardHeader, signers: tuple[int, ...] = (0, 1, 2)) -> Certificate:
    header_hash = compute_header_hash(header)
    votes = [attest(COMMITTEE, SIGNERS[index], header.height, header_hash) for index in signers]
    return Certificate(0, 0, header.height, header_hash, signers, tuple(vote.signature for vote in votes))


def _run(count: int, *, root: bytes = ZERO_DIGEST) -> list[RangeBlock]:
    blocks, parent = [], ZERO_DIGEST
    for height in range(1, count + 1):
        header = _header(height, parent, root=root)
        blocks.append(RangeBlock(header, _certify(header), NULL_PAYLOAD, ()))
        parent = compute_header_hash(header)
    return blocks


def _verify(blocks: list[RangeBlock]) -> None:
    verify_range(1, tuple(blocks), COMMITTEE, SCHEME)


def test_the_last_certificate_covers_all() -> None:
    blocks = [RangeBlock(block.header, None, block.payload, ()) for block in _run(4)]
    with pytest.raises(RemoteError, match="not certified"):
        _verify(blocks)
    _verify([*blocks[:-1], _run(4)[-1]])


def test_a_certificate_with_forged_signatures_covers_nothing() -> None:
    blocks = _run(3)
    good = blocks[-1].certificate
    assert good is not None
    forged = Certificate(0, 0, good.height, good.header_hash, good.signers, (bytes(64),) * 3)
    with pytest.raises(RemoteError, match="BAD_SIGNATURE"):
        _verify([*blocks[:-1], RangeBlock(blocks[-1].header, forged, NULL_PAYLOAD, ())])


def test_two_signers_of_four_are_no_quorum() -> None:
    blocks = _run(2)
    weak = _certify(blocks[-1].header, (0, 1))
    with pytest.raises(RemoteError, match="BAD_QUORUM"):
        _verify([blocks[0], RangeBlock(blocks[1].header, weak, NULL_PAYLOAD, ())])


def test_headers_chain_up_to_the_certified_one() -> None:
    blocks = _run(3)
    stranger = _header(2, ZERO_DIGEST, root=b"\x07" * 32)
    with pytest.raises(RemoteError, match="do not chain"):
        _verify([blocks[0], RangeBlock(stranger, None, NULL_PAYLOAD, ()), blocks[2]])


def test_blocks_of_another_shard_are_refused() -> None:
    header = _header(1, ZERO_DIGEST, shard=5)
    with pytest.raises(RemoteError, match="another chain or height"):
        _verify([RangeBlock(header, _certify(header), NULL_PAYLOAD, ())])


def _asked(catch_up: CatchUp, executed: int, now_ms: int) -> list[tuple[int, RangeRequest]]:
    return catch_up.plan(executed, lambda index: True, now_ms)


def _make() -> CatchUp:
    return CatchUp(COMMITTEE, 0, SCHEME, 16, LIMITS)


def test_a_small_gap_is_left_to_consensus_for_a_while() -> None:
    catch_up = _make()
    catch_up.note_executed(3, 0)
    catch_up.on_status(1, 5)
    assert _asked(catch_up, 3, PATIENCE_MS - 1) == []
    ((_, request),) = _asked(catch_up, 3, PATIENCE_MS)
    assert (request.first, request.last) == (4, 5)


def test_a_member_whose_own_engine_decides_stops_asking_for_ranges() -> None:
    catch_up = _make()
    catch_up.on_status(1, 20)
    assert _asked(catch_up, 0, 0)
    catch_up.note_executed(21, 10)
    catch_up.note_decided()
    catch_up.on_status(1, 22)
    catch_up.on_lost(1)
    assert _asked(catch_up, 21, 11) == []
    assert not catch_up.is_active


def test_several_peers_are_asked_for_consecutive_segments() -> None:
    catch_up = _make()
    for peer in (1, 2, 3):
        catch_up.on_status(peer, 500)
    requests = _asked(catch_up, 0, 0)
    assert [request.first for _, request in requests] == [1 + SEGMENT_BLOCKS * number for number in range(3)]
    assert len({peer for peer, _ in requests}) == 3
    assert _asked(catch_up, 0, 0) == []


def test_whoever_does_not_answer_is_replaced() -> None:
    catch_up = _make()
    catch_up.on_status(1, 20)
    ((peer, request),) = _asked(catch_up, 0, 0)
    assert (peer, request) == (1, RangeRequest(1, 20))
    catch_up.on_status(2, 20)
    ((peer, _),) = _asked(catch_up, 0, LIMITS.range_timeout_ms)
    assert peer == 2
    assert catch_up.statistics().timeouts == 1
    assert LIMITS.range_timeout_ms < DOUBT_MS


def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    catch_up = _make()
    with pytest.raises(RemoteError, match="UNSOLICITED"):
        catch_up.on_range(1, RangeResponse(1, 5, tuple(_run(5))), 0)


def test_what_was_verified_is_given_block_by_block() -> None:
    catch_up = _make()
    catch_up.on_status(1, 20)
    _asked(catch_up, 0, 0)
    blocks = _run(20)
    catch_up.on_range(1, RangeResponse(1, 20, tuple(blocks)), 1)
    tip = ZERO_DIGEST
    for height in range(20):
        assert catch_up.has_next(height)
        block, liar = catch_up.take_next(height, tip, 1)
        assert liar is None
        assert block is not None
        assert block.header.height == height + 1
        tip = block.hash
        catch_up.note_executed(height + 1, 1)
    assert not catch_up.has_next(20)
    assert _asked(catch_up, 20, 2) == []
    assert not catch_up.is_active


def test_blocks_that_consensus_brought_meanwhile_are_neither_kept_nor_given() -> None:
    catch_up = _make()
    catch_up.on_status(1, 20)
    _asked(catch_up, 0, 0)
    catch_up.on_range(1, RangeResponse(1, 20, tuple(_run(20))), 1)
    first, _ = catch_up.take_next(0, ZERO_DIGEST, 1)
    assert first is not None
    catch_up.note_executed(12, 2)
    block, _ = catch_up.take_next(12, ZERO_DIGEST, 2)
    assert block is not None
    assert block.header.height == 13
    catch_up.note_executed(20, 3)
    assert not catch_up.has_next(20)


def test_a_certified_run_past_another_tip_is_a_divergence() -> None:
    catch_up = _make()
    catch_up.on_status(1, 20)
    _asked(catch_up, 0, 0)
    catch_up.on_range(1, RangeResponse(1, 20, tuple(_run(20))), 1)
    own = _run(3, root=b"\x07" * 32)[-1]
    with pytest.raises(Diverged):
        catch_up.take_next(3, compute_header_hash(own.header), 1)
