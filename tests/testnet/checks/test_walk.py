"""What the checks read, and what they say of what nobody could give them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from testnet.checks.sources import Sources
from testnet.checks.walk import ChainIndex, read_transactions


async def test_pruned_blocks_are_counted_however_far_the_chain_grew_meanwhile() -> None:
    async def read_none(text: str, items: list[Any], work: Any) -> list[Any]:
        assert items == []
        return []

    network = SimpleNamespace(venues=(0, 1), chain=bytes(32))
    certified = {0: 10, 1: 4}
    sources = SimpleNamespace(network=network, certified_height=certified.__getitem__, map=read_none)
    index = ChainIndex(counts={0: dict.fromkeys(range(4, 20), 0), 1: dict.fromkeys(range(1, 9), 0)})
    found = await read_transactions(cast("Sources", sources), index)
    assert found.unread == {0: 3}
    remark = found.describe_unread()
    assert remark is not None
    assert "3 of shard0" in remark
