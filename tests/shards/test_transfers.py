"""Collateral that moves: inside the shard, from the faucet, and to and from another shard."""

from __future__ import annotations

import pytest

from crosslink.conservation import compute_mint_limit
from crosslink.messages import Purpose, RejectReason, TransferLock, TransferVerdict, Verdict, compute_xid
from crosslink.messages import decode_message as decode_leaf
from crosslink.summary import decode_summary
from crosslink.tips import RegisteredTip
from primitives.errors import LocalError
from primitives.parameters import ProtocolParameters
from shards.codes import ResultCode
from shards.genesis import QUOTE
from shards.transactions import CancelAll, CrossTransfer, FaucetMint, Mode, SubaccountTransfer, Transfer
from tests.shards.toy_shard import BUY, CHAIN, ToyShard, address_of, cancel, make_parameters, place

FUNDS = {"ann": 1_000 * QUOTE, "bob": 1_000 * QUOTE}
LOCK_FEE = 1_000


@pytest.fixture
def shard() -> ToyShard:
    made = ToyShard(make_parameters(FUNDS))
    made.price(1_000)
    announce(made)
    return made


def announce(shard: ToyShard, *, stalled: bool = False, frozen: bool = False) -> None:
    """One more beacon block: our own tip is registered, and shard 1's is as told."""
    shard.follower.deliver()
    height = shard.follower.height
    shard.follower.tips[height] = {
        0: RegisteredTip(height=shard.height, beacon_ref_height=height),
        1: RegisteredTip(height=1, beacon_ref_height=0 if stalled else height, frozen=frozen),
    }


def lock(shard: ToyShard, amount: int = 10 * QUOTE, **changes: int) -> CrossTransfer:
    values = {"destination": 1, "deadline": shard.follower.height + 300, "asset": 0, **changes}
    return CrossTransfer(recipient=address_of("ann"), subaccount=0, amount=amount, **values)


def leaves(shard: ToyShard) -> list[object]:
    assert shard.result is not None
    return [decode_leaf(leaf, 512) for leaf in shard.result.outbox]


def test_a_payment_reaches_an_account_that_did_not_exist(shard: ToyShard) -> None:
    assert shard.code("ann", Transfer(address_of("new"), 2, 0, 5 * QUOTE)) is ResultCode.OK
    assert shard.cash("new", 2) == 5 * QUOTE
    assert shard.cash("ann") == FUNDS["ann"] - 5 * QUOTE


def test_what_cannot_be_paid_has_a_code(shard: ToyShard) -> None:
    ann = address_of("ann")
    assert shard.code("ann", Transfer(ann, 0, 0, 5)) is ResultCode.SAME_SUBACCOUNT
    assert shard.code("ann", SubaccountTransfer(0, 0, 5)) is ResultCode.SAME_SUBACCOUNT
    assert shard.code("ann", Transfer(ann, 1, 7, 5)) is ResultCode.UNKNOWN_ASSET
    assert shard.code("ann", Transfer(ann, 1, 0, FUNDS["ann"] + 1)) is ResultCode.NOT_WITHDRAWABLE
    assert shard.code("ann", Transfer(ann, 1, 0, FUNDS["ann"])) is ResultCode.OK


def test_dust_transfers_are_refused() -> None:
    from msgspec.structs import replace

    shard = ToyShard(replace(make_parameters(FUNDS), min_transfer=100))
    assert shard.code("ann", Transfer(address_of("bob"), 0, 0, 99)) is ResultCode.BELOW_MINIMUM
    announce(shard)
    assert shard.code("ann", lock(shard, 99)) is ResultCode.BELOW_MINIMUM


def test_an_account_created_in_a_failed_batch_is_not_there(shard: ToyShard) -> None:
    shard.act("ann", Transfer(address_of("new"), 0, 0, 5), cancel(1), mode=Mode.ATOMIC)
    assert b"a" + address_of("new") not in shard.records
    assert address_of("new") not in shard.venue.accounts


def test_only_the_faucet_mints(shard: ToyShard) -> None:
    mint = FaucetMint(address_of("new"), 0, 0, 7 * QUOTE)
    assert shard.code("ann", mint) is ResultCode.NOT_FAUCET
    minted = shard.venue.minted
    assert shard.code("faucet", mint) is ResultCode.OK
    assert (shard.cash("new"), shard.venue.minted) == (7 * QUOTE, minted + 7 * QUOTE)
    assert shard.code("faucet", FaucetMint(address_of("new"), 0, 1, 5)) is ResultCode.UNKNOWN_ASSET


def test_amounts_out_of_range_are_refused(shard: ToyShard) -> None:
    assert shard.code("faucet", FaucetMint(address_of("bob"), 0, 0, 2**61)) is ResultCode.RECIPIENT_LIMIT
    assert shard.code("faucet", FaucetMint(address_of("bob"), 0, 0, 2**62)) is ResultCode.RECIPIENT_LIMIT


def test_a_shard_mints_no_more_than_the_beacon_would_register(shard: ToyShard) -> None:
    limit = compute_mint_limit(1 + len(shard.peers))
    left = limit - shard.venue.minted
    assert shard.code("faucet", FaucetMint(address_of("new"), 0, 0, left + 1)) is ResultCode.OVERFLOW
    assert shard.code("faucet", FaucetMint(address_of("new"), 0, 0, left)) is ResultCode.OK
    assert shard.venue.minted == limit
    with pytest.raises(LocalError):
        ToyShard(make_parameters({"ann": limit}))


def test_a_minted_total_out_of_range_overflows(shard: ToyShard) -> None:
    # What left for other shards makes room for the recipient, but not in what was ever minted.
    shard.application._paranoid = False
    shard.venue.minted = shard.venue.mint_limit - 10
    assert shard.code("faucet", FaucetMint(address_of("new"), 0, 0, 100)) is ResultCode.OVERFLOW
    assert shard.cash("new") == 0


def test_a_lock_takes_amount_and_fee_and_leaves_a_message(shard: ToyShard) -> None:
    receipt = shard.act("ann", lock(shard))
    assert receipt.code is ResultCode.OK
    assert shard.cash("ann") == FUNDS["ann"] - 10 * QUOTE - LOCK_FEE
    (message,) = leaves(shard)
    assert isinstance(message, TransferLock)
    assert (message.sequence, message.amount, message.owner) == (0, 10 * QUOTE, address_of("ann"))


@pytest.mark.parametrize(
    ("verdict", "back"), [(Verdict.ACCEPTED, 0), (Verdict.REJECTED, 10 * QUOTE), (Verdict.EXPIRED, 10 * QUOTE)]
)
def test_a_verdict_settles_the_lock(shard: ToyShard, verdict: Verdict, back: int) -> None:
    shard.act("ann", lock(shard))
    before = shard.cash("ann")
    reason = RejectReason.BLOCKED if verdict is Verdict.REJECTED else RejectReason.NONE
    shard.follower.deliver(
        TransferVerdict(CHAIN, 1, 0, 0, compute_xid(CHAIN, 0, 1, 0), verdict, reason, 0, 10 * QUOTE)
    )
    shard.run()
    assert shard.cash("ann") == before + back
    assert shard.application.machine.count_open(1) == 0


def test_a_credit_is_pending_until_our_block_is_registered(shard: ToyShard) -> None:
    incoming = TransferLock(
        CHAIN, 1, 0, 0, address_of("ann"), 0, address_of("new"), 1, 0, 50, 10**6, Purpose.TRANSFER
    )
    shard.follower.deliver(incoming)
    shard.run()
    new = shard.venue.accounts[address_of("new")].subaccount(1)
    assert (new.cash, new.pending) == (0, 50)
    (answer,) = leaves(shard)
    assert isinstance(answer, TransferVerdict)
    assert answer.verdict is Verdict.ACCEPTED
    announce(shard)
    shard.run()
    assert (new.cash, new.pending) == (50, 0)


def test_a_credit_that_cannot_be_accepted_is_rejected_with_a_reason(shard: ToyShard) -> None:
    common = (address_of("ann"), 0, address_of("new"))
    shard.follower.deliver(
        TransferLock(CHAIN, 1, 0, 0, *common, 99, 0, 50, 10**6, Purpose.TRANSFER),
        TransferLock(CHAIN, 1, 0, 1, *common, 0, 5, 50, 10**6, Purpose.TRANSFER),
        TransferLock(CHAIN, 1, 0, 2, *common, 0, 0, 50, 0, Purpose.TRANSFER),
        TransferLock(CHAIN, 1, 0, 3, *common, 0, 0, 2**63 - 1, 10**6, Purpose.TRANSFER),
    )
    shard.run()
    verdicts = [(leaf.verdict, leaf.reason) for leaf in leaves(shard)]  # type: ignore[attr-defined]
    assert verdicts == [
        (Verdict.REJECTED, RejectReason.BAD_SUBACCOUNT),
        (Verdict.REJECTED, RejectReason.UNKNOWN_ASSET),
        (Verdict.EXPIRED, RejectReason.NONE),
        (Verdict.REJECTED, RejectReason.OVERFLOW),
    ]


def test_locks_that_are_refused_have_codes(shard: ToyShard) -> None:
    assert shard.code("ann", lock(shard, destination=5)) is ResultCode.UNKNOWN_SHARD
    assert shard.code("ann", lock(shard, destination=0)) is ResultCode.UNKNOWN_SHARD
    assert shard.code("ann", lock(shard, asset=3)) is ResultCode.UNKNOWN_ASSET
    assert shard.code("ann", lock(shard, deadline=5)) is ResultCode.BAD_DEADLINE
    assert shard.code("ann", lock(shard, FUNDS["ann"])) is ResultCode.NOT_WITHDRAWABLE
    announce(shard, frozen=True)
    assert shard.code("ann", lock(shard)) is ResultCode.DESTINATION_FROZEN
    shard.follower.height += 1_000
    announce(shard, stalled=True)
    assert shard.code("ann", lock(shard)) is ResultCode.DESTINATION_STALLED


def test_windows_and_the_outbox_are_bounded() -> None:
    shard = ToyShard(make_parameters(FUNDS))
    shard.protocol = ProtocolParameters(bucket_count=16, channel_window=16, messages_per_beacon_block=2)
    shard.application = shard.make_application()
    announce(shard)
    receipts = shard.run(*(shard.tx(name, lock(shard, 5)) for name in ("ann", "bob")))
    assert [receipt.code for receipt in receipts] == [ResultCode.OK, ResultCode.OUTBOX_FULL]
    assert shard.code("ann", lock(shard, 5)) is ResultCode.ACCOUNT_WINDOW_FULL
    for index in range(11):
        name = f"friend{index}"
        shard.act("bob", Transfer(address_of(name), 0, 0, QUOTE))
        assert shard.code(name, lock(shard, 5)) is ResultCode.OK
    assert shard.code("bob", lock(shard, 5)) is ResultCode.WINDOW_FULL
    assert shard.code("bob", lock(shard, 5, purpose=Purpose.TOP_UP)) is ResultCode.OK


def test_a_lock_in_a_failed_batch_sends_nothing(shard: ToyShard) -> None:
    receipt = shard.act("ann", lock(shard), cancel(1), mode=Mode.ATOMIC)
    assert receipt.code is ResultCode.UNKNOWN_ORDER
    assert leaves(shard) == []
    assert shard.cash("ann") == FUNDS["ann"]
    assert shard.code("ann", lock(shard)) is ResultCode.OK


def test_the_summary_tells_every_bucket(shard: ToyShard) -> None:
    shard.act("ann", place(BUY, 990, 10), lock(shard))
    assert shard.result is not None
    summary = decode_summary(shard.result.summary)
    (asset,) = summary.assets
    assert asset.cash == sum(FUNDS.values()) - 10 * QUOTE - LOCK_FEE
    assert asset.minted == sum(FUNDS.values()) + asset.insurance
    (peer,) = summary.peers
    assert (peer.next_send, peer.open_count, peer.amounts[0].sent) == (1, 1, 10 * QUOTE)


def test_a_shard_is_ready_for_a_block_when_the_beacon_has_something(shard: ToyShard) -> None:
    shard.act("ann", CancelAll())
    assert shard.application.readiness(0, 0).name == "IDLE"
    shard.follower.deliver(
        TransferLock(CHAIN, 1, 0, 0, address_of("ann"), 0, address_of("bob"), 1, 0, 50, 10**6, Purpose.TRANSFER)
    )
    assert shard.application.readiness(0, 0).name == "PENDING"
