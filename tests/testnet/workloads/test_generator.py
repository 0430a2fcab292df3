"""The generator's accounts: every transaction ends certified, failed or unknown, whatever the members do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from primitives.errors import LocalError
from shards.transactions import Action, CancelAll, OracleReport
from testnet.directory import Network
from testnet.progress import SilentProgress
from testnet.workloads.generator import Pace, run_workload
from testnet.workloads.options import LoadResult
from testnet.workloads.plan import FundingNeed, Lane, PlannedTransaction
from testnet.workloads.preparation import AccountStates, plan_clearing
from testnet.workloads.session import Surroundings
from tests.testnet.workloads.fake_shards import FakeNetwork, read_nonce

RATE = 50.0
DURATION_S = 10.0
PACE = Pace(DURATION_S, 2.0)
FIXED_WALL_MS = 1_700_000_000_000


@dataclass(slots=True)
class SteadyWorkload:
    """``RATE`` transactions a second to each shard, by one account on each."""

    network: Network
    is_paced: bool = True
    prices: Mapping[int, int] = field(default_factory=dict)
    needed_cash: int = 1
    actions: tuple[Action, ...] = (CancelAll(),)
    ordered: bool = False
    outcomes: list[tuple[PlannedTransaction, str]] = field(default_factory=list)

    def list_needs(self) -> Sequence[FundingNeed]:
        return [FundingNeed(shard, self._account(shard), self.needed_cash) for shard in self.network.shards]

    def derive_seeds(self) -> Mapping[bytes, bytes]:
        return {}

    def build_lanes(self) -> Sequence[Lane]:
        return [Lane(str(shard), self._generate(shard)) for shard in self.network.shards]

    def compute_oracle_prices(self, shard: int, elapsed_s: float) -> Mapping[int, int]:
        return self.prices

    def list_topics(self, shard: int) -> Sequence[str]:
        return ()

    def on_message(self, shard: int, message: Mapping[str, Any]) -> None:
        raise AssertionError("nothing is subscribed")

    def on_outcome(self, plan: PlannedTransaction, code: str) -> None:
        self.outcomes.append((plan, code))

    def describe(self) -> dict[str, Any]:
        return {"steady": True}

    def _account(self, shard: int) -> bytes:
        return self.network.accounts_of(shard)[0].address

    def _generate(self, shard: int) -> Iterator[PlannedTransaction]:
        number = 0
        while True:
            due_s = number / RATE if self.is_paced else None
            yield PlannedTransaction(due_s, shard, self._account(shard), self.actions)
            number += 1


async def load(
    network: Network,
    workload: SteadyWorkload,
    fake: FakeNetwork,
    *disturbances: Callable[[], Awaitable[None]],
    pace: Pace = PACE,
) -> LoadResult:
    """Run the load while blocks are certified and the disturbances happen."""
    surroundings = Surroundings(
        now=trio.current_time,
        wall_ms=lambda: FIXED_WALL_MS + int(trio.current_time() * 1_000),
        connect=fake.connect,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fake.wait_and_certify)
        for disturb in disturbances:
            nursery.start_soon(disturb)
        result = await run_workload(network, workload, pace, SilentProgress(), surroundings)
        nursery.cancel_scope.cancel()
    assert result.submitted == result.certified + result.failed + result.unknown
    return result


def expect_steady(result: LoadResult) -> None:
    assert result.submitted == pytest.approx(2 * RATE * DURATION_S, abs=4)


async def test_a_healthy_network_certifies_everything(network: Network, autojump_clock: object) -> None:
    workload = SteadyWorkload(network)
    result = await load(network, workload, FakeNetwork(network))
    expect_steady(result)
    assert (result.failed, result.unknown) == (0, 0)
    assert result.tx_per_s == pytest.approx(2 * RATE, rel=0.05)
    assert 0 < result.latency_ms.p50 < 200
    assert result.latency_ms.max < 400
    assert len(workload.outcomes) == result.certified
    assert sum(second.certified for second in result.series) == result.certified


async def test_the_result_has_the_shape_that_the_command_prints(network: Network, autojump_clock: object) -> None:
    plain = (await load(network, SteadyWorkload(network), FakeNetwork(network))).to_json()
    assert list(plain) == [
        "submitted",
        "certified",
        "failed",
        "unknown",
        "tx_per_s",
        "actions_per_s",
        "latency_ms",
        "cpu_us_per_action",
        "uss_mb_max",
        "details",
    ]
    assert list(plain["latency_ms"]) == ["p50", "p90", "p99", "max"]
    assert {"backlog_s_max", "receipt_codes", "sync_p50_us", "slots_per_s"} <= plain["details"].keys()


async def test_latency_runs_from_the_intended_send_time(network: Network, autojump_clock: object) -> None:
    """Three seconds without certificates delay everybody that was due in them, sent in time or not."""
    fake = FakeNetwork(network)

    async def wait_and_stall() -> None:
        await trio.sleep(4)
        for chain in fake.chains.values():
            chain.stalled = True
        await trio.sleep(3)
        for chain in fake.chains.values():
            chain.stalled = False

    result = await load(network, SteadyWorkload(network), fake, wait_and_stall, pace=Pace(DURATION_S, 2.0, 20))
    assert result.certified == result.submitted
    assert result.latency_ms.max == pytest.approx(3_000, rel=0.2)
    # Three of eight measured seconds: p90 lies well inside the stall although only 20 were in flight meanwhile.
    assert result.latency_ms.p90 > 1_500


async def test_a_killed_member_costs_nothing_but_time(network: Network, autojump_clock: object) -> None:
    """What it had accepted is sent to another; its stream is replaced, and the blocks in between are read."""
    fake = FakeNetwork(network)
    victim = fake.members["s0v0"]

    async def wait_and_kill() -> None:
        await trio.sleep(5.05)
        victim.die()

    result = await load(network, SteadyWorkload(network), fake, wait_and_kill)
    expect_steady(result)
    assert victim.received
    assert result.certified == result.submitted


async def test_what_a_member_forgets_is_sent_again(network: Network, autojump_clock: object) -> None:
    fake = FakeNetwork(network)
    fake.members["s1v1"].forgetful = True
    result = await load(network, SteadyWorkload(network), fake)
    assert result.details["resent"] > 0
    assert result.certified == result.submitted


async def test_nobody_to_ask_leaves_transactions_unknown(network: Network, autojump_clock: object) -> None:
    fake = FakeNetwork(network)

    async def wait_and_kill() -> None:
        await trio.sleep(5.05)
        for member in fake.chains[1].members:
            member.die()

    result = await load(network, SteadyWorkload(network), fake, wait_and_kill)
    assert result.unknown > 0
    assert result.certified >= RATE * DURATION_S
    assert result.details["refusals"].keys() <= {"UNREACHABLE"}


async def test_a_refusal_for_good_is_a_failure(network: Network, autojump_clock: object) -> None:
    fake = FakeNetwork(network)
    for member in fake.members.values():
        member.refuse = lambda data: "EXPIRED" if read_nonce(data) % 10 == 0 else None
    result = await load(network, SteadyWorkload(network), fake)
    assert result.failed == pytest.approx(result.submitted / 10, abs=3)
    assert result.details["refusals"] == {"EXPIRED": result.failed}
    assert result.unknown == 0


async def test_a_busy_member_is_tried_again_and_others_too(network: Network, autojump_clock: object) -> None:
    fake = FakeNetwork(network)
    fake.members["s0v0"].refuse = lambda _: "BUSY"
    result = await load(network, SteadyWorkload(network), fake)
    assert result.certified == result.submitted
    assert not fake.members["s0v0"].received


async def test_a_receipt_with_a_failure_is_certified_all_the_same(network: Network, autojump_clock: object) -> None:
    fake = FakeNetwork(network)
    for chain in fake.chains.values():
        chain.judge = lambda _: "MARGIN"
    workload = SteadyWorkload(network)
    result = await load(network, workload, fake)
    assert result.certified == result.submitted
    assert result.details["receipt_codes"] == {"MARGIN": result.certified}
    assert {code for _, code in workload.outcomes} == {"MARGIN"}


async def test_a_closed_loop_keeps_its_window_full(network: Network, autojump_clock: object) -> None:
    window = 30
    workload = SteadyWorkload(network, is_paced=False)
    result = await load(network, workload, FakeNetwork(network), pace=Pace(5.0, 1.0, window))
    # One window a block at best, on each of two shards.
    assert 2 * window * 4 < result.tx_per_s <= 2 * window * 11
    assert result.certified == result.submitted


async def test_reports_go_out_every_quarter_second_and_count_for_nothing(
    network: Network, autojump_clock: object
) -> None:
    fake = FakeNetwork(network)
    reports: list[int] = []

    def note(data: bytes) -> str:
        import msgspec

        from shards.transactions import Envelope

        envelope = msgspec.msgpack.decode(data, type=Envelope)
        if isinstance(envelope.actions[0], OracleReport):
            reports.append(envelope.actions[0].observations[0].observed_ms)
        return "OK"

    fake.chains[0].judge = note
    result = await load(network, SteadyWorkload(network, prices={0: 600_000}), fake)
    expect_steady(result)
    times = sorted(set(reports))
    assert {later - earlier for earlier, later in zip(times, times[1:], strict=False)} == {250}
    assert len(reports) == pytest.approx(3 * 4 * DURATION_S, rel=0.1)
    assert result.details["oracle_reports"]["certified"] >= 2 * len(reports) * 0.9


async def test_missing_funds_are_minted_before_the_load(network: Network, autojump_clock: object) -> None:
    fake = FakeNetwork(network)
    result = await load(network, SteadyWorkload(network, needed_cash=10**16), fake)
    assert len(fake.chains[0].executed) == len(fake.chains[1].executed) == result.certified // 2 + 1


async def test_a_network_that_is_down_is_one_clear_line(network: Network, autojump_clock: object) -> None:
    fake = FakeNetwork(network)
    for member in fake.members.values():
        member.die()
    with pytest.RaisesGroup(LocalError, allow_unwrapped=True, flatten_subgroups=True) as caught:
        await load(network, SteadyWorkload(network), fake)
    assert "is the network up" in str(
        caught.value.exceptions if isinstance(caught.value, ExceptionGroup) else caught.value
    )


def test_orders_that_an_earlier_load_left_are_cancelled_first(network: Network) -> None:
    """In every subaccount of the load's accounts, also one that this load does not use."""
    states = AccountStates({}, SilentProgress())
    account = network.accounts_of(0)[0].address
    resting = {"positions": [{"orders": [{"client_id": 1}]}]}
    states.views[0, account] = {
        "subaccounts": [{"index": 0, "positions": [{"orders": []}]}, {"index": 1, **resting}, {"index": 2}]
    }
    (plan,) = plan_clearing(states)
    assert (plan.shard, plan.account, plan.subaccount, plan.actions) == (0, account, 1, (CancelAll(),))
