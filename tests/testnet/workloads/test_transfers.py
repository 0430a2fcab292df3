"""Lists of transfers: what a row may hold, how values scale, where accounts live."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from primitives.errors import LocalError
from shards.genesis import QUOTE
from shards.transactions import CrossTransfer, Transfer
from testnet.directory import Network
from testnet.workloads.options import LoadOptions
from testnet.workloads.transfers import (
    MAX_SHARE,
    TYPICAL_QUOTES,
    TransferCounts,
    open_transfers,
    place_account,
    read_rows,
    scale_values,
)

GOOD = "hash,from,to,value\n0x1,0xAA,0xBB,5\n0x2,0xBB,0xCC,1000000000000000000\n"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_columns_are_found_by_name_in_any_order_and_case(tmp_path: Path) -> None:
    counts = TransferCounts()
    text = "\ufeffValue,Block, TO ,From\n5,1,b,a\n\n7,2,c,b\n"
    rows = read_rows(write(tmp_path / "t.csv", text), counts, 10)
    assert [(row.sender, row.recipient, row.value) for row in rows] == [("a", "b", 5), ("b", "c", 7)]
    assert (counts.rows, counts.left_out) == (2, 0)


@pytest.mark.parametrize(
    "row",
    ["a,b", "a,b,", "a,b,x", "a,b,-1", "a,b,0", "a,b,nan", "a,b,inf", "a,a,1", "a,A,1", ",b,1", "a,b,1e999", "a,b,"
     + "1" * 100, "a," + "b" * 200 + ",1", "a,\x07,1"],
)  # fmt: skip
def test_a_row_that_makes_no_sense_is_left_out_and_said(tmp_path: Path, row: str) -> None:
    counts = TransferCounts()
    rows = read_rows(write(tmp_path / "t.csv", f"from,to,value\n{row}\nx,y,1\n"), counts, 10)
    assert [row.sender for row in rows] == ["x"]
    assert counts.left_out == 1
    assert counts.first_mistake.startswith("line 2: ")


@pytest.mark.parametrize("header", ["", "from,to", "from,to,amount", "from,from,to,value", "a;b;c"])
def test_a_file_without_the_columns_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(LocalError, match="the header must name from, to, value"):
        read_rows(write(tmp_path / "t.csv", header + "\n1,2,3\n"), TransferCounts(), 10)


def test_a_file_in_another_encoding_or_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="UTF-8"):
        read_rows(write(tmp_path / "t.csv", GOOD + "ä,ö,1\n", "latin-1"), TransferCounts(), 10)
    with pytest.raises(LocalError, match="CSV"):
        read_rows(write(tmp_path / "u.csv", "from,to,value\n" + "x" * (2 << 20)), TransferCounts(), 10)
    with pytest.raises(LocalError, match="cannot read"):
        read_rows(tmp_path / "none.csv", TransferCounts(), 10)


def test_no_more_rows_are_read_than_the_load_needs(tmp_path: Path) -> None:
    text = "from,to,value\n" + "".join(f"a{number},b,1\n" for number in range(100))
    assert len(read_rows(write(tmp_path / "t.csv", text), TransferCounts(), 7)) == 7


@pytest.mark.parametrize("unit", [Decimal("1"), Decimal(10) ** 18, Decimal("0.000001")])
def test_values_keep_their_proportions_in_every_unit(unit: Decimal) -> None:
    values = [unit * number for number in range(1, 101)]
    amounts = scale_values(values, 10_000)
    assert amounts[94] == TYPICAL_QUOTES * QUOTE
    assert amounts[46] * 2 == pytest.approx(amounts[93], rel=1e-3)
    assert amounts == sorted(amounts)


def test_dust_is_raised_to_the_minimum_and_a_whale_is_capped() -> None:
    amounts = scale_values([Decimal("1e-30"), *[Decimal(1)] * 98, Decimal("1e30")], 10_000)
    assert amounts[0] == 10_000
    assert amounts[-1] == MAX_SHARE * TYPICAL_QUOTES * QUOTE


def test_an_address_has_one_account_whatever_its_case_and_another_with_another_seed() -> None:
    first = place_account("0xAbC", (0, 1), 5)
    assert first == place_account("0xaBc", (0, 1), 5)
    assert first.address != place_account("0xabc", (0, 1), 6).address
    assert {place_account(f"a{number}", (0, 1), 5).shard for number in range(20)} == {0, 1}


def test_what_crosses_shards_goes_through_the_channels(tmp_path: Path, network: Network) -> None:
    text = "from,to,value\n" + "".join(f"a{number},b{number},{number + 1}\n" for number in range(40))
    options = LoadOptions("transfers", duration_s=10, rate=4, files=(write(tmp_path / "t.csv", text),))
    workload = open_transfers(network, options)
    plans = [plan for lane in workload.build_lanes() for plan in lane.plans]
    assert len(plans) == 40
    assert sorted(plan.due_s or 0.0 for plan in plans) == [number / 4 for number in range(40)]
    kinds = {type(plan.actions[0]) for plan in plans}
    assert kinds == {Transfer, CrossTransfer}
    senders = {(plan.shard, plan.account) for plan in plans}
    assert {(need.shard, need.account) for need in workload.list_needs()} == senders
    assert workload.derive_seeds().keys() == {account for _, account in senders}


def test_a_list_without_one_good_row_is_refused(tmp_path: Path, network: Network) -> None:
    path = write(tmp_path / "t.csv", "from,to,value\na,a,1\n")
    with pytest.raises(LocalError, match="line 2: from and to are the same account"):
        open_transfers(network, LoadOptions("transfers", files=(path,)))
    with pytest.raises(LocalError, match="exactly one --file"):
        open_transfers(network, LoadOptions("transfers"))
