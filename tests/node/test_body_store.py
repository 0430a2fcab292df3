"""Large bodies beside the databases: written once, synced before any pointer to them, gone with the last one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from consensus.engine import Record
from node import body_segments
from node.body_segments import BodySegments, decode_pointer
from node.body_store import LEAST_BYTES, BodyChainStore, BodyVoteLog
from node.database_identity import DatabaseIdentity, DatabaseKind
from node.plyvel_store import PlyvelChainStore, PlyvelVoteLog
from primitives.errors import LocalError

VOTES = DatabaseIdentity(DatabaseKind.VOTES, b"\x01" * 32, 0, "validator", b"\x02" * 32)
CHAIN = DatabaseIdentity(DatabaseKind.CHAIN, b"\x01" * 32, 0, "validator", b"\x02" * 32)
LARGE = bytes(range(256)) * (LEAST_BYTES // 256)
KEY = b"b" + b"\x0a" * 32
OTHER = b"b" + b"\x0b" * 32


@dataclass
class Home:
    """One member's storage, opened as ``node.home`` opens it."""

    path: Path
    raw_votes: PlyvelVoteLog
    raw_chain: PlyvelChainStore
    segments: BodySegments
    votes: BodyVoteLog
    chain: BodyChainStore

    def close(self) -> None:
        self.raw_votes.close()
        self.raw_chain.close()
        self.segments.close()

    def list_segments(self) -> list[str]:
        return sorted(os.listdir(self.path / "bodies"))


def open_storage(path: Path) -> Home:
    raw_votes = PlyvelVoteLog(path / "votes", VOTES)
    raw_chain = PlyvelChainStore(path / "chain", CHAIN, lambda _: ())
    try:
        segments = BodySegments(path / "bodies")
        votes = BodyVoteLog(raw_votes, segments)
        chain = BodyChainStore(raw_chain, votes, segments)
    except BaseException:
        raw_votes.close()
        raw_chain.close()
        raise
    segments.sweep()
    return Home(path, raw_votes, raw_chain, segments, votes, chain)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    PlyvelVoteLog.initialise(tmp_path / "votes", VOTES)
    PlyvelChainStore.initialise(tmp_path / "chain", CHAIN)
    opened = open_storage(tmp_path)
    yield opened
    opened.close()


def reopen(home: Home) -> Home:
    home.close()
    return open_storage(home.path)


def test_a_pinned_body_that_becomes_part_of_the_chain_is_written_once(home: Home) -> None:
    home.votes.write([Record(KEY, LARGE), Record(b"p1", b"payload")])
    home.chain.write([Record(KEY, LARGE), Record(b"h1", b"header")], sync=True)
    home.votes.write([Record(KEY, None)])
    assert home.segments.size_bytes == len(LARGE)
    assert home.chain.get(KEY) == LARGE
    assert dict(home.chain.scan(b"a", b"z")) == {KEY: LARGE, b"h1": b"header"}
    assert len(home.raw_chain.get(KEY) or b"") < 32
    again = reopen(home)
    assert again.chain.get(KEY) == LARGE
    assert again.votes.load() == {b"p1": b"payload"}
    again.close()


def test_small_bodies_and_other_keys_stay_in_the_databases(home: Home) -> None:
    small = LARGE[:-1]
    home.votes.write([Record(KEY, small), Record(b"p1", LARGE)])
    home.chain.write([Record(KEY, small), Record(b"s1", LARGE)])
    assert home.list_segments() == []
    assert home.votes.load() == {KEY: small, b"p1": LARGE}
    assert home.raw_chain.get(KEY) == small and home.raw_chain.get(b"s1") == LARGE


def test_small_bodies_that_are_large_together_are_kept_apart(home: Home) -> None:
    first, second = LARGE[: LEAST_BYTES // 2], LARGE[LEAST_BYTES // 2 :]
    home.votes.write([Record(KEY, first), Record(OTHER, second)])
    home.chain.write([Record(KEY, first)])
    home.chain.write([Record(OTHER, second)])
    assert home.segments.size_bytes == LEAST_BYTES
    assert len(home.raw_chain.get(KEY) or b"") < 32 > len(home.raw_chain.get(OTHER) or b"")
    again = reopen(home)
    assert again.votes.load() == {KEY: first, OTHER: second} == dict(again.chain.scan(b"a", b"z"))
    again.close()


def test_a_body_under_another_signature_is_kept_apart(home: Home) -> None:
    twin = b"\x00" + LARGE[1:]
    home.votes.write([Record(KEY, LARGE)])
    home.chain.write([Record(KEY, twin)])
    assert home.chain.get(KEY) == twin
    assert home.votes.load()[KEY] == LARGE


def test_bodies_are_synced_before_anything_points_to_them(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real_sync = os.fdatasync
    monkeypatch.setattr(body_segments.os, "fdatasync", lambda file: (calls.append("sync"), real_sync(file)))
    home.votes.write([Record(KEY, LARGE)])
    assert calls == ["sync"]
    home.chain.write([Record(KEY, LARGE)])
    assert calls == ["sync"], "what is pinned is durable already"
    home.chain.write([Record(OTHER, LARGE)])
    assert calls == ["sync", "sync"], "also where the chain's own batch is not synced"


def test_what_a_crash_left_between_a_body_and_its_pointer_goes_at_the_next_start(home: Home) -> None:
    home.votes.write([Record(KEY, LARGE)])
    home.segments.append(LARGE)
    again = reopen(home)
    again.votes.write([Record(OTHER, LARGE)])
    assert again.list_segments() == ["00000001.segment", "00000002.segment"]
    again.votes.write([Record(KEY, None), Record(OTHER, None)])
    last = reopen(again)
    last.votes.write([Record(KEY, LARGE)])
    assert last.list_segments() == ["00000003.segment"], "nobody pointed into the others"
    assert last.votes.load() == {KEY: LARGE}
    last.close()


def test_a_segment_goes_with_its_last_pointer_and_not_before(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_segments, "SEGMENT_BYTES", len(LARGE))
    home.votes.write([Record(KEY, LARGE)])
    home.chain.write([Record(KEY, LARGE)], sync=True)
    home.votes.write([Record(OTHER, LARGE)])
    assert len(home.list_segments()) == 2
    home.votes.write([Record(KEY, None)])
    assert len(home.list_segments()) == 2, "the chain points there"
    home.chain.write([Record(KEY, None)])
    assert len(home.list_segments()) == 2, "a crash may bring that pointer back"
    home.chain.write([Record(b"h1", b"header")], sync=True)
    assert home.list_segments() == ["00000002.segment"]
    assert home.votes.load() == {OTHER: LARGE}


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_or_missing_body_is_refused_at_start(home: Home, damage: str) -> None:
    home.chain.write([Record(KEY, LARGE)], sync=True)
    home.close()
    path = home.path / "bodies" / "00000001.segment"
    if damage == "remove":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[1_000] ^= 1
        path.write_bytes(data if damage == "flip" else data[:-1])
    with pytest.raises(LocalError, match=r"00000001\.segment: (a body in it is damaged|cannot be read)"):
        open_storage(home.path)


def test_a_disk_that_refuses_once_is_never_asked_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(body_segments.os, "write", refuse)
    with pytest.raises(LocalError, match="No space left on device"):
        home.votes.write([Record(KEY, LARGE)])
    monkeypatch.undo()
    with pytest.raises(LocalError, match="a write failed before"):
        home.votes.write([Record(KEY, LARGE)])
    assert home.raw_votes.load() == {}


def test_only_whole_pointers_are_taken_for_pointers() -> None:
    for data in (b"", b"\xc1", b"\x92" + bytes(24), b"\xc1" + bytes(25)):
        assert decode_pointer(data) is None
