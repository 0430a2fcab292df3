"""What subscribers are told about a block: trades, changes of a book's levels, what happened to an account.

Topics: ``trades/<market>``, ``book/<market>``, ``account/<0x address>``. Values are JSON-ready, prices in ticks,
sizes in lots, cash in quantums. Nothing here is hashed. A book's messages are numbered without gaps by a counter in
the market's record, so a subscriber that misses one knows, and takes a new snapshot (``shards.queries``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, assert_never

from primitives.identifiers import format_address
from shards.codes import ResultCode
from shards.events import CancelReason
from shards.execution import Outcome
from shards.markets import Market
from shards.notices import Cancellation, Credit, Trade
from shards.order_book import BookSide
from shards.venue import Venue

Message = tuple[str, Mapping[str, Any]]
_CODE_NAMES: Final = {int(code): code.name for code in ResultCode}
_REASON_NAMES: Final = {int(reason): reason.name for reason in CancelReason}


def describe_block(venue: Venue, outcomes: Iterable[Outcome]) -> tuple[Message, ...]:
    """All messages of the block that was just executed. Advances the books' counters, so it is called once, and
    before the market records are encoded."""
    messages: list[Message] = []
    for market in venue.markets.values():
        if market.bids.touched or market.asks.touched:
            messages.append(_describe_book(venue, market))
    for notice in venue.notices:
        match notice:
            case Trade():
                messages.extend(_describe_trade(venue, notice))
            case Cancellation():
                messages.append(_describe_cancellation(venue, notice))
            case Credit():
                messages.append(_describe_credit(venue, notice))
            case _:
                assert_never(notice)
    for outcome in outcomes:
        messages.append(_describe_outcome(venue, outcome))
    return tuple(messages)


def _describe_book(venue: Venue, market: Market) -> Message:
    market.book_sequence += 1
    return f"book/{market.id}", {
        "market": market.id,
        "sequence": market.book_sequence,
        "height": venue.height,
        "bids": _take_changes(market.bids),
        "asks": _take_changes(market.asks),
    }


def _take_changes(side: BookSide) -> list[list[int]]:
    """[price, lots] of the levels that changed, best first; 0 lots means that the level is gone."""
    changes = []
    for rank in sorted(side.touched, reverse=True):
        level = side.levels.get(rank)
        changes.append([abs(rank), 0 if level is None else level.lots])
    side.touched.clear()
    return changes


def _describe_trade(venue: Venue, trade: Trade) -> Iterable[Message]:
    market = trade.taker.market.id
    public = {
        "market": market,
        "height": venue.height,
        "time_ms": venue.time_ms,
        "side": trade.side,
        "price_ticks": trade.price,
        "size_lots": trade.lots,
        "taker_seq": trade.taker_seq,
        "maker_seq": trade.maker_seq,
    }
    yield f"trades/{market}", public
    for position, role, seq, fee in (
        (trade.taker, "taker", trade.taker_seq, trade.taker_fee),
        (trade.maker, "maker", trade.maker_seq, trade.maker_fee),
    ):
        owner = position.owner
        yield (
            f"account/{format_address(owner.account.address)}",
            {
                **public,
                "type": "fill",
                "subaccount": owner.index,
                "role": role,
                "seq": seq,
                "fee": fee,
            },
        )


def _describe_cancellation(venue: Venue, notice: Cancellation) -> Message:
    owner = notice.position.owner
    return f"account/{format_address(owner.account.address)}", {
        "type": "cancelled",
        "height": venue.height,
        "subaccount": owner.index,
        "market": notice.position.market.id,
        "seq": notice.seq,
        "client_id": notice.client_id,
        "size_lots": notice.lots,
        "reason": _REASON_NAMES[notice.reason],
    }


def _describe_credit(venue: Venue, notice: Credit) -> Message:
    return f"account/{format_address(notice.recipient)}", {
        "type": "credited",
        "height": venue.height,
        "subaccount": notice.subaccount,
        "asset": notice.asset,
        "amount": notice.amount,
    }


def _describe_outcome(venue: Venue, outcome: Outcome) -> Message:
    transaction = outcome.transaction
    return f"account/{format_address(transaction.sender)}", {
        "type": "transaction",
        "height": venue.height,
        "position": outcome.position,
        "id": transaction.id.hex(),
        "code": _CODE_NAMES[outcome.code],
        "action_codes": [_CODE_NAMES[code] for code in outcome.action_codes],
        "fee": outcome.fee,
    }
