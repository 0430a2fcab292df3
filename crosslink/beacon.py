"""The beacon: an application under the same replica that registers shard headers. Satisfies ``Application``.

Theory of operation. Its transactions are submissions, fork reports and evidence. Whatever the bytes and the genesis
decide is found in ``decode`` and ``verify``, so it makes a batch invalid; what depends on the state is decided in
``execute`` and gives a receipt with a code. In a block, in payload order:

    SubmitHeaders   FORK → the shard is frozen, a ``Freeze`` leaves
                    OK   → registered, a ``Registration`` leaves
                    else → a receipt; where only a faulty committee earns the code, also a record (an alarm)
    ReportFork      the shard is frozen, unless it is already
    ReportEvidence  OK   → the offence is recorded, an ``Offence`` leaves (``crosslink.offences``)

A block registers at most M messages; what does not fit is refused with ``BLOCK_FULL`` and submitted again. The
header's ``summary_root`` commits to the registered tips and to I1 added up over them: every beacon height is a
consistent cut of all shards.

What does not live here: the rules (``crosslink.registry``, ``crosslink.conservation``), bundles for followers
(``crosslink.bundle``), when to propose (the replica; ``readiness`` says that something is open).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

from consensus.certificate import Certificate, verify_certificate
from consensus.committee import Committee
from consensus.evidence import MAX_ITEM_SIGNATURES, EvidenceItem, Jurisdiction, SignatureMeter
from crosslink.block import BlockInput, BlockResult, Readiness, TransactionReceipt
from crosslink.bundle import BlockDeliveries
from crosslink.conservation import (
    AssetTotals,
    BeaconSummary,
    TipSummary,
    compute_totals,
    count_open,
    is_conserved,
)
from crosslink.executed_batches import RECORD_PREFIX as BATCH_PREFIX
from crosslink.executed_batches import ExecutedBatches
from crosslink.forks import ReportFork, name_guilty, validate_report, verify_report
from crosslink.messages import ShardNumber
from crosslink.offences import RECORD_PREFIX as OFFENCE_PREFIX
from crosslink.offences import BlockBudget, OffenceBook, ReportEvidence, compute_item_hash
from crosslink.records import Freeze, Registration
from crosslink.registry import ALARMING, OK, Registry
from crosslink.submission import CheckedSubmission, SubmitHeaders, check_submission
from primitives.codec import Digest, Unsigned, Wire, decode, encode
from primitives.errors import RemoteError
from primitives.hashing import ZERO_DIGEST, hash_tagged
from primitives.merkle import compute_root
from primitives.parameters import ProtocolParameters
from primitives.signing import SignatureScheme
from primitives.state_tree import StateTree

RECENT_BLOCKS: Final = 128
"""Deliveries kept in memory for pushing bundles; older ones are collected from the store."""
ADMITTED_AHEAD_HEADERS: Final = 1_024
"""A submission may wait in the mempool for the one before it; four full ones ahead is more than any queue."""
MAX_RECEIPT_BYTES: Final = 1_024
OVERDUE_HEARTBEATS: Final = 4
"""So many missed heartbeats while transfers are open are worth a complaint about the leader."""


class BeaconReceipt(Wire, frozen=True):
    """What became of a beacon transaction: ``code`` is ``OK`` or why nothing was registered; ``height`` is the
    last submitted header's, the contested one's, or the slot of an offence."""

    transaction: Digest
    shard: ShardNumber
    height: Unsigned
    code: str


def decode_beacon_receipt(data: bytes) -> BeaconReceipt:
    """The receipt in ``data``; raises ``RemoteError``."""
    receipt: BeaconReceipt = decode(BeaconReceipt, data, max_bytes=MAX_RECEIPT_BYTES)
    return receipt


@dataclass(frozen=True, slots=True)
class CheckedReport:
    """A fork report that passed every pure check, signatures apart, and the two contested hashes."""

    report: ReportFork
    hashes: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class BeaconTransaction:
    """A decoded beacon transaction. ``sender`` is its shard: shards share the beacon fairly."""

    id: bytes
    sender: bytes
    size_bytes: int
    content: CheckedSubmission | CheckedReport | EvidenceItem
    priority: bool = False


@dataclass(slots=True)
class _Block:
    """What one block has done so far."""

    height: int
    messages_left: int
    evidence: BlockBudget
    outbox: list[bytes] = field(default_factory=list)
    deliveries: list[Mapping[int, tuple[bytes, ...]]] = field(default_factory=list)
    receipts: list[TransactionReceipt] = field(default_factory=list)


class BeaconApplication:
    """``committees`` are the user shards' of the genesis, by shard number; ``jurisdictions`` the committees against
    whose members evidence is taken, the beacon's own among them."""

    def __init__(
        self,
        chain: bytes,
        committees: Mapping[int, Committee],
        parameters: ProtocolParameters,
        scheme: SignatureScheme,
        jurisdictions: Mapping[int, Jurisdiction] | None = None,
    ) -> None:
        self._chain = chain
        self._committees = dict(committees)
        self._parameters = parameters
        self._scheme = scheme
        self._registry = Registry(self._committees.keys(), parameters)
        self._executed = ExecutedBatches(parameters.batch_lifetime_blocks)
        self._offences = OffenceBook(jurisdictions or {})
        self._tree = StateTree(parameters.bucket_count)
        self._totals: tuple[AssetTotals, ...] = ()
        self._open_transfers = 0
        self._recent: OrderedDict[int, BlockDeliveries] = OrderedDict()

    # --- before ordering -----------------------------------------------------------------------------------

    def decode(self, data: bytes) -> BeaconTransaction:
        """The transaction in ``data``, checked in every way that needs no state and no signature."""
        limit = self._parameters.submission_bytes
        message: SubmitHeaders | ReportFork | ReportEvidence = decode(
            SubmitHeaders | ReportFork | ReportEvidence, data, max_bytes=limit
        )
        match message:
            case SubmitHeaders():
                checked = check_submission(message, self._chain, self._committees, self._parameters)
                return BeaconTransaction(checked.id, _sender(checked.shard), len(data), checked)
            case ReportFork():
                hashes = validate_report(message, self._chain)
                shard = message.first.headers[0].shard
                if shard not in self._committees:
                    raise RemoteError("UNKNOWN_SHARD", f"the genesis has no shard {shard}", penalise=True)
                identity = hash_tagged(b"rialto/fork-report", *sorted(hashes))
                return BeaconTransaction(identity, _sender(shard), len(data), CheckedReport(message, hashes))
            case ReportEvidence(item):
                self._offences.validate(item, len(data))
                return BeaconTransaction(compute_item_hash(item), _sender(item.shard), len(data), item)
            case _:
                assert_never(message)

    def verify(self, transaction: BeaconTransaction) -> None:
        """Check the certificate (q signatures), or both of a report; raises ``RemoteError``. Evidence is verified
        at admission and at execution, which have budgets for it."""
        match transaction.content:
            case CheckedSubmission() as submission:
                committee = self._committees[submission.shard]
                verify_certificate(submission.certificate, committee, self._scheme)
            case CheckedReport(report):
                verify_report(report, self._committees[report.first.headers[0].shard], self._scheme)
            case EvidenceItem():
                pass
            case _:
                assert_never(transaction.content)

    def admit(self, transaction: BeaconTransaction, now_ms: int) -> None:
        """Refuse what cannot be registered any more, or not for long; raises ``RemoteError``.

        A submission that contradicts a registered header is admitted: it is evidence.
        """
        match transaction.content:
            case CheckedSubmission() as submission:
                code = self._registry.assess_place(submission)
                ahead = submission.headers[0].height - self._registry.tip(submission.shard).height
                if code == "GAP" and ahead <= ADMITTED_AHEAD_HEADERS:
                    return
                if code not in (OK, "FORK"):
                    raise RemoteError(code, "the beacon has no use for these headers now; see the registered tip")
            case CheckedReport(report):
                if self._registry.tip(report.first.headers[0].shard).frozen:
                    raise RemoteError("FROZEN", "the shard is frozen already")
            case EvidenceItem() as item:
                code = self._offences.assess(item)
                if code != OK:
                    raise RemoteError(code, "the beacon has recorded this, or enough of this member")
                self._offences.verify(item, SignatureMeter(self._scheme, MAX_ITEM_SIGNATURES))
            case _:
                assert_never(transaction.content)

    # --- execution -----------------------------------------------------------------------------------------

    def execute(self, block: BlockInput) -> BlockResult:
        """Apply one block."""
        if block.height > 1 and block.parent_hash != ZERO_DIGEST:
            self._registry.apply_own_hash(block.height - 1, block.parent_hash)
        budget = BlockBudget(self._scheme)
        current = _Block(block.height, self._parameters.messages_per_beacon_block, budget)
        for batch in self._executed.filter(block.height, block.batches):
            for transaction in batch.transactions:
                self._execute_transaction(transaction, current)
        if current.outbox:
            self._recount()
        self._remember_deliveries(current)
        changes = {
            **self._registry.take_changes(),
            **self._executed.take_changes(),
            **self._offences.take_changes(),
        }
        summary = encode(self.summarise())
        return BlockResult(
            state_root=self._tree.update(changes),
            receipts_root=compute_root([receipt.encoded for receipt in current.receipts]),
            outbox_root=compute_root(current.outbox),
            summary_root=compute_root([summary]),
            changes=changes,
            receipts=tuple(current.receipts),
            outbox=tuple(current.outbox),
            summary=summary,
        )

    def _execute_transaction(self, transaction: BeaconTransaction, current: _Block) -> None:
        match transaction.content:
            case CheckedSubmission() as submission:
                shard, height = submission.shard, submission.tip.height
                code = self._execute_submission(submission, current)
            case CheckedReport(report, hashes):
                contested = report.first.headers[0]
                shard, height = contested.shard, contested.height
                code = self._execute_report(report, hashes, current)
            case EvidenceItem() as item:
                shard, height = item.shard, item.slot
                code = self._execute_evidence(item, current)
            case _:
                assert_never(transaction.content)
        receipt = BeaconReceipt(transaction.id, shard, height, code)
        current.receipts.append(TransactionReceipt(transaction.id, encode(receipt)))

    def _execute_submission(self, submission: CheckedSubmission, current: _Block) -> str:
        code = self._registry.assess(submission, current.height)
        if code == OK and submission.message_count > current.messages_left:
            return "BLOCK_FULL"
        if code == OK:
            self._register(submission, current)
        elif code == "FORK":
            self._freeze_by_submission(submission, current)
        elif code in ALARMING:
            self._registry.apply_refusal(submission, code, current.height)
        return code

    def _register(self, submission: CheckedSubmission, current: _Block) -> None:
        self._registry.apply_submission(submission, current.height)
        current.messages_left -= submission.message_count
        tip = submission.tip
        record = Registration(
            shard=tip.shard,
            incarnation=tip.incarnation,
            first_height=submission.headers[0].height,
            height=tip.height,
            tip_hash=submission.tip_hash,
            beacon_ref_height=tip.beacon_ref.height,
            deliveries=submission.list_deliveries(),
        )
        current.outbox.append(encode(record))
        current.deliveries.append(submission.leaves)

    def _freeze_by_submission(self, submission: CheckedSubmission, current: _Block) -> None:
        conflict = self._registry.find_conflict(submission)
        assert conflict is not None, "a fork is a conflict with a registered header"
        registered = self._registry.certificate(submission.shard)
        height, *hashes = conflict
        self._freeze(submission.tip.shard, height, hashes, registered, submission.certificate, current)

    def _execute_report(self, report: ReportFork, hashes: tuple[bytes, bytes], current: _Block) -> str:
        contested = report.first.headers[0]
        if self._registry.tip(contested.shard).frozen:
            return "FROZEN"
        first, second = report.first.certificate, report.second.certificate
        self._freeze(contested.shard, contested.height, list(hashes), first, second, current)
        return OK

    def _execute_evidence(self, item: EvidenceItem, current: _Block) -> str:
        code = self._offences.judge(item, current.evidence)
        if code != OK:
            return code
        offence = self._offences.apply(item, current.height)
        current.outbox.append(encode(offence))
        return OK

    def _freeze(
        self,
        shard: int,
        height: int,
        hashes: list[bytes],
        first: Certificate,
        second: Certificate,
        current: _Block,
    ) -> None:
        guilty = name_guilty(first, second, self._committees[shard])
        record = Freeze(shard, first.incarnation, height, hashes[0], hashes[1], guilty)
        self._registry.apply_freeze(record, first, second, current.height)
        current.outbox.append(encode(record))

    def _recount(self) -> None:
        """Add I1 up over the registered tips; only after a registration does it change."""
        summaries = self._registry.summaries()
        self._totals = compute_totals(summaries)
        self._open_transfers = count_open(summaries)

    def _remember_deliveries(self, current: _Block) -> None:
        self._recent[current.height] = tuple(current.deliveries)
        while len(self._recent) > RECENT_BLOCKS:
            self._recent.popitem(last=False)

    # --- idleness ------------------------------------------------------------------------------------------

    def readiness(self, now_ms: int, last_block_ms: int) -> Readiness:
        """A heartbeat block while anything is open: deadlines are beacon heights and must come."""
        in_flight = any(totals.in_flight for totals in self._totals)
        waited = now_ms - last_block_ms
        if not (self._open_transfers or in_flight) or waited < self._parameters.beacon_heartbeat_ms:
            return Readiness.IDLE
        if waited >= OVERDUE_HEARTBEATS * self._parameters.beacon_heartbeat_ms:
            return Readiness.OVERDUE
        return Readiness.PENDING

    # --- state ---------------------------------------------------------------------------------------------

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Replace the state by ``records``; returns the root. Raises ``LocalError``."""
        everything = dict(records)
        batches = [(key, value) for key, value in everything.items() if key.startswith(BATCH_PREFIX)]
        offences = [(key, value) for key, value in everything.items() if key.startswith(OFFENCE_PREFIX)]
        others = (BATCH_PREFIX, OFFENCE_PREFIX)
        rest = [(key, value) for key, value in everything.items() if not key.startswith(others)]
        self._executed.load(batches)
        self._offences.load(offences)
        self._registry.load(rest)
        self._recent.clear()
        self._recount()
        self._tree = StateTree(self._parameters.bucket_count)
        return self._tree.update(everything)

    def remembers_batch(self, digest: bytes) -> bool:
        """Whether a batch is known as executed, which it is until it expires."""
        return digest in self._executed

    def genesis_records(self) -> Iterable[tuple[bytes, bytes]]:
        """Nothing is registered at height 0."""
        return ()

    # --- queries -------------------------------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        """The tables, for reading."""
        return self._registry

    @property
    def offences(self) -> OffenceBook:
        """What is recorded against members, for reading."""
        return self._offences

    def is_settled(self, item: EvidenceItem) -> bool:
        """Whether nothing is won by reporting ``item`` any more."""
        return self._offences.assess(item) != OK

    def summarise(self) -> BeaconSummary:
        """The tips and I1 as of the last executed block."""
        tips: list[TipSummary] = []
        for shard in self._registry.shards:
            tip = self._registry.tip(shard)
            tips.append(TipSummary(shard, tip.incarnation, tip.height, tip.hash, tip.beacon_ref_height, tip.frozen))
        conserved = all(is_conserved(totals) for totals in self._totals)
        return BeaconSummary(tuple(tips), self._totals, self._open_transfers, conserved)

    def lowest_followed(self) -> int:
        """Up to this height no follower needs our blocks any more."""
        return self._registry.lowest_followed()

    def recent_deliveries(self, height: int) -> BlockDeliveries | None:
        """What ``encode_bundle`` needs, for one of the newest blocks; older ones: ``collect_deliveries``."""
        return self._recent.get(height)


def _sender(shard: int) -> bytes:
    return b"shard" + shard.to_bytes(4, "big")
