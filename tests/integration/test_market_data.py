"""Recorded exchange data trades on real processes in real time, one market a shard; else a synthetic recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from testnet.workloads.market_terms import find_market
from testnet.workloads.synthetic import write_recording
from tests.integration.live_network import LiveNetwork

pytestmark = pytest.mark.process
RECORDED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "market"
FILES = ("btcusdt_20240808.gz", "ethusdt_20240808.gz")
SECONDS = 20
MAX_BACKLOG_S = 5


def choose_recordings(live: LiveNetwork, folder: Path) -> list[Path]:
    """The real recordings where they are; a clone without them trades what we made up, in the same format."""
    real = [RECORDED / name for name in FILES]
    if all(path.exists() for path in real):
        return real
    made: list[Path] = []
    for number, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        made.append(folder / f"{symbol}.gz")
        write_recording(made[-1], find_market(live.network.genesis, symbol), seconds=SECONDS + 10, seed=number)
    return made


async def test_recorded_streams_trade_in_real_time_on_two_shards(live: LiveNetwork, tmp_path: Path) -> None:
    files = [part for path in choose_recordings(live, tmp_path) for part in ("--file", str(path))]
    outcome = await live.testnet(
        "load", "--workload", "market-data", *files, "--duration", str(SECONDS), "--speed", "1",
        "--depth-bps", "10", "--json",
    )  # fmt: skip
    result = outcome.check().json
    assert result["certified"] > 0
    assert result["unknown"] == 0
    assert result["details"]["backlog_s_end"] < MAX_BACKLOG_S, result["details"]
    async with live.client("s0v0") as bitcoin, live.client("s1v0") as ether:
        for client, symbol in ((bitcoin, "BTCUSDT"), (ether, "ETHUSDT")):
            market = await client.market(symbol)
            assert market["last_ticks"], f"{symbol} never traded"
    checked = await live.testnet("check", "--json")
    assert checked.json["ok"], checked.json
