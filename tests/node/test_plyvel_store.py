"""The rules of the databases on disk: whatever is damaged, foreign or newer is refused, nothing is repaired."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import plyvel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.engine import Record
from node import durable_files, leveldb
from node.database_identity import DatabaseIdentity, DatabaseKind, encode_identity
from node.leveldb import compute_percentile
from node.plyvel_store import PlyvelChainStore, PlyvelVoteLog
from primitives.errors import LocalError

VOTES = DatabaseIdentity(DatabaseKind.VOTES, bytes(32), 0, "validator", b"k" * 32)
CHAIN = replace(VOTES, kind=DatabaseKind.CHAIN)


def make_votes(path: Path, count: int = 12) -> dict[bytes, bytes]:
    """A closed vote log with ``count`` synced writes in its write-ahead log; returns what is in it."""
    PlyvelVoteLog.initialise(path, VOTES)
    log = PlyvelVoteLog(path, VOTES)
    for number in range(count):
        log.write([Record(b"vote/%04d" % number, bytes([number]) * 90), Record(b"view", b"%d" % number)])
    records = log.load()
    log.close()
    return records


def open_chain(path: Path, **options: Any) -> PlyvelChainStore:
    return PlyvelChainStore(path, CHAIN, lambda store: (), **options)


def find_log(path: Path) -> Path:
    (log,) = path.glob("*.log")
    return log


@pytest.fixture(scope="module")
def written_votes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[bytes, bytes]]:
    path = tmp_path_factory.mktemp("votes") / "votes"
    return path, make_votes(path)


# --- damage ------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_refused_or_harmless(
    written_votes: tuple[Path, dict[bytes, bytes]], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    source, records = written_votes
    path = tmp_path_factory.mktemp("flip") / "votes"
    shutil.copytree(source, path)
    files = sorted(file.name for file in path.iterdir() if not file.name.startswith("LO"))
    victim = path / data.draw(st.sampled_from(files))
    bits = data.draw(st.integers(0, 8 * victim.stat().st_size - 1))
    damaged = bytearray(victim.read_bytes())
    damaged[bits // 8] ^= 1 << (bits % 8)
    victim.write_bytes(damaged)
    try:
        log = PlyvelVoteLog(path, VOTES)
    except LocalError:
        return
    found = log.load()
    log.close()
    assert found == records
    shutil.rmtree(path)


def test_a_flipped_length_hides_votes_from_leveldb_but_not_from_us(tmp_path: Path) -> None:
    records = make_votes(tmp_path / "votes")
    log = find_log(tmp_path / "votes")
    damaged = bytearray(log.read_bytes())
    damaged[5] ^= 0x40
    log.write_bytes(damaged)
    shutil.copytree(tmp_path / "votes", tmp_path / "copy")
    database = plyvel.DB(str(tmp_path / "copy"), paranoid_checks=True)
    assert len(list(database)) < len(records), "the fault must bite where nobody looks for it"
    database.close()
    with pytest.raises(LocalError, match=r"a damaged record hides the ones behind it: .*must not vote"):
        PlyvelVoteLog(tmp_path / "votes", VOTES)


def test_a_flipped_byte_in_a_table_is_found_at_start(tmp_path: Path) -> None:
    path = tmp_path / "chain"
    PlyvelChainStore.initialise(path, CHAIN)
    store = open_chain(path)
    for number in range(300):
        store.write([Record(b"block/%06d" % number, os.urandom(100))])
    store.close()
    open_chain(path).close()
    table = max(path.glob("*.ldb"), key=lambda file: file.stat().st_size)
    damaged = bytearray(table.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    table.write_bytes(damaged)
    with pytest.raises(LocalError, match=r"cannot be read .*: run: rialto node rebuild"):
        open_chain(path)


@pytest.mark.parametrize("cut", [1, 5, 60, 117])
def test_a_torn_unsynced_tail_is_dropped_whole(tmp_path: Path, cut: int) -> None:
    records = make_votes(tmp_path / "votes")
    log = find_log(tmp_path / "votes")
    os.truncate(log, log.stat().st_size - cut)
    votes = PlyvelVoteLog(tmp_path / "votes", VOTES)
    found = votes.load()
    votes.close()
    last = max(key for key in records if key.startswith(b"vote/"))
    assert found == {key: value for key, value in records.items() if key != last} | {b"view": b"10"}


def test_a_torn_tail_of_zeros_is_dropped(tmp_path: Path) -> None:
    """A file system that grew the file before it wrote the data leaves zeros."""
    records = make_votes(tmp_path / "votes")
    log = find_log(tmp_path / "votes")
    log.write_bytes(log.read_bytes() + bytes(300))
    votes = PlyvelVoteLog(tmp_path / "votes", VOTES)
    assert votes.load() == records
    votes.close()


def test_a_cut_vote_log_is_older_than_the_chain(tmp_path: Path) -> None:
    make_votes(tmp_path / "votes")
    PlyvelChainStore.initialise(tmp_path / "chain", CHAIN)
    votes, store = PlyvelVoteLog(tmp_path / "votes", VOTES), open_chain(tmp_path / "chain")
    stale = tmp_path / "stale"
    store.attach_vote_log(votes)
    store.write([Record(b"block", b"1")])
    store.check_vote_log(votes)
    votes.close()
    shutil.copytree(tmp_path / "votes", stale)
    votes = PlyvelVoteLog(tmp_path / "votes", VOTES)
    store.attach_vote_log(votes)
    votes.write([Record(b"vote", b"1")])
    store.write([Record(b"block", b"2")])
    store.check_vote_log(votes)
    old = PlyvelVoteLog(stale, VOTES)
    with pytest.raises(LocalError, match=r"older than the chain .12 writes, the chain has seen 13.*must not vote"):
        store.check_vote_log(old)
    for opened in (votes, old, store):
        opened.close()


def remove_current(path: Path) -> None:
    (path / "CURRENT").unlink()


def remove_log(path: Path) -> None:
    find_log(path).unlink()


def remove_manifest(path: Path) -> None:
    next(path.glob("MANIFEST-*")).unlink()


def remove_tables(path: Path) -> None:
    for table in path.glob("*.ldb"):
        table.unlink()


def cut_manifest(path: Path) -> None:
    os.truncate(next(path.glob("MANIFEST-*")), 20)


def cut_table(path: Path) -> None:
    os.truncate(next(path.glob("*.ldb")), 30)


@pytest.mark.parametrize(
    "damage", [remove_current, remove_log, remove_manifest, remove_tables, cut_manifest, cut_table]
)
def test_missing_and_cut_files_are_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    make_votes(tmp_path / "votes")
    PlyvelVoteLog(tmp_path / "votes", VOTES).close()
    damage(tmp_path / "votes")
    with pytest.raises(LocalError, match=str(tmp_path / "votes")):
        PlyvelVoteLog(tmp_path / "votes", VOTES)


# --- identity ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (replace(VOTES, chain=b"c" * 32), "belongs to chain 0000000000000000…, the genesis says 6363"),
        (replace(VOTES, shard=1), "belongs to shard0, this node to shard1"),
        (replace(VOTES, role="full"), "was made for role 'validator', not 'full'"),
        (replace(VOTES, public_key=b"x" * 32), "never copy a member's databases"),
    ],
)
def test_a_foreign_database_is_refused(tmp_path: Path, other: DatabaseIdentity, complaint: str) -> None:
    PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)
    with pytest.raises(LocalError, match=complaint):
        PlyvelVoteLog(tmp_path / "votes", other)
    PlyvelVoteLog(tmp_path / "votes", VOTES).close()


def test_swapped_directories_are_refused(tmp_path: Path) -> None:
    PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)
    with pytest.raises(LocalError, match="holds 'votes', not 'chain': the directories are swapped"):
        open_chain(tmp_path / "votes")


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (b"\x00\x00\x00\x02whatever comes", "has format 2, newer than 1 of this version: upgrade"),
        (b"", "identity record is damaged"),
        (encode_identity(VOTES)[:-1], "identity record is damaged"),
        (b"\x00\x00\x00\x01" + bytes(300), "identity record is damaged"),
        (None, "was never initialised to its end"),
    ],
)
def test_a_newer_or_damaged_identity_is_refused(tmp_path: Path, record: bytes | None, complaint: str) -> None:
    PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)
    database = plyvel.DB(str(tmp_path / "votes"))
    if record is None:
        database.delete(b"\x00identity")
    else:
        database.put(b"\x00identity", record)
    database.close()
    with pytest.raises(LocalError, match=complaint):
        PlyvelVoteLog(tmp_path / "votes", VOTES)


def test_opening_never_creates(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(LocalError, match="there is no database"):
            open_chain(path)
    assert os.listdir(tmp_path) == []


def test_initialising_never_overwrites(tmp_path: Path) -> None:
    records = make_votes(tmp_path / "votes")
    with pytest.raises(LocalError, match="never overwritten"):
        PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)
    log = PlyvelVoteLog(tmp_path / "votes", VOTES)
    assert log.load() == records
    log.close()


def test_one_process_at_a_time_uses_a_database(tmp_path: Path) -> None:
    records = make_votes(tmp_path / "votes")
    log = PlyvelVoteLog(tmp_path / "votes", VOTES)
    with pytest.raises(LocalError, match="is open in this process already"):
        PlyvelVoteLog(tmp_path / "votes", VOTES)
    child = "import sys, plyvel\ntry: plyvel.DB(sys.argv[1])\nexcept plyvel.IOError: print('locked')"
    command = [sys.executable, "-c", child, str(tmp_path / "votes")]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "locked\n"
    log.close()
    log.close()
    child = "import sys, plyvel\nheld = plyvel.DB(sys.argv[1])\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", child, str(tmp_path / "votes")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(LocalError, match="another process uses it: stop that first"):
            PlyvelVoteLog(tmp_path / "votes", VOTES)
    finally:
        holder.communicate(b"\n")
    log = PlyvelVoteLog(tmp_path / "votes", VOTES)
    assert log.load() == records
    log.close()


# --- writing -----------------------------------------------------------------------------------------------


FULL_DISK_CHILD = """
import resource, sys
from pathlib import Path
from consensus.engine import Record
from node.database_identity import DatabaseIdentity, DatabaseKind
from node.plyvel_store import PlyvelVoteLog
from primitives.errors import LocalError

votes = DatabaseIdentity(DatabaseKind.VOTES, bytes(32), 0, "validator", b"k" * 32)
log = PlyvelVoteLog(Path(sys.argv[1]), votes)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
acknowledged = 0
try:
    while True:
        log.write([Record(b"vote/%04d" % acknowledged, bytes(500))])
        acknowledged += 1
except LocalError as error:
    print(acknowledged, "disk refused a write" in str(error))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try:
    log.write([Record(b"vote/late", b"x")])
except LocalError as error:
    print("must end" in str(error))
"""


def test_a_full_disk_ends_writing_for_good_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    """A limit on file sizes gives the same refusal as a full disk, without needing one."""
    PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)
    command = [sys.executable, "-c", FULL_DISK_CHILD, str(tmp_path / "votes")]
    child = subprocess.run(
        command, capture_output=True, check=True, text=True, cwd=Path(__file__).parents[2], timeout=30
    )
    count, refused, ended = child.stdout.split()
    assert (refused, ended) == ("True", "True")
    assert int(count) > 10
    log = PlyvelVoteLog(tmp_path / "votes", VOTES)
    found = log.load()
    log.close()
    assert [b"vote/%04d" % number in found for number in range(int(count))] == [True] * int(count)
    assert b"vote/late" not in found


REFUSED_CHILD = """
import os, resource, signal, sys
from pathlib import Path
from node.plyvel_store import PlyvelVoteLog
from primitives.errors import LocalError
from tests.node.test_plyvel_store import VOTES

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
free = os.dup(0)
os.close(free)
if sys.argv[2] == "room":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
else:
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))
try:
    PlyvelVoteLog(Path(sys.argv[1]), VOTES)
except LocalError as error:
    sys.stderr.write(str(error))
"""


@pytest.mark.parametrize(("lack", "words"), [("room", "File too large"), ("descriptors", "Too many open files")])
def test_what_the_system_refuses_at_the_start_is_not_taken_for_damage(
    tmp_path: Path, lack: str, words: str
) -> None:
    PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)
    command = [sys.executable, "-c", REFUSED_CHILD, str(tmp_path / "votes"), lack]
    child = subprocess.run(
        command, capture_output=True, check=True, text=True, cwd=Path(__file__).parents[2], timeout=30
    )
    assert words in child.stderr
    assert "make room" in child.stderr and "rebuild" not in child.stderr, "its votes are all there"
    PlyvelVoteLog(tmp_path / "votes", VOTES).close()


def test_a_failed_directory_sync_ends_writing_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)
    log = PlyvelVoteLog(tmp_path / "votes", VOTES)
    (tmp_path / "votes" / "999999.log").touch()

    def fail(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(leveldb, "sync_directory", fail)
    with pytest.raises(LocalError, match="the disk refused a write"):
        log.write([Record(b"vote", b"1")])
    monkeypatch.undo()
    with pytest.raises(LocalError, match="the process must end"):
        log.write([Record(b"vote", b"1")])
    log.close()


def test_a_new_log_file_is_synced_into_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PlyvelChainStore.initialise(tmp_path / "chain", CHAIN)
    store = open_chain(tmp_path / "chain")
    synced: list[Path] = []
    monkeypatch.setattr(leveldb, "sync_directory", synced.append)
    before = find_log(tmp_path / "chain")
    store.write([Record(b"small", b"1")])
    assert synced == []
    for number in range(6):
        store.write([Record(b"large/%d" % number, os.urandom(4 << 20))])
    assert set((tmp_path / "chain").glob("*.log")) - {before}, "the log must have been rotated"
    assert set(synced) == {tmp_path / "chain"}
    store.close()


def test_a_log_that_is_started_long_after_the_last_one_is_synced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PlyvelChainStore.initialise(tmp_path / "chain", CHAIN)
    store = open_chain(tmp_path / "chain")
    monkeypatch.setattr(durable_files, "FINE_TICK_US", 0)
    synced: list[Path] = []
    monkeypatch.setattr(leveldb, "sync_directory", synced.append)
    listed = count_calls(monkeypatch, leveldb.os, "listdir")
    for _ in range(10):
        store.write([Record(b"small", b"1")])
    assert listed() <= 3, "a directory that does not change is not listed"
    for number in range(6):
        store.write([Record(b"large/%d" % number, os.urandom(4 << 20))])
    assert set(synced) == {tmp_path / "chain"}
    store.close()


def count_calls(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Callable[[], int]:
    """Let calls of the function through; returns how many there were."""
    calls: list[Any] = []
    original = getattr(module, name)

    def note(*arguments: Any) -> Any:
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(module, name, note)
    return lambda: len(calls)


def test_our_own_keys_are_hidden_and_protected(tmp_path: Path) -> None:
    PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)
    log = PlyvelVoteLog(tmp_path / "votes", VOTES)
    assert log.probe_sync(5).samples == 5
    assert log.load() == {}
    with pytest.raises(AssertionError):
        log.write([Record(b"\x00identity", b"")])
    log.close()


def test_statistics_count_writes_and_time_syncs(tmp_path: Path) -> None:
    PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)
    log = PlyvelVoteLog(tmp_path / "votes", VOTES)
    assert log.statistics().sync_p99_us == 0
    log.write([Record(b"ab", b"cde"), Record(b"f", None)])
    statistics = log.statistics()
    assert (statistics.writes, statistics.records, statistics.written_bytes, statistics.syncs) == (1, 2, 6, 1)
    assert 0 < statistics.sync_p50_us <= statistics.sync_p99_us
    log.close()


def test_a_large_chain_is_read_only_where_it_was_written_last(tmp_path: Path) -> None:
    PlyvelChainStore.initialise(tmp_path / "chain", CHAIN)
    asked: list[bytes | None] = []

    def find_recent(store: PlyvelChainStore) -> list[tuple[bytes, bytes]]:
        asked.append(store.get(b"height"))
        return [(b"block", b"block0")]

    PlyvelChainStore(tmp_path / "chain", CHAIN, find_recent).close()
    assert asked == []
    PlyvelChainStore(tmp_path / "chain", CHAIN, find_recent, full_check_bytes=0).close()
    assert asked == [None]


def test_percentiles_are_nearest_rank() -> None:
    assert compute_percentile((), 50) == 0
    assert compute_percentile((7,), 99) == 7
    assert compute_percentile(range(1, 101), 99) == 99
    assert compute_percentile([4, 1, 3, 2], 50) == 2
