"""The rules that every store and every vote log hold, in LevelDB and in memory alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.engine import Record
from node.database_identity import DatabaseIdentity, DatabaseKind
from node.memory_store import MAX_UNSYNCED_BATCHES, MemoryStore, MemoryVoteLog
from node.plyvel_store import PlyvelChainStore, PlyvelVoteLog
from node.store import CAPTURE_KEY, Store, VoteLog

CHAIN = DatabaseIdentity(DatabaseKind.CHAIN, bytes(32), 0, "validator", bytes(32))
VOTES = DatabaseIdentity(DatabaseKind.VOTES, bytes(32), 0, "validator", bytes(32))


def open_chain(path: Path) -> PlyvelChainStore:
    return PlyvelChainStore(path, CHAIN, lambda store: ())


@pytest.fixture(params=["leveldb", "memory"])
def reopen_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Gives the store; called again, the store as a restart finds it."""
    memory = MemoryStore()
    opened: list[Store] = []
    if request.param == "leveldb":
        PlyvelChainStore.initialise(tmp_path / "chain", CHAIN)

    def reopen() -> Store:
        for store in opened:
            store.close()
        opened.append(memory if request.param == "memory" else open_chain(tmp_path / "chain"))
        return opened[-1]

    yield reopen
    for store in opened:
        store.close()


@pytest.fixture(params=["leveldb", "memory"])
def reopen_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], VoteLog]]:
    memory = MemoryVoteLog()
    opened: list[VoteLog] = []
    if request.param == "leveldb":
        PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)

    def reopen() -> VoteLog:
        for log in opened:
            log.close()
        opened.append(memory if request.param == "memory" else PlyvelVoteLog(tmp_path / "votes", VOTES))
        return opened[-1]

    yield reopen
    for log in opened:
        log.close()


def test_scans_are_half_open_ordered_and_reversible(reopen_store: Callable[[], Store]) -> None:
    store = reopen_store()
    store.write([Record(key, key + b"!") for key in (b"b", b"a", b"d", b"c", b"\xff")])
    assert [key for key, _ in store.scan(b"a", b"c")] == [b"a", b"b"]
    assert list(store.scan(b"b", b"d", reverse=True)) == [(b"c", b"c!"), (b"b", b"b!")]
    assert [key for key, _ in store.scan(b"", b"\xff\xff")] == [b"a", b"b", b"c", b"d", b"\xff"]
    assert list(store.scan(b"d", b"a")) == []


def test_a_scan_sees_the_store_as_it_was_when_it_began(reopen_store: Callable[[], Store]) -> None:
    store = reopen_store()
    store.write([Record(b"a", b"1"), Record(b"b", b"1")])
    entries = store.scan(b"a", b"z")
    store.write([Record(b"a", b"2"), Record(b"b", None), Record(b"c", b"2")])
    assert list(entries) == [(b"a", b"1"), (b"b", b"1")]


def test_the_last_record_of_a_key_in_a_batch_counts(reopen_store: Callable[[], Store]) -> None:
    store = reopen_store()
    store.write([Record(b"a", b"1"), Record(b"a", None), Record(b"b", None), Record(b"b", b"2")])
    assert (store.get(b"a"), store.get(b"b")) == (None, b"2")


batches = st.lists(
    st.lists(
        st.builds(Record, st.sampled_from([b"a", b"b", b"bb", b"c"]), st.none() | st.binary(max_size=3)),
        max_size=5,
    ),
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(written=batches)
def test_leveldb_and_memory_agree_over_restarts(
    tmp_path_factory: pytest.TempPathFactory, written: list[list[Record]]
) -> None:
    path = tmp_path_factory.mktemp("agree") / "chain"
    PlyvelChainStore.initialise(path, CHAIN)
    memory = MemoryStore()
    for records in written:
        store = open_chain(path)
        for target in (store, memory):
            target.write(records)
        everything = list(memory.scan(b"", b"\xff"))
        assert list(store.scan(b"", b"\xff")) == everything
        assert list(store.scan(b"", b"\xff", reverse=True)) == everything[::-1]
        store.close()
    store = open_chain(path)
    assert list(store.scan(b"", b"\xff")) == list(memory.scan(b"", b"\xff"))
    store.close()


def test_written_records_are_there_after_a_restart(reopen_store: Callable[[], Store]) -> None:
    reopen_store().write([Record(b"a", b"1")], sync=True)
    assert reopen_store().get(b"a") == b"1"


def test_a_vote_log_gives_back_what_was_written(reopen_log: Callable[[], VoteLog]) -> None:
    log = reopen_log()
    log.write([])
    log.write([Record(b"vote/2", b"x"), Record(b"vote/1", b"y"), Record(b"body", bytes(1 << 16))])
    log.write([Record(b"vote/2", None), Record(b"nothing", None)])
    expected = {b"body": bytes(1 << 16), b"vote/1": b"y"}
    assert list(log.load().items()) == list(expected.items())
    assert reopen_log().load() == expected


@settings(max_examples=60, deadline=None)
@given(written=batches, synced=st.lists(st.booleans(), min_size=6, max_size=6), seed=st.integers())
def test_a_crash_loses_only_unsynced_batches_from_the_end(
    written: list[list[Record]], synced: list[bool], seed: int
) -> None:
    store = MemoryStore()
    states: list[list[tuple[bytes, bytes]]] = [[]]
    durable = 0
    for number, (records, sync) in enumerate(zip(written, synced, strict=False), start=1):
        store.write(records, sync=sync)
        states.append(list(store.scan(b"", b"\xff")))
        durable = number if sync else durable
    lost = store.crash(Random(seed))
    assert lost <= len(written) - durable
    assert list(store.scan(b"", b"\xff")) == states[len(written) - lost]
    assert store.crash(Random(seed)) == 0


def test_every_length_of_lost_suffix_happens() -> None:
    lengths = set()
    for seed in range(60):
        store = MemoryStore()
        for number in range(3):
            store.write([Record(b"a", bytes([number]))])
        lengths.add(store.crash(Random(seed)))
    assert lengths == {0, 1, 2, 3}


def test_unsynced_batches_become_durable_in_the_end() -> None:
    store = MemoryStore()
    for number in range(MAX_UNSYNCED_BATCHES + 10):
        store.write([Record(b"%06d" % number, b"")])
    store.crash(Random(1))
    assert store.get(b"%06d" % 9) == b""


def test_a_capture_shows_a_prefix_as_its_batch_left_it_whatever_came_later(
    reopen_store: Callable[[], Store],
) -> None:
    store = reopen_store()
    store.write([Record(b"sa", b"1"), Record(b"sb", b"1"), Record(b"ta", b"other")])
    store.write([Record(b"sb", b"2"), Record(CAPTURE_KEY, b"s\x07")])
    store.write([Record(b"sa", None), Record(b"sb", b"3"), Record(b"sc", b"3")])
    assert store.take_captured(b"s\x08") is None, "another batch's"
    assert store.take_captured(b"s\x07") is None, "only the newest, once"
    store.write([Record(CAPTURE_KEY, b"s\x09")])
    store.write([Record(b"sb", None)])
    captured = store.take_captured(b"s\x09")
    assert captured is not None
    assert list(captured) == [(b"sb", b"3"), (b"sc", b"3")]
    assert store.take_captured(b"s\x09") is None
    store.write([Record(CAPTURE_KEY, b"s\x0a")])
    assert reopen_store().take_captured(b"s\x0a") is None, "it ends with the process"
