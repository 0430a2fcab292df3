"""The rules of files that must survive: atomic, synced with their directory, never half there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from node import durable_files
from node.durable_files import create_directory, create_file, read_file, replace_file
from primitives.errors import LocalError


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files and directories that were synced, in order."""
    paths: list[str] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return paths


def test_a_created_file_is_synced_before_its_directory(tmp_path: Path, synced: list[str]) -> None:
    create_file(tmp_path / "key", b"secret", 0o600)
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert synced[1:] == [str(tmp_path)]
    assert Path(synced[0]).parent == tmp_path
    assert os.listdir(tmp_path) == ["key"]


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    create_file(tmp_path / "key", b"first", 0o600)
    with pytest.raises(LocalError, match="exists already and is never overwritten"):
        create_file(tmp_path / "key", b"second", 0o600)
    assert (tmp_path / "key").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["key"]


def test_a_failed_sync_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for write in (create_file, replace_file):
        with pytest.raises(LocalError, match="No space left on device"):
            write(tmp_path / "key", b"x", 0o600)
    assert os.listdir(tmp_path) == []


def test_a_replaced_file_holds_the_new_bytes(tmp_path: Path, synced: list[str]) -> None:
    replace_file(tmp_path / "config", b"first", 0o644)
    replace_file(tmp_path / "config", b"second", 0o644)
    assert (tmp_path / "config").read_bytes() == b"second"
    assert synced.count(str(tmp_path)) == 2


def test_each_new_directory_is_synced_into_its_parent(tmp_path: Path, synced: list[str]) -> None:
    create_directory(tmp_path / "a" / "b")
    create_directory(tmp_path / "a" / "b")
    assert synced == [str(tmp_path), str(tmp_path / "a")]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_impossible_places_are_local_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    with pytest.raises(LocalError, match="cannot create the directory"):
        create_directory(tmp_path / "file" / "below")
    with pytest.raises(LocalError, match="cannot write"):
        create_file(tmp_path / "missing" / "file", b"", 0o600)
    with pytest.raises(LocalError, match="cannot read"):
        read_file(tmp_path / "missing", 10)
    with pytest.raises(LocalError, match="more than 3 bytes"):
        read_file(tmp_path / "file", 3)


@pytest.mark.parametrize(
    ("modified_ns", "tick_us"),
    [
        (1_700_000_000_004_000_000, durable_files.FINE_TICK_US),
        (1_700_000_002 * 10**9, durable_files.COARSE_TICK_US),
    ],
)
def test_a_modification_time_is_believed_only_once_its_tick_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modified_ns: int, tick_us: int
) -> None:
    now_us = 0
    monkeypatch.setattr(durable_files, "monotonic_us", lambda: now_us)
    os.utime(tmp_path, ns=(0, modified_ns))
    watch = durable_files.DirectoryWatch(tmp_path)
    assert not watch.is_unchanged()
    now_us = tick_us
    assert not watch.is_unchanged(), "an entry of the same tick would not show"
    now_us += 1
    assert not watch.is_unchanged(), "what came late in that tick is found by listing once more"
    assert watch.is_unchanged()
    (tmp_path / "new").touch()
    assert not watch.is_unchanged()
