"""A batch that fails leaves every record, every queue and every index exactly as it was."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from shards.accounts import Account
from shards.execution import Outcome, execute_transaction
from shards.genesis import FeeParameters
from shards.records import encode_genesis
from shards.transactions import Cancel, Mode
from shards.venue import Venue
from tests.shards.random_workload import NAMES, RandomWorkload, make_random_parameters
from tests.shards.toy_shard import ToyShard, address_of


def picture(venue: Venue, sender: Account) -> dict[Any, Any]:
    """Every record but the sender's, whose nonce and fee are final, and what is derived with an order to it."""
    seen: dict[Any, Any] = dict(encode_genesis(venue))
    del seen[b"a" + sender.address]
    seen["sender"] = {
        index: (sub.cash, sub.min_place_nonce) for index, sub in sender.subaccounts.items() if sub.cash
    }
    for account in venue.accounts.values():
        for index, subaccount in account.subaccounts.items():
            for number, position in subaccount.positions.items():
                if position.size or position.orders:
                    seen[account.address, index, number] = (
                        position.size, position.cost, position.funding_index,
                        [(order.seq, order.open, order.total) for order in position.orders.values()],
                        sorted(position.client_ids), position.bid_notional, position.ask_notional,
                    )  # fmt: skip
    for market in venue.markets.values():
        for name, side in (("bids", market.bids), ("asks", market.asks)):
            seen[name, market.id] = [(price, level.lots, level.list_seqs()) for price, level in side.walk()]
    seen["indices"] = (sorted(venue.exposed), len(venue.expiries), venue.cash_total, len(venue.notices))
    return seen


@pytest.mark.parametrize("seed", range(3))
def test_a_failed_atomic_batch_changes_nothing(seed: int) -> None:
    # Fees of actions are kept by a failed batch, so here there are none.
    shard = ToyShard(replace(make_random_parameters(), fees=FeeParameters(action=0)))
    workload = RandomWorkload(seed, shard)
    rng = random.Random(seed)
    undone = 0
    for _ in range(120):
        workload.run_block()
        venue, machine = shard.venue, shard.application.machine
        name = rng.choice(NAMES)
        actions = [workload._action(name) for _ in range(rng.randint(1, 5))]
        transaction = shard.tx(name, *actions, Cancel(0, 999), mode=Mode.ATOMIC)
        sender = venue.accounts[address_of(name)]
        outcome = Outcome(transaction, 0)
        before = picture(venue, sender)
        execute_transaction(venue, machine, outcome)
        assert picture(venue, sender) == before
        undone += outcome.code.name == "UNKNOWN_ORDER"
    assert undone > 5
