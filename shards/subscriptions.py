"""What subscribers are told about a block: trades, and what happened to an account.

Topics: ``trades:<market>``, ``account:<0x address>``. Values are JSON-ready, prices in ticks, sizes in lots, cash
in quantums. Nothing here is hashed. What does not live here: changes of the books, which are the difference between
what queries show after this block and after the last one (``node.rpc.stream``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, assert_never

from crosslink.block import TopicMessage
from primitives.identifiers import format_address
from shards.codes import ResultCode
from shards.events import CancelReason
from shards.execution import Outcome
from shards.notices import Cancellation, Credit, Trade
from shards.venue import Venue

_CODE_NAMES: Final = {int(code): code.name for code in ResultCode}
_REASON_NAMES: Final = {int(reason): reason.name for reason in CancelReason}


class BlockMessages:
    """The messages of the block that ``venue`` has just executed, described whenever they are iterated: most blocks
    have no subscriber. Later blocks change nothing that is read here."""

    __slots__ = ("_height", "_notices", "_outcomes", "_time_ms")

    def __init__(self, venue: Venue, outcomes: Sequence[Outcome]) -> None:
        self._height = venue.height
        self._time_ms = venue.time_ms
        self._notices = tuple(venue.notices)
        self._outcomes = outcomes

    def __iter__(self) -> Iterator[TopicMessage]:
        height = self._height
        for notice in self._notices:
            match notice:
                case Trade():
                    yield from _describe_trade(notice, height, self._time_ms)
                case Cancellation():
                    yield _describe_cancellation(notice, height)
                case Credit():
                    yield _describe_credit(notice, height)
                case _:
                    assert_never(notice)
        for outcome in self._outcomes:
            yield _describe_outcome(outcome, height)

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, which is how replicas of one chain are compared."""
        return isinstance(other, BlockMessages) and tuple(self) == tuple(other)


def _describe_trade(trade: Trade, height: int, time_ms: int) -> Iterator[TopicMessage]:
    market = trade.taker.market.id
    public: dict[str, Any] = {
        "market": market,
        "height": height,
        "time_ms": time_ms,
        "side": trade.side,
        "price_ticks": trade.price,
        "size_lots": trade.lots,
        "taker_seq": trade.taker_seq,
        "maker_seq": trade.maker_seq,
    }
    yield f"trades:{market}", public
    for position, role, seq, fee in (
        (trade.taker, "taker", trade.taker_seq, trade.taker_fee),
        (trade.maker, "maker", trade.maker_seq, trade.maker_fee),
    ):
        owner = position.owner
        yield (
            f"account:{format_address(owner.account.address)}",
            {
                **public,
                "type": "fill",
                "subaccount": owner.index,
                "role": role,
                "seq": seq,
                "fee": fee,
            },
        )


def _describe_cancellation(notice: Cancellation, height: int) -> TopicMessage:
    owner = notice.position.owner
    return f"account:{format_address(owner.account.address)}", {
        "type": "cancelled",
        "height": height,
        "subaccount": owner.index,
        "market": notice.position.market.id,
        "seq": notice.seq,
        "client_id": notice.client_id,
        "size_lots": notice.lots,
        "reason": _REASON_NAMES[notice.reason],
    }


def _describe_credit(notice: Credit, height: int) -> TopicMessage:
    return f"account:{format_address(notice.recipient)}", {
        "type": "credited",
        "height": height,
        "subaccount": notice.subaccount,
        "asset": notice.asset,
        "amount": notice.amount,
    }


def _describe_outcome(outcome: Outcome, height: int) -> TopicMessage:
    transaction = outcome.transaction
    return f"account:{format_address(transaction.sender)}", {
        "type": "transaction",
        "height": height,
        "position": outcome.position,
        "id": transaction.id.hex(),
        "code": _CODE_NAMES[outcome.code],
        "action_codes": [_CODE_NAMES[code] for code in outcome.action_codes],
        "fee": outcome.fee,
    }
