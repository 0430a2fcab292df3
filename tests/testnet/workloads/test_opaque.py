"""The opaque load: distinct records of the asked size, and nothing that a no-op shard does not have."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import trio
import trio.testing

from primitives.errors import LocalError
from shards.noop.records import compute_record_id
from testnet.directory import Network, read_network
from testnet.launch import prepare_network
from testnet.progress import SilentProgress
from testnet.topology import build_noop_topology
from testnet.workloads.generator import LEAST_WINDOW, OPEN_WINDOW, choose_window, open_workload
from testnet.workloads.ledger import Ledger
from testnet.workloads.opaque import OpaqueWorkload
from testnet.workloads.options import LoadOptions
from testnet.workloads.submission import MAX_REQUEST_BYTES, Door, Submitter
from testnet.workloads.wallets import Wallets
from tests.testnet.workloads.fake_shards import FakeChain, FakeClient, FakeMember

OPTIONS = LoadOptions("opaque", rate=100.0, payload_bytes=64, commands_per_batch=8)


@pytest.fixture(scope="module")
def noop_network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A no-op shard of one that was never started."""
    runs: Path = tmp_path_factory.mktemp("runs")
    topology = build_noop_topology(1, seed=1, command_bytes=64)
    return read_network(prepare_network("noop", topology, {"RIALTO_RUNS": str(runs)}, SilentProgress()))


def test_a_no_op_network_has_neither_venues_nor_beacon(noop_network: Network) -> None:
    assert (noop_network.shards, noop_network.venues, noop_network.committees) == ((0,), (), (0,))
    assert [account.role for account in noop_network.accounts] == ["faucet"]


def test_records_are_distinct_over_loads_and_as_large_as_asked(noop_network: Network) -> None:
    seen = set()
    for number in (1, 2):
        (lane,) = OpaqueWorkload(noop_network, OPTIONS, number).build_lanes()
        for plan in islice(lane.plans, 50):
            assert plan.opaque is not None and len(plan.opaque) == 512
            assert (plan.action_count, plan.shard) == (8, 0)
            seen.add(plan.opaque)
    assert len(seen) == 100


def test_with_a_rate_records_are_due_at_random_times_and_without_at_once(noop_network: Network) -> None:
    (lane,) = OpaqueWorkload(noop_network, OPTIONS, 1).build_lanes()
    due = [plan.due_s or 0.0 for plan in islice(lane.plans, 1_000)]
    assert due == sorted(due) and 8 < due[-1] < 12
    (closed,) = OpaqueWorkload(noop_network, replace(OPTIONS, in_flight=4), 1).build_lanes()
    assert all(plan.due_s is None for plan in islice(closed.plans, 10))


def test_records_are_sent_as_they_are(noop_network: Network) -> None:
    (lane,) = OpaqueWorkload(noop_network, OPTIONS, 1).build_lanes()
    plan = next(lane.plans)
    signed = Wallets(noop_network, {}, lambda: 0).sign(plan)
    assert signed.data == plan.opaque and signed.id == compute_record_id(signed.data).hex()
    ledger = Ledger((0.0, 10.0))
    ledger.open(signed, 1.0)
    ledger.certify(signed.id, "OK", 2.0)
    assert sum(ledger.measured_actions.values()) == 8


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"payload_bytes": 65}, "--payload-bytes: commands of shard 0 have 64 bytes, not 65"),
        ({"commands_per_batch": 4_097}, "--commands-per-batch: a record of shard 0 holds at most 4096 commands"),
        ({"payload_bytes": 1, "commands_per_batch": 8}, "a record has at least 24 bytes"),
        ({"rate": 0.0}, "--rate must be above 0"),
    ],
)
def test_what_the_shard_does_not_take_is_refused(
    noop_network: Network, changes: dict[str, int], complaint: str
) -> None:
    with pytest.raises(LocalError) as refused:
        open_workload(noop_network, replace(OPTIONS, **changes))
    assert complaint in str(refused.value)


def test_networks_and_loads_that_do_not_fit_are_refused(noop_network: Network, network: Network) -> None:
    with pytest.raises(LocalError, match="no no-op shard"):
        open_workload(network, OPTIONS)
    with pytest.raises(LocalError, match="only no-op shards"):
        open_workload(noop_network, LoadOptions("agents"))


def test_the_window_is_bounded_in_bytes() -> None:
    assert choose_window(OPTIONS) == OPEN_WINDOW
    assert choose_window(replace(OPTIONS, payload_bytes=256, commands_per_batch=1_024)) == 64
    assert choose_window(replace(OPTIONS, payload_bytes=65_536, commands_per_batch=64)) == LEAST_WINDOW
    assert choose_window(replace(OPTIONS, in_flight=3)) == 3


async def test_requests_are_bounded_in_bytes_and_leave_at_once(
    noop_network: Network, autojump_clock: object
) -> None:

    options = replace(OPTIONS, payload_bytes=64, commands_per_batch=2_048)
    (lane,) = OpaqueWorkload(noop_network, options, 1).build_lanes()
    wallets, ledger = Wallets(noop_network, {}, lambda: 0), Ledger((0.0, 10.0))
    member = FakeMember(FakeChain(0), "s0v0")
    sizes: list[int] = []

    class Recording(FakeClient):
        async def submit_transactions(self, transactions):  # type: ignore[no-untyped-def]
            sizes.append(sum(map(len, transactions)))
            return await super().submit_transactions(transactions)

    submitter = Submitter([Door("s0v0", Recording(member))], trio.current_time, is_ordered=False, gathering_s=0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(submitter.run)
        await trio.testing.wait_all_tasks_blocked()
        for plan in islice(lane.plans, 10):
            submitter.put(ledger.open(wallets.sign(plan), 0.0))
        started_s = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
        assert (sum(sizes), max(sizes)) == (10 * 131_072, MAX_REQUEST_BYTES)
        assert trio.current_time() == started_s
        nursery.cancel_scope.cancel()
