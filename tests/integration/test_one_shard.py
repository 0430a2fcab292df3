"""One shard of real processes does its job: from a signed order at an RPC port to certified blocks everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from node.client import NodeClient
from node.client_stream import Book, Stream
from shards.transactions import Cancel, OrderKind, Place, Side
from tests.integration.live_network import (
    LEAST_AMOUNT,
    PROGRESS_DEADLINE_S,
    LiveNetwork,
    Trader,
    certify,
    clear_book,
    open_traders,
    report_price,
    run_rialto,
    submit,
    wait_true,
)

pytestmark = pytest.mark.process
MARKET = 0
LOTS = 250
MEMBERS = ("s0v0", "s0v1", "s0v2", "s0v3")


def quote(side: Side, price_ticks: int, lots: int = LOTS, client_id: int = 0) -> Place:
    return Place(MARKET, side, OrderKind.LIMIT, price_ticks, lots, client_id)


async def open_clients(
    stack: AsyncExitStack, live: LiveNetwork, names: Sequence[str] = MEMBERS
) -> list[NodeClient]:
    return [await stack.enter_async_context(live.client(name)) for name in names]


async def test_an_order_sent_to_one_member_is_certified_with_the_same_receipt_on_all(live: LiveNetwork) -> None:
    async with AsyncExitStack() as stack:
        clients = await open_clients(stack, live)
        price = await report_price(live.network, clients[0], 0)
        (maker,) = await open_traders(live.network, clients[0], 0, 1)
        sent = await maker.send(clients[2], quote(Side.BUY, price - 5_000, client_id=7))
        assert sent.code == "OK"
        assert [event["type"] for event in (sent.receipt or {})["events"]] == ["placed"]
        for client in clients:
            found = await client.wait_certified(sent.id)
            assert (found.height, found.index, found.receipt) == (sent.height, sent.index, sent.receipt)
            block = await client.block(sent.height or 0)
            assert len(set(block["certificate"]["signers"])) >= 3
        assert [order["client_id"] async for order in clients[3].orders(maker.address)] == [7]
        await maker.send(clients[0], Cancel(MARKET, client_id=7))


async def test_a_trade_appears_in_both_accounts_in_the_book_and_on_the_stream(live: LiveNetwork) -> None:
    async with AsyncExitStack() as stack:
        clients = await open_clients(stack, live)
        price = await report_price(live.network, clients[0], 0)
        await clear_book(live.network, clients[0], 0)
        maker, taker = await open_traders(live.network, clients[0], 0, 2)
        topics = [f"trades:{MARKET}", f"book:{MARKET}", "blocks"]
        stream = await stack.enter_async_context(clients[3].stream(topics))
        begun = {trader.address: await read_size(clients[0], trader) for trader in (maker, taker)}

        placed = await maker.send(clients[0], quote(Side.SELL, price, 2 * LOTS))
        assert placed.code == "OK", placed.receipt
        depth = await clients[0].book(MARKET)
        assert {"ticks": price, "lots": 2 * LOTS}.items() <= depth["asks"][0].items()
        taken = await taker.send(clients[1], quote(Side.BUY, price))
        assert taken.code == "OK", taken.receipt

        heard, book = await listen(stream, trade_height=taken.height or 0)
        (trade,) = [message["event"] for message in heard if message["type"] == "trade"]
        assert (trade["price_ticks"], trade["size_lots"]) == (price, LOTS)
        assert {placed.height, taken.height} <= {m["height"] for m in heard if m["type"] == "block"}
        assert book.asks[price] == LOTS
        for client in clients:
            await client.wait_certified(taken.id)
            assert await read_size(client, maker) == begun[maker.address] - LOTS
            assert await read_size(client, taker) == begun[taker.address] + LOTS
            depth = await client.book(MARKET)
            assert {"ticks": price, "lots": LOTS}.items() <= depth["asks"][0].items()
        await taker.send(clients[0], quote(Side.BUY, price))


async def read_size(client: NodeClient, trader: Trader) -> int:
    """The position of subaccount 0 in lots."""
    account = await client.account(trader.address)
    sizes = [row["size_lots"] for row in account["subaccounts"][0]["positions"] if row["market"] == MARKET]
    return sum(sizes)


async def listen(stream: Stream, trade_height: int) -> tuple[list[dict[str, Any]], Book]:
    """Everything until the trade, its block and the book after it were heard."""
    heard: list[dict[str, Any]] = []
    book = Book()
    with trio.fail_after(PROGRESS_DEADLINE_S):
        async for message in stream:
            heard.append(message)
            book.apply(message)
            kinds = {m["type"] for m in heard if m.get("height") == trade_height}
            if {"trade", "block"} <= kinds and book.height >= trade_height:
                return heard, book
    raise AssertionError("the stream ended")


async def test_many_transactions_in_one_request_are_answered_in_order_and_all_certified(live: LiveNetwork) -> None:
    async with live.client("s0v1") as client, live.client("s0v3") as other:
        payer, receiver = await open_traders(live.network, client, 0, 2)
        before = (await client.account(receiver.address))["subaccounts"][0]["cash_raw"]
        amounts = range(LEAST_AMOUNT, LEAST_AMOUNT + 200)
        batch = [payer.pay(receiver.address, amount) for amount in amounts]
        answers = await client.submit_transactions(batch)
        assert [answer.code for answer in answers] == ["ACCEPTED"] * len(batch)
        for answer in answers:
            assert (await other.wait_certified(answer.id)).code == "OK"
        after = (await other.account(receiver.address))["subaccounts"][0]["cash_raw"]
        assert after - before == sum(amounts)


async def test_a_transaction_that_was_certified_once_never_executes_again(live: LiveNetwork) -> None:
    async with live.client("s0v0") as client, live.client("s0v2") as other:
        payer, receiver = await open_traders(live.network, client, 0, 2)
        signed = payer.pay(receiver.address)
        first = await certify(client, signed)
        before = await other.wait_certified(first.id)
        balance = (await other.account(receiver.address))["subaccounts"][0]["cash_raw"]
        for member in (client, other):
            (answer,) = await member.submit_transactions([signed])
            assert answer.code in ("DUPLICATE", "NONCE_USED")
            assert len(answer.message) > 20
        later = await certify(client, payer.pay())
        assert (later.height or 0) > (first.height or 0)
        assert await other.transaction(first.id) == before
        assert (await other.account(receiver.address))["subaccounts"][0]["cash_raw"] == balance


async def test_the_command_line_places_lists_and_cancels_an_order(live: LiveNetwork) -> None:
    async with live.client("s0v0") as client:
        price = await report_price(live.network, client, 0)
        await clear_book(live.network, client, 0)
    key = str(live.network.accounts_of(0)[2].key_file)
    options = ("--key", key, "--name", live.name, "--json")
    human = f"{(price - 10_000) / 10:.1f}"
    placed = await run_rialto("order", "place", "BTCUSDT", "buy", "0.25", human, *options, root=live.root)
    placed.check()
    listed = (await run_rialto("order", "list", *options, root=live.root)).check().json["orders"]
    assert [(order["side"], order["size_lots"], order["price_ticks"]) for order in listed] == [
        ("BUY", LOTS, price - 10_000)
    ]
    (await run_rialto("order", "cancel", "--all", *options, root=live.root)).check()
    assert (await run_rialto("order", "list", *options, root=live.root)).check().json == {"orders": []}


async def test_status_and_the_other_pages_answer_on_every_member(live: LiveNetwork) -> None:
    rows = await live.status()
    assert all(row["alive"] and row["height"] >= 1 for row in rows.values())
    for name in rows:
        async with live.client(name) as client:
            assert (await client.ready()) == (True, "")
            assert (await client.status())["alarms"] == []
            assert "rialto_replica_certified_height" in await client.metrics()
            assert (await client.genesis())["devnet"] is True


async def test_a_waiting_transaction_is_accepted_and_an_unheard_one_unknown(live: LiveNetwork) -> None:
    async with live.client("s0v0") as client:
        (payer,) = await open_traders(live.network, client, 0, 1)
        identity = await submit(client, payer.pay())
        assert (await client.transaction(identity)).state in ("accepted", "certified")
        assert (await client.transaction("ab" * 32)).state == "unknown"

        async def is_certified() -> bool:
            return (await client.transaction(identity)).state == "certified"

        await wait_true(is_certified, "the certificate")
