"""Random blocks under every invariant; replicas restored from records go on exactly like live ones."""

from __future__ import annotations

import random

import pytest

from shards.codes import ResultCode
from shards.receipts import decode_receipt
from tests.shards.random_workload import RandomWorkload, make_random_parameters
from tests.shards.toy_shard import ToyShard

BLOCKS = 220


@pytest.mark.parametrize("seed", range(4))
def test_every_invariant_holds_after_every_random_block(seed: int) -> None:
    shard = ToyShard(make_random_parameters())
    workload = RandomWorkload(seed, shard)
    codes: set[ResultCode] = set()
    for _ in range(BLOCKS):
        workload.run_block()
        assert shard.result is not None
        for receipt in shard.result.receipts:
            decoded = decode_receipt(receipt.encoded)
            codes.update((decoded.code, *decoded.action_codes))
    assert {ResultCode.OK, ResultCode.MARGIN, ResultCode.ROLLED_BACK, ResultCode.NOT_FILLED} <= codes


@pytest.mark.parametrize("seed", range(100, 103))
def test_a_replica_restored_at_any_height_computes_the_same_blocks(seed: int) -> None:
    shard = ToyShard(make_random_parameters())
    workload = RandomWorkload(seed, shard)
    rng = random.Random(seed)
    shadow = None
    for _ in range(BLOCKS):
        if shadow is None or rng.random() < 0.1:
            shadow = shard.make_application()
            records = list(shard.records.items())
            rng.shuffle(records)
            root = shadow.load(records)
            assert shard.result is None or root == shard.result.state_root
        workload.run_block()
        assert shadow.execute(shard.block) == shard.result
