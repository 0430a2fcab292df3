"""An engine from a package of somebody else: installed beside Rialto, checked by its suite, running a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shards.transactions import SETTLEMENT_ASSET, Transfer
from testnet.conformance.suite import RULES
from tests.integration.live_network import LEAST_AMOUNT, LiveNetwork, open_traders, run_rialto, wait_true

pytestmark = pytest.mark.process

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "engine-package"
TOPOLOGY = """
[beacon]
validators = 1
engine_parameters = { leader_schedule = "sticky" }
[[shards]]
engine = "oneshot"
engine_parameters = { leader_schedule = "shuffled", pacemaker = "impatient" }
"""
BLOCKS = 5
CHECK_DEADLINE_S = 300
"""The whole suite takes ten seconds of CPU."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package, built from a copy and without a network."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target"]
    subprocess.run(
        [sys.executable, "-m", "pip", *install, str(folder / "site"), str(folder / "source")],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    return folder / "site"


@pytest.fixture
async def live(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveNetwork]:
    """Not up yet; its processes find the package."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    network = LiveNetwork(tmp_path.resolve(), "outside")
    yield network
    await network.end()


async def test_a_network_runs_an_engine_from_outside(live: LiveNetwork) -> None:
    file = live.root / "topology.toml"
    file.write_text(TOPOLOGY)
    await live.up("--topology", str(file))
    engines = {name: row["engine"] for name, row in (await live.status()).items()}
    assert engines == {"s0v0": "oneshot", "s0v1": "oneshot", "s0v2": "oneshot", "s0v3": "oneshot", "bv0": "pbft"}
    async with live.client("s0v1") as client:
        status = await client.status()
        chosen = [status[name] for name in ("engine", "leader_schedule", "pacemaker")]
        assert chosen == ["oneshot", "shuffled", "impatient"]
        (trader,) = await open_traders(live.network, client, 0, 1)
        before = status["certified_height"]
        for _ in range(BLOCKS):
            assert (await trader.send(client, *_pay(live))).code == "OK"
        assert (await client.status())["certified_height"] >= before + BLOCKS
        (await live.testnet("kill", "s0v0")).check()
        assert (await trader.send(client, *_pay(live))).code == "OK", "with one of four dead"
        (await live.testnet("restart", "s0v0")).check()

        async def is_back() -> bool:
            rows = await live.status()
            return rows["s0v0"]["height"] == rows["s0v1"]["height"] and rows["s0v0"]["engine"] == "oneshot"

        await wait_true(is_back, "the killed member has the others' height")
    async with live.client("bv0") as client:
        assert (await client.status())["leader_schedule"] == "sticky"


def _pay(live: LiveNetwork) -> tuple[Transfer, ...]:
    recipient = live.network.accounts_of(0)[-1].address
    return (Transfer(recipient, 0, SETTLEMENT_ASSET, LEAST_AMOUNT),)


async def test_the_command_lists_and_checks_an_engine_from_outside(tmp_path: Path, site: Path) -> None:
    variables = {"PYTHONPATH": str(site)}
    listed = (await run_rialto("engine", "list", "--json", root=tmp_path, variables=variables)).check().json
    assert "oneshot" in listed["engines"] and "sticky" in listed["leader_schedules"]
    assert "impatient" in listed["pacemakers"]
    done = await run_rialto(
        "engine", "check", "oneshot", "--json", root=tmp_path, variables=variables, deadline_s=CHECK_DEADLINE_S
    )
    report = done.check().json
    assert report["ok"] and [result["rule"] for result in report["results"]] == list(RULES)
    chosen = ("--leader-schedule", "sticky", "--pacemaker", "impatient", "--rule", "any-member-may-be-dead")
    (await run_rialto("engine", "check", "pbft", *chosen, root=tmp_path, variables=variables)).check()


async def test_what_is_not_installed_cannot_be_checked(tmp_path: Path) -> None:
    line = (await run_rialto("engine", "check", "oneshot", root=tmp_path)).refusal()
    assert "no consensus engine 'oneshot'; installed: " in line and "pbft" in line
    line = (await run_rialto("engine", "check", "pbft", "--rule", "be-nice", root=tmp_path)).refusal()
    assert "no rule 'be-nice'; there are: everything-is-ordered-once, " in line
