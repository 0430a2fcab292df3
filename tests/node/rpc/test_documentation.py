"""``docs/api.md`` names every route, and its lists of codes are the ones in the code."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from node.rpc import limits
from node.rpc.app import RpcApplication
from node.rpc.errors import render_markdown
from node.rpc.service import NodeStatus
from shards.codes import EXPLANATIONS, ResultCode
from tests.node.rpc.fake_service import FakeService

TEXT = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    """What stands between the marks of a generated section."""
    found = re.search(rf"<!-- {name} -->\n(.*)\n<!-- /{name} -->", TEXT, re.DOTALL)
    assert found is not None, f"docs/api.md has no section {name}"
    return found.group(1)


def test_the_error_codes_are_those_of_the_code() -> None:
    assert section("error codes") == render_markdown()


def test_the_transaction_codes_are_those_of_the_code() -> None:
    rows = [f"| `{code.name}` | {code.value} | {EXPLANATIONS[code]} |" for code in ResultCode]
    assert section("transaction codes") == "\n".join(["| code | number | meaning |", "|---|---|---|", *rows])


def test_every_route_is_documented() -> None:
    application = RpcApplication(FakeService(), CollectorRegistry())
    for path in application.routes:
        shown = re.sub(r"\{(\w+):str\}", r"{\1}", path)
        assert f"`GET {shown}" in TEXT or f"`POST {shown}" in TEXT or f"WebSocket {shown}`" in TEXT, shown


def test_every_field_of_the_status_is_shown() -> None:
    for name in NodeStatus.__dataclass_fields__:
        assert f'"{name}":' in TEXT, name


def test_the_limits_are_those_of_the_code() -> None:
    assert f"`limit` (default {limits.DEFAULT_PAGE}, at most {limits.MAX_PAGE})" in TEXT
    assert f"{limits.MAX_BULK_TRANSACTIONS:,} transactions a request" in TEXT
    assert f"path with query {limits.MAX_TARGET_BYTES:,} bytes; {limits.MAX_CONNECTIONS} connections" in TEXT
    assert limits.MAX_BODY_BYTES == 1 << 20
