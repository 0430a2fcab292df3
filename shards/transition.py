"""The state transition of one block, phase by phase.

    inbox → oracle reports, then mark → transactions → liquidation → expiry sweep → funding sampling and accrual

Marks, bands, funding index and margin rates are fixed after the reports, so requirements never go stale inside a
block. Transactions run in three stages, in payload order inside each: cancels and shrinks; post-only orders; the
rest. So a maker who cancels is not picked off by a taker of the same block. A transaction belongs to the stage of
its latest action. A pure cancel that finds nothing runs again at its own place in the last stage, after the place
that it may have been meant for.
"""

from __future__ import annotations

from collections.abc import Sequence

from crosslink.messages import Verdict
from crosslink.transfers import TransferEvent, TransferMachine, TransferPhase
from shards.amending import find_amended, is_shrink
from shards.cancelling import cancel_order
from shards.events import CancelReason, EventKind, EventTuple
from shards.execution import Outcome, execute_transaction, has_missed, retry_cancels
from shards.expiries import SWEEP_PER_BLOCK
from shards.funding import sample_and_accrue
from shards.idle import EVICTIONS_PER_BLOCK
from shards.liquidation import liquidate
from shards.mark import fix_block_values
from shards.orders import POST_ONLY
from shards.scope import Scope
from shards.transactions import Amend, SignedTransaction, Stage
from shards.transfers import compute_bad_debt
from shards.venue import Venue, touch_account


def run_transactions(
    venue: Venue, machine: TransferMachine, transactions: Sequence[SignedTransaction]
) -> list[Outcome]:
    """Phases two and three: reports, mark, and the three stages; outcomes by payload position."""
    outcomes = [Outcome(transaction, position) for position, transaction in enumerate(transactions)]
    stages: tuple[list[Outcome], list[Outcome], list[Outcome]] = ([], [], [])
    others: list[Outcome] = []
    for outcome in outcomes:
        transaction = outcome.transaction
        if transaction.is_report and transaction.sender in venue.reporters:
            execute_transaction(venue, machine, outcome)
        else:
            others.append(outcome)
    fix_block_values(venue)
    # Counted once, because every lock asks; a transaction can only pay it back.
    venue.bad_debt = compute_bad_debt(venue)
    for outcome in others:
        stages[classify(venue, outcome.transaction)].append(outcome)
    for stage in stages[:2]:
        for outcome in stage:
            execute_transaction(venue, machine, outcome)
    last = stages[Stage.REST]
    missed = [outcome for outcome in stages[Stage.CANCELS] if has_missed(outcome)]
    if missed:
        last = sorted([*last, *missed], key=_get_position)
    for outcome in last:
        if outcome.scope is None:
            execute_transaction(venue, machine, outcome)
        else:
            retry_cancels(machine, outcome)
    venue.notes.clear()
    return outcomes


def _get_position(outcome: Outcome) -> int:
    return outcome.position


def classify(venue: Venue, transaction: SignedTransaction) -> Stage:
    """The stage of a transaction. What an amend is depends on the order that it finds at this point."""
    stage = transaction.stage
    if stage is Stage.REST or not transaction.has_amend:
        return stage
    envelope = transaction.envelope
    account = venue.accounts.get(envelope.account)
    if account is None:
        return stage
    scope = Scope(venue, account.subaccount(envelope.subaccount), envelope.nonce, [])
    for action in envelope.actions:
        if isinstance(action, Amend):
            stage = max(stage, _classify_amend(scope, action))
    return stage


def _classify_amend(scope: Scope, action: Amend) -> Stage:
    found = find_amended(scope, action)
    if found is None:
        return Stage.REST
    order = found[1]
    if is_shrink(order, action):
        return Stage.CANCELS
    return Stage.POST_ONLY if order.flags & POST_ONLY else Stage.REST


def run_closing_phases(venue: Venue) -> list[EventTuple]:
    """Liquidation, expiry sweep, sampling and accrual; the events are the block's own."""
    events: list[EventTuple] = []
    liquidate(venue, events)
    sweep_expired(venue, events)
    sample_and_accrue(venue, events)
    forget_idle_accounts(venue)
    venue.notes.clear()
    return events


def sweep_expired(venue: Venue, events: list[EventTuple]) -> None:
    """Cancel up to 256 expired orders by (expiry, market, seq)."""
    for _ in range(SWEEP_PER_BLOCK):
        found = venue.expiries.pop_expired(venue.time_ms)
        if found is None:
            return
        position, seq = found
        cancel_order(events, position, position.orders[seq], CancelReason.EXPIRED)


def forget_idle_accounts(venue: Venue) -> None:
    """Drop up to 64 accounts that are empty and have been unused for over an hour."""
    for _ in range(EVICTIONS_PER_BLOCK):
        account = venue.idle.pop_due(venue.accounts, venue.time_ms, venue.permanent)
        if account is None:
            return
        del venue.accounts[account.address]
        touch_account(venue, account)


def describe_transfer(event: TransferEvent) -> EventTuple | None:
    """The block's own event for a step of a cross-shard transfer that changed somebody's cash here."""
    released = event.phase is TransferPhase.RELEASED
    refunded = event.phase is TransferPhase.SETTLED and event.verdict is not Verdict.ACCEPTED
    if not (released or refunded):
        return None
    return (EventKind.CREDITED, event.account, event.subaccount, event.asset, event.amount)
