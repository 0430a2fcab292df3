"""Logs of several members as one stream."""

import json
from pathlib import Path

from testnet.directory import MemberEntry
from testnet.logs import LogFollower, format_line, parse_line, read_logs


def make_member(root: Path, index: int, *lines: str) -> MemberEntry:
    home = root / f"s0v{index}"
    home.mkdir()
    (home / "node.log").write_text("".join(line + "\n" for line in lines))
    return MemberEntry(f"s0v{index}", 0, index, home, None)


def make_line(second: int, event: str) -> str:
    return json.dumps({"time": f"2026-01-01T00:00:{second:02}.000Z", "level": "info", "event": event, "height": 4})


def test_logs_are_merged_by_time(tmp_path: Path) -> None:
    members = [
        make_member(tmp_path, 0, make_line(1, "a"), make_line(4, "d")),
        make_member(tmp_path, 1, make_line(2, "b"), "Traceback", "  File x", make_line(3, "c")),
    ]
    assert [line.fields["event"] for line in read_logs(members)] == ["a", "b", "Traceback", "  File x", "c", "d"]


def test_the_file_before_rotation_comes_first(tmp_path: Path) -> None:
    member = make_member(tmp_path, 0, make_line(2, "new"))
    (member.home / "node.log.1").write_text(make_line(1, "old") + "\n")
    assert [line.fields["event"] for line in read_logs([member])] == ["old", "new"]


def test_a_follower_sees_what_is_appended_and_survives_rotation(tmp_path: Path) -> None:
    member = make_member(tmp_path, 0, make_line(1, "before"))
    path = member.home / "node.log"
    follower = LogFollower([member])
    follower.skip_to_end()
    assert follower.read_new() == []
    with path.open("a") as file:
        file.write(make_line(2, "whole") + "\n" + make_line(3, "half")[:10])
    assert [line.fields["event"] for line in follower.read_new()] == ["whole"]
    with path.open("a") as file:
        file.write(make_line(3, "half")[10:] + "\n")
    assert [line.fields["event"] for line in follower.read_new()] == ["half"]
    path.rename(path.with_name("node.log.1"))
    path.write_text(make_line(4, "rotated") + "\n")
    assert [line.fields["event"] for line in follower.read_new()] == ["rotated"]


def test_a_line_for_people_holds_time_member_event_and_the_rest() -> None:
    text = format_line(parse_line("s0v1", make_line(7, "certified")), coloured=False)
    assert text.split() == ["00:00:07.000", "s0v1", "info", "certified", "height=4"]
