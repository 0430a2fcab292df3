"""The one list of stable result codes of transactions and their actions.

A code never changes its number or its meaning; retired numbers are never used again. Codes below 100 refuse
bytes before they reach a block (they travel as ``RemoteError.code`` under the same names). Codes from 100
refuse a whole transaction in its block, codes from 200 one action. ``EXPLANATIONS`` says in a sentence what
happened and what to change. What does not live here: codes of peers and of the RPC surface itself.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from primitives.errors import RemoteError


class ResultCode(IntEnum):
    """What became of a transaction or of one of its actions."""

    OK = 0

    MALFORMED = 1
    NOT_CANONICAL = 2
    TOO_LARGE = 3
    WRONG_CHAIN = 4
    WRONG_SHARD = 5
    WRONG_KEY = 6
    BAD_SIGNATURE = 7
    BAD_ADDRESS = 8
    BAD_AMOUNT = 9
    OFF_TICK = 10
    OFF_LOT = 11

    NO_ACCOUNT = 100
    NO_FUNDS = 101
    NONCE_USED = 102
    NONCE_TOO_OLD = 103
    NONCE_TOO_FAR = 104
    EXPIRED = 105
    VALID_TOO_LONG = 106
    BUSY = 107
    ROLLED_BACK = 108
    NOT_ATTEMPTED = 109
    SOME_FAILED = 110

    OVERFLOW = 200
    UNKNOWN_MARKET = 201
    UNKNOWN_ORDER = 202
    STALE_ORACLE = 203
    OUT_OF_BAND = 204
    BELOW_MIN_NOTIONAL = 205
    TOO_MANY_ORDERS = 206
    TOO_MANY_REDUCE_ONLY = 207
    DUPLICATE_CLIENT_ID = 208
    PLACE_NONCE_TOO_LOW = 209
    WOULD_MATCH = 210
    NOT_FILLED = 211
    NOT_REDUCING = 212
    ORDER_EXPIRED = 213
    MARGIN = 214
    ALREADY_FILLED = 215
    TOO_MANY_EVENTS = 216

    UNKNOWN_ASSET = 230
    BELOW_MINIMUM = 231
    NOT_WITHDRAWABLE = 232
    SAME_SUBACCOUNT = 233
    RECIPIENT_LIMIT = 234
    UNKNOWN_SHARD = 240
    DESTINATION_STALLED = 241
    DESTINATION_FROZEN = 242
    WINDOW_FULL = 243
    BAD_DEADLINE = 244
    INSOLVENT = 245
    ACCOUNT_WINDOW_FULL = 246
    OUTBOX_FULL = 247

    NOT_REPORTER = 260
    OBSERVED_AHEAD = 261
    NOT_NEWER = 262
    NOT_FAUCET = 263


EXPLANATIONS: Final[dict[ResultCode, str]] = {
    ResultCode.OK: "Everything was done.",
    ResultCode.MALFORMED: "The bytes are not a transaction; encode it as the schema says, within its bounds.",
    ResultCode.NOT_CANONICAL: "The encoding is not the canonical one; use the shortest MessagePack forms.",
    ResultCode.TOO_LARGE: "The transaction is too long; send fewer actions in one.",
    ResultCode.WRONG_CHAIN: "It was signed for another chain; sign with the chain id that this node serves.",
    ResultCode.WRONG_SHARD: "It was signed for another shard; send it to a node of the shard that it names.",
    ResultCode.WRONG_KEY: "The public key does not control the account; sign with the account's owner key.",
    ResultCode.BAD_SIGNATURE: "The signature does not verify; sign the transaction's id with the owner key.",
    ResultCode.BAD_ADDRESS: "An address is 0x and 40 hexadecimal digits; correct it.",
    ResultCode.BAD_AMOUNT: "The amount is not a decimal number in range; write plain digits and at most one point.",
    ResultCode.OFF_TICK: "The price is not a multiple of the market's tick; round it to the tick size.",
    ResultCode.OFF_LOT: "The size is not a multiple of the market's lot; round it to the lot size.",
    ResultCode.NO_ACCOUNT: "The account does not exist on this shard; fund it first.",
    ResultCode.NO_FUNDS: "Cash or equity does not cover the fee of all actions; deposit or free collateral.",
    ResultCode.NONCE_USED: "A transaction with this nonce was executed already; take a new nonce.",
    ResultCode.NONCE_TOO_OLD: "The nonce lies 512 or more below the highest one used; take a higher nonce.",
    ResultCode.NONCE_TOO_FAR: "The nonce lies over 2**20 above the highest one used; take a lower nonce.",
    ResultCode.EXPIRED: "The block is later than the transaction's valid-until; sign it again with a later one.",
    ResultCode.VALID_TOO_LONG: "Valid-until is over an hour ahead; sign it again with an earlier one.",
    ResultCode.BUSY: "The block's limit of work, or the account's, is used up; send it again with a new nonce.",
    ResultCode.ROLLED_BACK: "Another action of the atomic batch failed, so this one was undone; see its code.",
    ResultCode.NOT_ATTEMPTED: "An earlier action of the atomic batch failed; see its code.",
    ResultCode.SOME_FAILED: "At least one action of the best-effort batch failed; see the codes of the actions.",
    ResultCode.OVERFLOW: "A quantity would leave 63 bits; use smaller sizes, prices or amounts.",
    ResultCode.UNKNOWN_MARKET: "This shard has no such market; list its markets and use one of their numbers.",
    ResultCode.UNKNOWN_ORDER: "No open order of this subaccount has that id; look at the open orders.",
    ResultCode.STALE_ORACLE: "The oracle price is stale, so only cancels and reduce-only orders pass; retry later.",
    ResultCode.OUT_OF_BAND: "The price lies beyond the band around the mark; move it closer to the mark.",
    ResultCode.BELOW_MIN_NOTIONAL: "The order is worth less than the market's minimum; raise its size.",
    ResultCode.TOO_MANY_ORDERS: "The subaccount has 200 open orders in this market; cancel some first.",
    ResultCode.TOO_MANY_REDUCE_ONLY: "The subaccount has 16 reduce-only orders in this market; cancel some first.",
    ResultCode.DUPLICATE_CLIENT_ID: "An open order in this market has the same client id; use another one.",
    ResultCode.PLACE_NONCE_TOO_LOW: "A cancel-all forbids places with nonces this low; place with a new nonce.",
    ResultCode.WOULD_MATCH: "The post-only order would have matched; move its price away from the other side.",
    ResultCode.NOT_FILLED: "The fill-or-kill order could not be filled whole and was undone; lower its size.",
    ResultCode.NOT_REDUCING: "A reduce-only order must close an open position further; correct its side or size.",
    ResultCode.ORDER_EXPIRED: "The order's expiry is not after the block's time; set a later one.",
    ResultCode.MARGIN: "Equity does not cover the initial margin; deposit, reduce the size or close positions.",
    ResultCode.ALREADY_FILLED: "The new total size is not above what is filled already; cancel the order instead.",
    ResultCode.TOO_MANY_EVENTS: "The transaction's limit of events is used up; spread its actions over several.",
    ResultCode.UNKNOWN_ASSET: "This shard does not hold the asset; use a listed one.",
    ResultCode.BELOW_MINIMUM: "The amount is below the minimum for a transfer; raise it.",
    ResultCode.NOT_WITHDRAWABLE: "The amount exceeds what is free of margin; lower it or close positions.",
    ResultCode.SAME_SUBACCOUNT: "Source and destination are the same; name another subaccount.",
    ResultCode.RECIPIENT_LIMIT: "The recipient cannot take the amount; send less or name another recipient.",
    ResultCode.UNKNOWN_SHARD: "The network has no such shard, or it is this one; name another destination.",
    ResultCode.DESTINATION_STALLED: "The destination shard has stalled; try again when it follows the beacon.",
    ResultCode.DESTINATION_FROZEN: "The destination shard is frozen; choose another one.",
    ResultCode.WINDOW_FULL: "Too many transfers to that shard are open; try again shortly.",
    ResultCode.ACCOUNT_WINDOW_FULL: "The account has too many open transfers to that shard; try again shortly.",
    ResultCode.OUTBOX_FULL: "This block has sent all the messages that it may; send it again with a new nonce.",
    ResultCode.BAD_DEADLINE: "The deadline is not within the allowed beacon heights from now; choose another.",
    ResultCode.INSOLVENT: "Bad debt exceeds the insurance fund, so nothing leaves this shard; try again later.",
    ResultCode.NOT_REPORTER: "The account is no oracle reporter of this shard; only genesis names them.",
    ResultCode.OBSERVED_AHEAD: "The observation lies ahead of the block's time; correct the reporter's clock.",
    ResultCode.NOT_NEWER: "The observation is not at least 250 ms newer than the last one; report less often.",
    ResultCode.NOT_FAUCET: "The account is not the faucet of a devnet genesis; ask the faucet.",
}


def refuse(code: ResultCode, detail: str = "") -> RemoteError:
    """The error that refuses a transaction before any block, with the code's sentence and an optional detail."""
    sentence = EXPLANATIONS[code]
    return RemoteError(code.name, f"{sentence} ({detail})" if detail else sentence)
