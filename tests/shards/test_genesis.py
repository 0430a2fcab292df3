"""The genesis configuration: read back as written, and refused with the name of what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from primitives.errors import LocalError
from shards.genesis import build_devnet_parameters, format_shard_parameters, parse_shard_parameters
from tests.shards.toy_shard import ToyShard, address_of, text_of


def build() -> dict[str, Any]:
    plain = format_shard_parameters(
        build_devnet_parameters(
            1, markets=["BTCUSDT", "ETHUSDT"], reporters=[address_of("oracle")], accounts={address_of("ann"): 5}
        )
    )
    written: dict[str, Any] = json.loads(json.dumps(plain))
    return written


def test_parameters_read_back_as_written() -> None:
    parameters = build_devnet_parameters(
        0, markets=["BTCUSDT"], reporters=[address_of("oracle")], faucet=address_of("faucet")
    )
    assert parse_shard_parameters(format_shard_parameters(parameters)) == parameters


def test_devnet_markets_have_the_units_of_the_exchange() -> None:
    markets = parse_shard_parameters(build()).markets
    assert [(market.symbol, market.quantums_per_tick_lot) for market in markets] == [
        ("BTCUSDT", 100),
        ("ETHUSDT", 10),
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda p: p.update(shards=1), "shards"),
        (lambda p: p["markets"][0].update(tick_size="0.0000001"), "whole number of quote quantums"),
        (lambda p: p["markets"][0].update(tick_size="x"), "tick_size"),
        (lambda p: p["markets"][0].update(tick_size="0"), "not positive"),
        (lambda p: p["markets"][0].update(maintenance_ppm=60_000), "below initial_ppm"),
        (lambda p: p["markets"][0].update(initial_ppm=2_000_000), "initial_ppm"),
        (lambda p: p["markets"][0].update(open_interest_lower=2**60), "open_interest_lower"),
        (lambda p: p["markets"][0].update(mark_band_ppm=500_000), "mark_band_ppm"),
        (lambda p: p["markets"][1].update(id=0), "there twice"),
        (lambda p: p["fees"].update(tiers=[{"taker_ppm": 100, "maker_ppm": -200}]), "below a rebate"),
        (lambda p: p["fees"].update(tiers=[]), "at least one tier"),
        (lambda p: p["oracle"].update(reporters=[]), "oracle.reporters"),
        (lambda p: p["oracle"].update(reporters=["0x12"]), "an address is"),
        (lambda p: p["accounts"].append({"address": text_of("ann")}), "there twice"),
        (lambda p: p["accounts"][0].update(fee_tier=9), "fee tier 9"),
        (lambda p: p["accounts"][0].update(balances=[1] * 17), "16 subaccounts"),
        (lambda p: p.update(faucet="nobody"), "faucet"),
    ],
)
def test_mistakes_are_named(change: Any, complaint: str) -> None:
    plain = build()
    change(plain)
    with pytest.raises(LocalError, match=complaint):
        parse_shard_parameters(plain)


def test_an_unknown_devnet_market_is_named() -> None:
    with pytest.raises(LocalError, match="DOGEUSDT"):
        build_devnet_parameters(0, markets=["DOGEUSDT"], reporters=[address_of("oracle")])


def test_balances_beyond_range_are_refused() -> None:
    plain = build()
    plain["accounts"][0]["balances"] = [2**61, 2**61]
    with pytest.raises(LocalError, match="add up to more"):
        ToyShard(parse_shard_parameters(plain))


@pytest.mark.parametrize(
    "records",
    [[], [(b"v", b"\xc1")], [(b"zzz", b"")], [(b"p" + bytes(23), b"\x94\x00\x00\x00\x90")]],
)
def test_records_that_are_no_state_are_refused(records: list[tuple[bytes, bytes]]) -> None:
    shard = ToyShard(parse_shard_parameters(build()))
    with pytest.raises(LocalError):
        shard.make_application().load(records)
