"""Every result code is reached by some test of this package."""

from __future__ import annotations

import pathlib
import re

from shards.codes import ResultCode


def test_every_code_is_asserted_somewhere() -> None:
    here = pathlib.Path(__file__).parent
    text = "".join(path.read_text() for path in sorted(here.glob("test_*.py")) if path != pathlib.Path(__file__))
    named = set(re.findall(r'ResultCode\.([A-Z_]+)|"([A-Z_]+)"', text))
    reached = {first or second for first, second in named}
    assert {code.name for code in ResultCode} - reached == {
        "BAD_ADDRESS"
    }  # held by tests of primitives.identifiers
