"""Agents follow from their seed, keep to the asked number of actions, and play their parts."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from primitives.errors import LocalError
from shards.transactions import Cancel, CrossTransfer, Place, SubaccountTransfer
from testnet.directory import Network
from testnet.workloads.options import LoadOptions
from testnet.workloads.plan import PlannedTransaction
from testnet.workloads.population import TRADING_MIX, AgentMix, AgentWorkload, open_agents
from testnet.workloads.price_paths import GAP_BPS, STEP_S, PricePath

OPTIONS = LoadOptions("agents", rate=100.0, seed=5)


def plan(network: Network, options: LoadOptions, count: int, **parts: AgentMix) -> list[list[PlannedTransaction]]:
    workload = AgentWorkload(network, options, 1, **parts)
    return [list(islice(lane.plans, count)) for lane in workload.build_lanes()]


def test_the_same_seed_plans_the_same_load(network: Network) -> None:
    first = plan(network, OPTIONS, 300)
    assert first == plan(network, OPTIONS, 300)
    assert first != plan(network, replace(OPTIONS, seed=6), 300)


def test_due_times_grow_at_the_asked_rate(network: Network) -> None:
    for lane in plan(network, OPTIONS, 2_000):
        times = [planned.due_s or 0.0 for planned in lane]
        assert times == sorted(times)
        # Half of 100 a second on each of two shards; a Poisson process of 2,000 is within a tenth.
        assert times[-1] == pytest.approx(2_000 / 50, rel=0.1)


def test_without_a_rate_everything_is_due_at_once(network: Network) -> None:
    (lane, _) = plan(network, replace(OPTIONS, rate=0.0), 50)
    assert {planned.due_s for planned in lane} == {None}


@pytest.mark.parametrize("size", [1, 2, 10, 32])
def test_makers_and_takers_send_exactly_the_asked_number_of_actions(network: Network, size: int) -> None:
    for lane in plan(network, replace(OPTIONS, actions_per_tx=size), 400, mix=TRADING_MIX):
        assert {len(planned.actions) for planned in lane} == {size}


def test_a_maker_never_has_too_many_orders_and_cancels_only_its_own(network: Network) -> None:
    open_orders: dict[tuple[int, bytes], set[int]] = {}
    for lane in plan(network, replace(OPTIONS, actions_per_tx=8), 3_000, mix=TRADING_MIX):
        for planned in lane:
            mine = open_orders.setdefault((planned.shard, planned.account), set())
            for action in planned.actions:
                if isinstance(action, Cancel):
                    mine.remove(action.client_id)
                elif isinstance(action, Place) and action.client_id:
                    assert action.client_id not in mine
                    mine.add(action.client_id)
            assert len(mine) <= 200


def test_hedgers_trade_on_two_shards_and_move_collateral_both_ways(network: Network) -> None:
    lanes = plan(network, OPTIONS, 2_000)
    crossings = [
        (planned.shard, action.destination, planned.account)
        for lane in lanes
        for planned in lane
        for action in planned.actions
        if isinstance(action, CrossTransfer)
    ]
    assert {(source, destination) for source, destination, _ in crossings} == {(0, 1), (1, 0)}
    hedgers = {account for _, _, account in crossings}
    for hedger in hedgers:
        shards = {
            p.shard for lane in lanes for p in lane if p.account == hedger and isinstance(p.actions[0], Place)
        }
        assert shards == {0, 1}
    needs = AgentWorkload(network, OPTIONS, 1).list_needs()
    for hedger in hedgers:
        assert {need.shard for need in needs if need.account == hedger} == {0, 1}


def test_gamblers_stake_and_then_bet_it(network: Network) -> None:
    for lane in plan(network, OPTIONS, 2_000):
        stakes = [p for p in lane if isinstance(p.actions[0], SubaccountTransfer)]
        bets = [p for p in lane if p.subaccount == 1]
        assert stakes and bets
        assert {p.account for p in bets} <= {p.account for p in stakes}


def test_a_rate_of_nothing_is_refused(network: Network) -> None:
    with pytest.raises(LocalError, match="--rate"):
        open_agents(network, replace(OPTIONS, rate=0.0), 1)


def test_prices_follow_from_the_seed_whatever_is_asked_first() -> None:
    path, other = PricePath(1, "BTCUSDT", 600_000), PricePath(1, "BTCUSDT", 600_000)
    late = path.compute_price(60)
    times = [step * STEP_S for step in range(241)]
    assert [other.compute_price(time) for time in times] == [path.compute_price(time) for time in times]
    assert other.compute_price(60) == late
    assert PricePath(2, "BTCUSDT", 600_000).compute_price(60) != late


def test_prices_have_gaps_that_liquidate_and_stay_near_their_start() -> None:
    path = PricePath(1, "BTCUSDT", 600_000)
    prices = [path.compute_price(step * STEP_S) for step in range(2_400)]
    steps = [abs(later - earlier) * 10_000 / earlier for earlier, later in zip(prices, prices[1:], strict=False)]
    assert max(steps) > GAP_BPS * 0.8
    assert min(prices) > 480_000 and max(prices) < 720_000
    calm = PricePath(1, "BTCUSDT", 600_000, is_calm=True)
    assert {calm.compute_price(time) for time in range(100)} == {600_000}
