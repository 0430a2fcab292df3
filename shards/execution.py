"""One transaction: whether it may run, its fee, its actions, and what is undone when one fails.

Theory of operation. The envelope is checked (account, validity, nonce); then the nonce is used and the fee for all
actions is charged, and nothing ever takes these back. Each action runs after a savepoint and is undone unless its
code is OK, so a code other than OK means that nothing of the action remains. In an atomic batch the first failure
undoes the batch and ends it. An account whose batches had much undone in this block waits for the next with further
ones: else a batch of a cancel-all and of something that fails would cost little and be work without end. What does
not live here: when in the block a transaction runs (``shards.transition``).
"""

from __future__ import annotations

from typing import Final, assert_never

from crosslink.transfers import TransferMachine
from primitives.quantities import Overflow
from shards.accounts import Account
from shards.amending import apply_amend
from shards.cancelling import apply_cancel, apply_cancel_all
from shards.codes import ResultCode
from shards.events import MAX_EVENTS, EventTuple
from shards.fees import can_pay, charge_fee, compute_action_fee, note_free_cancels
from shards.journal import Savepoint, rollback, take_savepoint
from shards.nonces import check_nonce, use_nonce
from shards.oracle import apply_report
from shards.placing import apply_place
from shards.scope import Scope
from shards.transactions import (
    Action,
    Amend,
    Cancel,
    CancelAll,
    CrossTransfer,
    FaucetMint,
    Mode,
    OracleReport,
    Place,
    SignedTransaction,
    SubaccountTransfer,
    Transfer,
)
from shards.transfers import apply_cross_transfer, apply_faucet_mint, apply_subaccount_transfer, apply_transfer
from shards.venue import Venue, touch_account

MAX_VALIDITY_MS: Final = 3_600_000
"""A transaction that could run later than an hour from now is refused: nonce records unused for longer can go."""

MAX_UNDONE_STEPS: Final = 4_096
"""Of one account's atomic batches in one block, in notes of the journal: some 20 ms of doing and undoing."""


class Outcome:
    """What became of one transaction so far; ``scope`` is ``None`` where no action ran."""

    __slots__ = ("action_codes", "code", "events", "fee", "position", "scope", "transaction")

    def __init__(self, transaction: SignedTransaction, position: int) -> None:
        self.transaction = transaction
        self.position = position
        self.code = ResultCode.OK
        self.action_codes: list[ResultCode] = []
        self.fee = 0
        self.events: list[EventTuple] = []
        self.scope: Scope | None = None


def check_envelope(account: Account | None, nonce: int, valid_until_ms: int, now_ms: int) -> ResultCode:
    """``OK``, or why no action of the transaction may run; nothing is charged for that."""
    if account is None:
        return ResultCode.NO_ACCOUNT
    if now_ms > valid_until_ms:
        return ResultCode.EXPIRED
    if valid_until_ms > now_ms + MAX_VALIDITY_MS:
        return ResultCode.VALID_TOO_LONG
    return check_nonce(account, nonce)


def execute_transaction(venue: Venue, machine: TransferMachine, outcome: Outcome) -> None:
    """Run the outcome's transaction for the first time."""
    transaction = outcome.transaction
    envelope = transaction.envelope
    account = venue.accounts.get(envelope.account)
    outcome.code = check_envelope(account, envelope.nonce, envelope.valid_until_ms, venue.time_ms)
    if outcome.code or account is None:
        return
    use_nonce(account, envelope.nonce)
    account.last_used_ms = venue.time_ms
    touch_account(venue, account)
    subaccount = account.subaccount(envelope.subaccount)
    fee = compute_action_fee(venue, account, transaction)
    if not can_pay(venue, subaccount, fee):
        outcome.code = ResultCode.NO_FUNDS
        return
    charge_fee(venue, subaccount, fee)
    if transaction.is_pure_cancel and not fee:
        note_free_cancels(venue, account, len(envelope.actions))
    outcome.fee = fee
    outcome.scope = Scope(venue, subaccount, envelope.nonce, outcome.events)
    outcome.action_codes = [ResultCode.NOT_ATTEMPTED] * len(envelope.actions)
    _run(machine, outcome, outcome.scope)


def retry_cancels(machine: TransferMachine, outcome: Outcome) -> None:
    """Run the cancels of a pure cancel that found nothing once more; nonce and fee are settled already."""
    assert outcome.scope is not None, "only what ran is retried"
    _run(machine, outcome, outcome.scope)


def has_missed(outcome: Outcome) -> bool:
    """Whether it is a pure cancel of which something found no order."""
    return outcome.transaction.is_pure_cancel and ResultCode.UNKNOWN_ORDER in outcome.action_codes


def _run(machine: TransferMachine, outcome: Outcome, scope: Scope) -> None:
    envelope = outcome.transaction.envelope
    venue = scope.venue
    # The nonce and the fee are final: no rollback may reach behind this point.
    venue.notes.clear()
    auditor = venue.auditor
    if auditor is not None:
        auditor.before_actions(scope.subaccount)
    if envelope.mode is Mode.ATOMIC and len(envelope.actions) > 1:
        _run_atomic(machine, outcome, scope)
    else:
        _run_each(machine, outcome, scope)
    if auditor is not None:
        auditor.after_actions(scope.subaccount)


def _run_each(machine: TransferMachine, outcome: Outcome, scope: Scope) -> None:
    """Best effort: every action by itself; those that are done already are left alone."""
    codes = outcome.action_codes
    for index, action in enumerate(outcome.transaction.envelope.actions):
        if codes[index] not in _TO_RUN:
            continue
        savepoint = take_savepoint(scope.venue, machine)
        mark = len(scope.events)
        code = codes[index] = _run_action(machine, scope, action)
        if code:
            _undo(machine, scope, savepoint, mark)
    if not any(codes):
        outcome.code = ResultCode.OK
    else:
        outcome.code = codes[0] if len(codes) == 1 else ResultCode.SOME_FAILED


_TO_RUN: Final = frozenset({ResultCode.NOT_ATTEMPTED, ResultCode.UNKNOWN_ORDER})


def _run_atomic(machine: TransferMachine, outcome: Outcome, scope: Scope) -> None:
    """All actions or none; the transaction's code is that of the one that failed."""
    actions = outcome.transaction.envelope.actions
    account, height = scope.subaccount.account, scope.venue.height
    if account.undone_block == height and account.undone_steps >= MAX_UNDONE_STEPS:
        outcome.code = ResultCode.BUSY
        return
    savepoint = take_savepoint(scope.venue, machine)
    mark = len(scope.events)
    for index, action in enumerate(actions):
        code = _run_action(machine, scope, action)
        if code:
            _note_undone(account, height, len(scope.venue.notes) - savepoint[0])
            _undo(machine, scope, savepoint, mark)
            skipped = len(actions) - index - 1
            outcome.action_codes = [
                *[ResultCode.ROLLED_BACK] * index,
                code,
                *[ResultCode.NOT_ATTEMPTED] * skipped,
            ]
            outcome.code = code
            return
    outcome.action_codes = [ResultCode.OK] * len(actions)
    outcome.code = ResultCode.OK


def _note_undone(account: Account, height: int, steps: int) -> None:
    if account.undone_block != height:
        account.undone_block, account.undone_steps = height, 0
    account.undone_steps += steps


def _undo(machine: TransferMachine, scope: Scope, savepoint: Savepoint, mark: int) -> None:
    rollback(scope.venue, machine, savepoint)
    del scope.events[mark:]


def _run_action(machine: TransferMachine, scope: Scope, action: Action) -> ResultCode:
    if len(scope.events) >= MAX_EVENTS:
        return ResultCode.TOO_MANY_EVENTS
    scope.begin_action()
    try:
        return _dispatch(machine, scope, action)
    except Overflow:
        return ResultCode.OVERFLOW


def _dispatch(machine: TransferMachine, scope: Scope, action: Action) -> ResultCode:
    match action:
        case Place():
            return apply_place(scope, action)
        case Cancel():
            return apply_cancel(scope, action)
        case CancelAll():
            return apply_cancel_all(scope, action)
        case Amend():
            return apply_amend(scope, action)
        case Transfer():
            return apply_transfer(scope, action)
        case SubaccountTransfer():
            return apply_subaccount_transfer(scope, action)
        case CrossTransfer():
            return apply_cross_transfer(scope, machine, action)
        case OracleReport():
            return apply_report(scope.venue, scope.subaccount.account.address, action)
        case FaucetMint():
            return apply_faucet_mint(scope, action)
        case _:
            assert_never(action)
