"""The layouts of chain store and vote log: what is written is found again, what is damaged is refused."""

from __future__ import annotations

import msgspec
import pytest

from consensus.certificate import Certificate
from consensus.engine import Record
from crosslink.block import BlockResult, TransactionReceipt
from crosslink.header import NO_BEACON_REF, START_CURSOR, ShardHeader
from node.batches import HeldBatch
from node.chain import Chain
from node.chain_records import (
    ChainIdentity,
    StoredEvidence,
    build_block_records,
    build_certificate_records,
    build_evidence_record,
    build_follower_records,
    build_genesis_records,
)
from node.memory_store import MemoryStore
from node.vote_records import (
    Pins,
    build_certificate_record,
    build_engine_records,
    build_executed_records,
    build_identity_record,
    read_vote_log,
)
from node.wire import BatchBody, sign_batch
from primitives.errors import LocalError
from primitives.hashing import ZERO_DIGEST
from tests.consensus.tokens import make_committee, make_signers

COMMITTEE = make_committee(4)
IDENTITY = ChainIdentity(1, COMMITTEE.chain, 0, ZERO_DIGEST)
CERTIFICATE = Certificate(0, 0, 3, b"\x01" * 32, (0, 1, 2), (bytes(64),) * 3)
HEADER = ShardHeader(
    COMMITTEE.chain, 0, 0, 0, 3, *([ZERO_DIGEST] * 2), 1_000, *([ZERO_DIGEST] * 4),
    START_CURSOR, NO_BEACON_REF, ZERO_DIGEST,
)  # fmt: skip


def _batch() -> HeldBatch:
    body = BatchBody(1, 1, 50, (b"first", b"second"))
    digest, frame = sign_batch(COMMITTEE, make_signers(4)[1], body)
    return HeldBatch(digest, body, frame, 0)


def _chain() -> tuple[Chain, MemoryStore, HeldBatch]:
    store = MemoryStore()
    batch = _batch()
    result = BlockResult(
        *([ZERO_DIGEST] * 4),
        changes={b"gone": None, b"new": b"value"},
        receipts=(TransactionReceipt(b"a" * 32, b"ra"), TransactionReceipt(b"b" * 32, b"rb")),
        outbox=(b"leaf",),
        summary=b"summary",
    )
    store.write(build_genesis_records(IDENTITY, [(b"gone", b"1"), (b"kept", b"2")]))
    store.write(build_block_records(HEADER, b"payload", {batch.digest: batch.frame}, result))
    store.write(build_certificate_records(CERTIFICATE))
    return Chain(store), store, batch


def test_a_block_is_found_again_in_all_its_parts() -> None:
    chain, store, batch = _chain()
    assert chain.identity() == IDENTITY
    assert (chain.tip_height(), chain.certified_height()) == (3, 3)
    assert chain.get_header(3) == HEADER
    assert chain.get_payload(3) == b"payload"
    assert chain.get_summary(3) == b"summary"
    assert chain.get_outbox(3) == (b"leaf",)
    assert chain.get_receipts(3) == ((b"a" * 32, b"ra"), (b"b" * 32, b"rb"))
    assert chain.find_transaction(b"b" * 32) == (3, 1)
    assert chain.find_transaction(b"c" * 32) is None
    assert chain.get_body(batch.digest) == batch.frame
    assert chain.find_transactions_of(3, [batch.digest]) == [b"first", b"second"]
    assert chain.get_certificate(3) == CERTIFICATE
    assert chain.get_certificate(2) is None
    assert chain.find_covering_certificate(2) == CERTIFICATE
    assert dict(chain.state_records()) == {b"kept": b"2", b"new": b"value"}
    store.write(build_follower_records({b"base": b"1"}))
    assert list(chain.follower_records()) == [(b"base", b"1")]
    evidence = StoredEvidence("kind", 2, (b"one", b"two"))
    store.write([build_evidence_record(evidence, 1)])
    assert chain.evidence() == [evidence]


def test_an_empty_store_is_new_and_a_strange_one_is_refused() -> None:
    store = MemoryStore()
    assert Chain(store).identity() is None
    store.write([Record(b"something", b"else")])
    with pytest.raises(LocalError, match="not a Rialto chain"):
        Chain(store).identity()


@pytest.mark.parametrize("prefix", [b"h", b"c", b"r", b"o", b"x"])
def test_a_damaged_record_is_refused(prefix: bytes) -> None:
    chain, store, _ = _chain()
    ((key, value), *_) = store.scan(prefix, bytes([prefix[0] + 1]))
    store.write([Record(key, value[:-1])])
    with pytest.raises(LocalError, match="damaged"):
        {
            b"h": lambda: chain.get_header(3),
            b"c": lambda: chain.get_certificate(3),
            b"r": lambda: chain.get_receipts(3),
            b"o": lambda: chain.get_outbox(3),
            b"x": lambda: chain.find_transaction(b"a" * 32),
        }[prefix]()


def test_the_vote_log_is_read_back_and_released_height_by_height() -> None:
    log: dict[bytes, bytes] = {}

    def write(records: list[Record]) -> None:
        for record in records:
            if record.value is None:
                del log[record.key]
            else:
                log[record.key] = record.value

    batch = _batch()
    pins = Pins(read_vote_log({}))
    write([build_identity_record(b"us"), build_certificate_record(CERTIFICATE)])
    write(build_engine_records([Record(b"vote", b"1")]))
    write(build_executed_records(HEADER, 0, attested=True))
    write(pins.pin(3, b"\x05" * 32, b"payload", [batch]))
    write(pins.pin(4, b"\x06" * 32, b"payload too", [batch]))
    assert pins.pin(4, b"\x06" * 32, b"payload too", [batch]) == []
    recovered = read_vote_log(log)
    assert recovered.identity == b"us"
    assert recovered.highest_executed == 3
    assert recovered.engine == {b"vote": b"1"}
    assert recovered.attested == {3: HEADER}
    assert recovered.certificates == {3: CERTIFICATE}
    assert [pinned.slot for pinned in recovered.payloads] == [3, 4]
    assert recovered.bodies == {batch.digest: batch.frame}
    pins.note_attested(3)
    pins.note_certificate(3)
    write(pins.release(3))
    assert list(read_vote_log(log).bodies) == [batch.digest]
    assert read_vote_log(log).attested == {}
    write(pins.release(4))
    assert sorted(log) == [b"evote", b"h", b"i"]


def test_a_strange_vote_log_is_refused() -> None:
    for records in ({b"zzz": b"1"}, {b"a" + bytes(8): b"\xc1"}, {b"h": b"1"}):
        with pytest.raises(LocalError):
            read_vote_log(records)


def test_a_repeated_transaction_stays_where_it_was_ordered_first() -> None:
    store = MemoryStore()
    chain = Chain(store)
    again = TransactionReceipt(b"a" * 32, b"repeat")
    for height, receipts in ((3, (TransactionReceipt(b"a" * 32, b"first"), again)), (4, (again,))):
        header = msgspec.structs.replace(HEADER, height=height)
        result = BlockResult(b"s" * 32, b"r" * 32, b"o" * 32, b"m" * 32, {}, receipts=receipts)
        store.write(build_block_records(header, b"payload", {}, result))
    assert chain.find_transaction(b"a" * 32) == (3, 0)
