"""The shard's application: what the replica drives, as ``node.application.Application`` asks.

What lives here: decoding, admission, and one block from its input to its roots. What does not: the phases inside a
block (``shards.transition``), the rules (one noun a file), consensus and storage (``node``).
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence

from crosslink.block import BlockInput, BlockResult, Readiness, TransactionReceipt
from crosslink.channels import RECORD_PREFIX as CHANNEL_PREFIX
from crosslink.conservation import compute_mint_limit
from crosslink.executed_batches import RECORD_PREFIX as BATCH_PREFIX
from crosslink.executed_batches import ExecutedBatches
from crosslink.follower import BeaconFollower
from crosslink.header import InboxCursor
from crosslink.inbox import assess_readiness, derive_inbox
from crosslink.summary import ShardSummary, compute_summary_root
from crosslink.transfer_notices import describe_transfers
from crosslink.transfers import TransferEvent, TransferMachine
from primitives.codec import encode
from primitives.merkle import compute_root
from primitives.parameters import ProtocolParameters
from primitives.signing import SignatureScheme
from primitives.state_tree import StateTree
from shards.audit import Auditor
from shards.buckets import summarise_assets
from shards.codes import ResultCode, refuse
from shards.events import EventTuple
from shards.execution import Outcome, check_envelope
from shards.fees import can_pay, compute_action_fee
from shards.genesis import ShardParameters
from shards.idle import is_idle
from shards.invariants import check
from shards.receipts import compute_block_receipt_id, encode_receipt
from shards.records import encode_genesis, take_changes
from shards.restoring import build_genesis_venue, load_venue
from shards.subscriptions import BlockMessages
from shards.transactions import SETTLEMENT_ASSET, SignedTransaction, decode_transaction, verify_transaction
from shards.transfers import CollateralLedger
from shards.transition import describe_transfer, run_closing_phases, run_transactions
from shards.venue import MAX_HELD, Venue


class ShardApplication:
    """One shard's state machine. Starts at genesis; ``load`` replaces the state.

    ``peers`` are the other user shards; ``follower`` is fed by the replica. With ``paranoid`` every invariant is
    counted again after each block, and each transaction is audited.
    """

    def __init__(
        self,
        parameters: ShardParameters,
        protocol: ProtocolParameters,
        chain: bytes,
        peers: Iterable[int],
        follower: BeaconFollower,
        scheme: SignatureScheme,
        *,
        paranoid: bool = False,
    ) -> None:
        self._parameters = parameters
        self._protocol = protocol
        self._chain = chain
        self._peers = tuple(sorted(peers))
        self._mint_limit = min(MAX_HELD, compute_mint_limit(len({*self._peers, parameters.shard})))
        self._follower = follower
        self._scheme = scheme
        self._paranoid = paranoid
        self.load(self.genesis_records())

    # --- transactions --------------------------------------------------------------------------------------

    def decode(self, data: bytes) -> SignedTransaction:
        """The transaction in ``data``; raises ``RemoteError``."""
        return decode_transaction(data, self._chain, self._parameters.shard)

    def verify(self, transaction: SignedTransaction) -> None:
        """Check the owner's signature; raises ``RemoteError``."""
        verify_transaction(transaction, self._scheme)

    def admit(self, transaction: SignedTransaction, now_ms: int) -> None:
        """Raise ``RemoteError`` with the code that execution would give an unknown, unfunded, late or replayed
        transaction if it came now. What is free is not admitted from an account that has nothing here: it can
        cancel nothing, and would fill blocks at nobody's expense."""
        venue = self.venue
        envelope = transaction.envelope
        account = venue.accounts.get(envelope.account)
        code = check_envelope(account, envelope.nonce, envelope.valid_until_ms, now_ms)
        if code or account is None:
            raise refuse(code)
        fee = compute_action_fee(venue, account, transaction)
        subaccount = account.subaccounts.get(envelope.subaccount)
        if fee and (subaccount is None or not can_pay(venue, subaccount, fee)):
            raise refuse(ResultCode.NO_FUNDS)
        if not fee and is_idle(account) and account.address not in venue.permanent:
            raise refuse(ResultCode.NO_FUNDS)

    # --- the block -----------------------------------------------------------------------------------------

    def execute(self, block: BlockInput) -> BlockResult:
        """Apply one block. Garbage is never collected inside it: a pause there would hit every member at once."""
        was_collecting = gc.isenabled()
        gc.disable()
        try:
            return self._execute(block)
        finally:
            if was_collecting:
                gc.enable()

    def _execute(self, block: BlockInput) -> BlockResult:
        venue = self.venue
        venue.begin_block(block.height, block.timestamp_ms, block.beacon_ref.height)
        steps, cursor = self._consume_inbox(block)
        own_events = [event for event in map(describe_transfer, steps) if event is not None]
        batches = self._executed.filter(block.height, block.batches)
        transactions = [transaction for batch in batches for transaction in batch.transactions]
        outcomes = run_transactions(venue, self.machine, transactions)
        own_events += run_closing_phases(venue)
        receipts = self._encode_receipts(outcomes, own_events)
        changes = take_changes(venue, cursor)
        changes.update(self.machine.take_changes())
        changes.update(self._executed.take_changes())
        summary = ShardSummary(summarise_assets(venue), self.machine.summarise_peers())
        if self._paranoid:
            check(venue, summary.peers)
        self._cursor = cursor
        outbox = self.machine.outbox
        return BlockResult(
            state_root=self._tree.update(changes),
            receipts_root=compute_root([receipt.encoded for receipt in receipts]),
            outbox_root=compute_root(outbox),
            summary_root=compute_summary_root(summary),
            changes=changes,
            receipts=receipts,
            outbox=outbox,
            summary=encode(summary),
            inbox_cursor=cursor,
            transfers=describe_transfers(steps, outbox, self._protocol.message_bytes),
            events=BlockMessages(venue, outcomes),
        )

    def _consume_inbox(self, block: BlockInput) -> tuple[list[TransferEvent], InboxCursor]:
        """Free what is registered, then apply what the beacon has for us, in its order."""
        machine, beacon_height = self.machine, block.beacon_ref.height
        machine.begin_block(block.height, beacon_height, self._follower.view_at(beacon_height))
        steps = list(machine.release())
        intake = derive_inbox(self._follower, block.parent_cursor, beacon_height, self._protocol)
        for item in intake.items:
            step = machine.consume(item.message)
            if step is not None:
                steps.append(step)
        self.venue.notes.clear()
        return steps, intake.cursor

    def _encode_receipts(
        self, outcomes: Sequence[Outcome], own_events: list[EventTuple]
    ) -> tuple[TransactionReceipt, ...]:
        """One by payload position, and the block's own last where it has events."""
        receipts = [
            TransactionReceipt(
                outcome.transaction.id,
                encode_receipt(
                    outcome.transaction.id,
                    outcome.position,
                    outcome.code,
                    outcome.action_codes,
                    outcome.fee,
                    outcome.events,
                ),
            )
            for outcome in outcomes
        ]
        if own_events:
            identity = compute_block_receipt_id(self._chain, self._parameters.shard, self.venue.height)
            encoded = encode_receipt(identity, len(outcomes), ResultCode.OK, [], 0, own_events)
            receipts.append(TransactionReceipt(identity, encoded))
        return tuple(receipts)

    def readiness(self, now_ms: int, last_block_ms: int) -> Readiness:
        """Whether the crosslinks want a block; apart from them a shard wants none, whatever the time is."""
        assert now_ms >= 0 and last_block_ms >= 0, "times count from the epoch"
        head = self._follower.head.height
        beacon_height = self.venue.beacon_height
        release_is_due = head > beacon_height and self.machine.is_release_due(self._follower.view_at(head))
        return assess_readiness(self._follower, self._cursor, beacon_height, release_is_due, self._protocol)

    # --- state ---------------------------------------------------------------------------------------------

    def remembers_batch(self, digest: bytes) -> bool:
        """Whether a batch is known as executed, which it is until it expires."""
        return digest in self._executed

    def genesis_records(self) -> Iterable[tuple[bytes, bytes]]:
        """The state at height 0."""
        return encode_genesis(build_genesis_venue(self._parameters, self._mint_limit))

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Replace the state; the root is returned. Raises ``LocalError`` where ``records`` are no state."""
        everything = list(records)
        own: list[tuple[bytes, bytes]] = []
        channels: list[tuple[bytes, bytes]] = []
        batches: list[tuple[bytes, bytes]] = []
        for record in everything:
            if record[0].startswith(CHANNEL_PREFIX):
                channels.append(record)
            elif record[0].startswith(BATCH_PREFIX):
                batches.append(record)
            else:
                own.append(record)
        venue, cursor = load_venue(self._parameters, own, self._mint_limit)
        machine = self._make_machine(venue)
        machine.load(channels)
        machine.restore_pending()
        executed = ExecutedBatches(self._protocol.batch_lifetime_blocks)
        executed.load(batches)
        tree = StateTree(self._protocol.bucket_count)
        root = tree.update(dict(everything))
        venue.finish_restoring()
        venue.auditor = Auditor(venue) if self._paranoid else None
        self.venue: Venue = venue
        self.machine: TransferMachine = machine
        self._executed = executed
        self._tree = tree
        self._cursor = cursor
        return root

    def _make_machine(self, venue: Venue) -> TransferMachine:
        return TransferMachine(
            self._chain,
            self._parameters.shard,
            self._peers,
            self._protocol,
            {SETTLEMENT_ASSET: self._parameters.min_transfer},
            CollateralLedger(venue),
        )
