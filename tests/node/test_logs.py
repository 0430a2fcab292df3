"""The rules of logging: one form for everything, bounded values, no noise from libp2p."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from node import logs
from node.logs import MAX_VALUE_CHARACTERS, configure_logging, member_logger
from primitives.errors import LocalError


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    for name in ("libp2p", "async_service", "multiaddr"):
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


def test_json_lines_name_the_member_and_hold_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "wall_ms", lambda: 1_700_000_000_123)
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    member_logger("s0v1", "shard0").info("block certified", height=5, hash=b"\x01\x02")
    assert json.loads(stream.getvalue()) == {
        "event": "block certified",
        "member": "s0v1",
        "committee": "shard0",
        "height": 5,
        "hash": "0102",
        "level": "info",
        "time": "2023-11-14T22:13:20.123Z",
    }


def test_console_lines_are_short_and_start_with_time_and_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "wall_ms", lambda: 1_700_000_000_123)
    stream = io.StringIO()
    configure_logging("info", "console", stream=stream)
    member_logger("bv2", "beacon").warning("view changed", view=3)
    assert stream.getvalue() == "22:13:20.123 [warning  ] bv2   view changed           view=3\n"


def test_less_severe_events_cost_nothing_and_say_nothing() -> None:
    stream = io.StringIO()
    configure_logging("warning", "json", stream=stream)
    logger = member_logger("s0v1", "shard0")
    logger.info("quiet")
    logger.error("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_values_are_bounded() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    logger = member_logger("s0v1", "shard0")
    logger.info("x" * 9_999, payload=bytes(5_000), items=list(range(5_000)), table={"a": "b" * 9_999})
    line = json.loads(stream.getvalue())
    assert len(line["payload"]) == 65
    assert {len(line[name]) for name in ("event", "items", "table")} == {MAX_VALUE_CHARACTERS + 1}


def test_warnings_of_libraries_take_the_same_form_and_libp2p_is_silent() -> None:
    stream = io.StringIO()
    configure_logging("debug", "json", stream=stream)
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("trouble with %s", "x")
    logging.getLogger("libp2p.network.swarm").critical("traceback, traceback")
    (line,) = stream.getvalue().splitlines()
    assert (json.loads(line)["event"], json.loads(line)["level"]) == ("trouble with x", "warning")


def test_exceptions_are_one_json_line() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream)
    try:
        raise LocalError("disk")
    except LocalError:
        member_logger("s0v1", "shard0").exception("stopped")
    (line,) = stream.getvalue().splitlines()
    assert "LocalError: disk" in json.loads(line)["exception"]


def test_configuring_again_replaces_the_sink() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging("info", "json", stream=first)
    logger = member_logger("s0v1", "shard0")
    configure_logging("info", "console", stream=second)
    logger.info("again")
    assert first.getvalue() == ""
    assert "again" in second.getvalue()


def test_files_are_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 2_000)
    configure_logging("info", "json", tmp_path / "node.log")
    logger = member_logger("s0v1", "shard0")
    for number in range(100):
        logger.info("line", number=number)
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert set(sizes) == {"node.log", "node.log.1"}
    assert max(sizes.values()) <= 2_000


def test_a_log_file_in_no_directory_is_a_local_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot write the log file"):
        configure_logging("info", "json", tmp_path / "missing" / "node.log")
