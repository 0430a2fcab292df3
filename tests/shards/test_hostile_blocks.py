"""Whatever passes the decoder, a block executes: an exception would halt every replica at the same height."""

from __future__ import annotations

import random

import pytest

from shards.codes import ResultCode
from shards.receipts import decode_receipt
from tests.shards.hostile_workload import HostileWorkload, make_hostile_parameters
from tests.shards.toy_shard import ToyShard

BLOCKS = 70
SEEDS = (3, 6, 7, 14)
"""Seeds at which funding indices, receipts of liquidations or sums of cash left their range before."""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_hostile_block_raises_or_splits_a_restored_replica(seed: int) -> None:
    shard = ToyShard(make_hostile_parameters(seed))
    workload = HostileWorkload(seed, shard)
    rng = random.Random(seed)
    shadow = shard.make_application()
    codes: set[ResultCode] = set()
    for _ in range(BLOCKS):
        if rng.random() < 0.1:
            shadow = shard.make_application()
            shadow.load(list(shard.records.items()))
        workload.run_block()
        assert shard.result is not None and shadow.execute(shard.block) == shard.result
        for receipt in shard.result.receipts:
            decoded = decode_receipt(receipt.encoded)
            codes.update((decoded.code, *decoded.action_codes))
    assert {ResultCode.OK, ResultCode.MARGIN, ResultCode.NONCE_TOO_FAR, ResultCode.UNKNOWN_MARKET} <= codes
