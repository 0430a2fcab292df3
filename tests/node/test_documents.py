"""The rules of reading what an operator wrote."""

from __future__ import annotations

from typing import Any

import pytest

from node.documents import Document, check_encodable, describe_unknown
from primitives.errors import LocalError


def test_every_key_that_nobody_asked_for_is_refused_with_the_nearest() -> None:
    document = Document("t.toml", {"shards": 2, "validatorr": 4}, "network")
    assert document.integer("shards", 1, 8) == 2
    assert not document.holds("validator")
    with pytest.raises(LocalError, match=r"t.toml: network: unknown key 'validatorr': did you mean 'validator'"):
        document.finish()


def test_tables_in_tables_know_their_place() -> None:
    document = Document("t.toml", {"shards": [{"name": "a"}, {"name": 1}]})
    tables = document.tables("shards")
    assert tables[0].text("name") == "a"
    with pytest.raises(LocalError, match=r"t.toml: shards\[1\].name: must be a string, not an integer"):
        tables[1].text("name")


def test_without_a_near_name_all_are_listed() -> None:
    assert describe_unknown("engine", "qqq", ["pbft", "hotstuff"]) == "unknown engine 'qqq': known: hotstuff, pbft"
    assert describe_unknown("engine", "qqq", []) == "unknown engine 'qqq': known: none"


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (1.5, "t: cannot hold a number with a fraction"),
        ({"a": [1, b"x"]}, r"t.a\[1\]: cannot hold a bytes"),
        ({1: "x"}, "t: keys must be strings, not 1"),
        ({"a": -(2**63)}, "t.a: must be below"),
        (["\udfff"], r"t\[0\]: is not valid Unicode"),
    ],
)
def test_what_has_no_canonical_encoding_is_refused(value: Any, complaint: str) -> None:
    with pytest.raises(LocalError, match=complaint):
        check_encodable("t", value)


def test_everything_else_is_encodable() -> None:
    check_encodable("t", {"a": [None, True, -(2**63) + 1, 2**63 - 1, "☂", {}]})
