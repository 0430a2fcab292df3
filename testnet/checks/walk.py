"""Reading for the checks: every block of every member, every transaction, every cut, every transfer, once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from crosslink.header import compute_header_hash
from crosslink.messages import compute_xid
from crosslink.summary import ShardSummary, compute_summary_root, decode_summary
from node.client import CertifiedHeader, NodeClient, read_certified_header
from node.rpc.limits import MAX_BLOCKS
from primitives.errors import RemoteError
from primitives.identifiers import BEACON_SHARD, format_committee, parse_address
from shards.transactions import decode_transaction
from testnet.checks.chains import CertificateCheck, ServedBlock
from testnet.checks.channels import OrderedTransaction, TransferSides
from testnet.checks.conservation import ConservationCheck, Cut
from testnet.checks.sources import LivingMember, Sources

MAX_TRANSFERS: Final = 50_000
"""Looked up one by one, two requests each; beyond it the oldest are left to the totals."""
MAX_EXTRA_PAGES: Final = 3
"""Read beyond the height where the check began, for certificates that cover the last blocks."""


class BlockObserver(Protocol):
    """A check that is fed blocks."""

    def on_block(self, block: ServedBlock) -> None: ...


@dataclass(slots=True)
class ChainIndex:
    """What later steps need of the chains that were walked: (shard, height) → hash and summary root; and by shard,
    height → how many transactions it holds, where somebody still has them."""

    hashes: dict[tuple[int, int], tuple[bytes, bytes]] = field(default_factory=dict)
    counts: dict[int, dict[int, int]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


# --- blocks ------------------------------------------------------------------------------------------------


async def walk_chains(
    sources: Sources, observers: Sequence[BlockObserver], certificates: CertificateCheck
) -> ChainIndex:
    """Feed every block of every living member to the observers."""
    index = ChainIndex()
    done = [0]
    total = sum(member.certified_height for member in sources.members)

    async def walk(_: int, member: LivingMember) -> None:
        try:
            await _walk_member(sources, member, observers, certificates, index, done, total)
        except RemoteError as error:
            index.remarks.append(f"{member.entry.name} stopped answering: {error.message}")

    await sources.map("reading chains", sources.members, walk)
    for shard in sources.network.committees:
        if not sources.of(shard):
            index.remarks.append(f"{format_committee(shard)} was not checked: nobody answers")
    return index


async def _walk_member(
    sources: Sources,
    member: LivingMember,
    observers: Sequence[BlockObserver],
    certificates: CertificateCheck,
    index: ChainIndex,
    done: list[int],
    total: int,
) -> None:
    start, extra = member.headers_from, 0
    while start <= member.certified_height or (
        certificates.is_waiting(member.entry.name) and extra < MAX_EXTRA_PAGES
    ):
        if start > member.certified_height:
            extra += 1
        page = await member.client.blocks(start, limit=MAX_BLOCKS)
        if not page:
            return
        for body in page:
            _observe(member, body, observers, index)
        start += len(page)
        done[0] += len(page)
        sources.progress.show("checking blocks", done[0], total)


def _observe(
    member: LivingMember, body: Mapping[str, Any], observers: Sequence[BlockObserver], index: ChainIndex
) -> None:
    certified: CertifiedHeader = read_certified_header(body)
    header = certified.header
    block_hash = compute_header_hash(header)
    shard = member.entry.shard
    block = ServedBlock(member.entry.name, shard, header, block_hash, certified.certificate)
    for observer in observers:
        observer.on_block(block)
    index.hashes.setdefault((shard, header.height), (block_hash, header.summary_root))
    count = body.get("transactions")
    if count is not None:
        index.counts.setdefault(shard, {})[header.height] = count


# --- transactions ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Transactions:
    """(shard, height, transaction) of all; and who signed any, by shard: nobody else can have a position, but in
    shards with ``unread`` blocks."""

    ordered: list[tuple[int, int, OrderedTransaction]] = field(default_factory=list)
    owners: dict[int, set[bytes]] = field(default_factory=dict)
    unread: dict[int, int] = field(default_factory=dict)
    """Blocks of a shard whose transactions nobody gave: pruned, mostly."""

    def describe_unread(self) -> str | None:
        """A remark for those who read the verdict; ``None`` where everything was read."""
        if not self.unread:
            return None
        shards = ", ".join(
            [f"{count} of {format_committee(shard)}" for shard, count in sorted(self.unread.items())]
        )
        return f"blocks whose transactions nobody has any more, or gave: {shards}"


async def read_transactions(sources: Sources, index: ChainIndex) -> Transactions:
    """Every transaction of every venue that somebody still has."""
    found = Transactions()
    places: list[tuple[int, int]] = []
    for shard in sources.network.venues:
        counts = index.counts.get(shard, {})
        places += [(shard, height) for height in sorted(counts) if counts[height]]
        unread = sum([height not in counts for height in range(1, sources.certified_height(shard) + 1)])
        if unread:
            found.unread[shard] = unread

    async def read(turn: int, place: tuple[int, int]) -> None:
        shard, height = place

        async def request(client: NodeClient) -> list[dict[str, Any]]:
            return [entry async for entry in client.block_transactions(height)]

        try:
            entries = await sources.ask(shard, request, turn)
        except RemoteError:
            found.unread[shard] = found.unread.get(shard, 0) + 1
            return
        for entry in entries:
            transaction = decode_transaction(bytes.fromhex(entry["bytes"]), sources.network.chain, shard)
            code = None if entry["receipt"] is None else str(entry["receipt"]["code"])
            ordered = OrderedTransaction(transaction.sender, transaction.envelope.nonce, code)
            found.ordered.append((shard, height, ordered))
            found.owners.setdefault(shard, set()).add(transaction.sender)

    await sources.map("reading transactions", places, read)
    return found


# --- cuts --------------------------------------------------------------------------------------------------


async def read_cuts(sources: Sources, index: ChainIndex, check: ConservationCheck) -> None:
    """Feed the cut of every beacon height to the check."""
    heights = range(1, sources.certified_height(BEACON_SHARD) + 1)

    async def read_tips(turn: int, height: int) -> dict[str, Any] | str:
        try:
            return await sources.ask(BEACON_SHARD, lambda client: client.tips(height), turn)
        except RemoteError as error:
            return error.message

    tips = await sources.map("reading the beacon", heights, read_tips)
    wanted = sorted({_place_of(tip) for entry in tips if not isinstance(entry, str) for tip in _registered(entry)})

    async def read(turn: int, place: tuple[int, int, bytes]) -> ShardSummary | str:
        return await _read_summary(sources, index, place, turn)

    summaries = dict(zip(wanted, await sources.map("reading summaries", wanted, read), strict=True))
    for height, entry in zip(heights, tips, strict=True):
        if isinstance(entry, str):
            check.on_unreadable(height, entry)
            continue
        _feed_cut(check, height, entry, {place: summaries[place] for place in map(_place_of, _registered(entry))})


def _feed_cut(
    check: ConservationCheck,
    height: int,
    entry: Mapping[str, Any],
    summaries: Mapping[tuple[int, int, bytes], ShardSummary | str],
) -> None:
    readable: dict[int, ShardSummary] = {}
    for place, summary in summaries.items():
        if isinstance(summary, str):
            check.on_unreadable(height, summary)
            return
        readable[place[0]] = summary
    check.on_cut(Cut(height, readable, entry.get("conserved") is True))


def _registered(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [tip for tip in entry["tips"] if tip["height"] > 0]


def _place_of(tip: Mapping[str, Any]) -> tuple[int, int, bytes]:
    return tip["shard"], tip["height"], bytes.fromhex(tip["hash"])


async def _read_summary(
    sources: Sources, index: ChainIndex, place: tuple[int, int, bytes], turn: int
) -> ShardSummary | str:
    """The summary at a registered tip, proved by the header of the walked chain; else a sentence."""
    shard, height, tip_hash = place
    name = f"shard{shard} height {height}"
    known = index.hashes.get((shard, height))
    if known is None:
        return f"{name} is registered, but nobody shows it"
    if known[0] != tip_hash:
        return f"{name} is registered as {tip_hash.hex()[:16]}, the shard shows {known[0].hex()[:16]}"
    try:
        answer = await sources.ask(shard, lambda client: client.summary(height), turn)
        summary = decode_summary(bytes.fromhex(answer["bytes"]))
    except (RemoteError, KeyError, ValueError) as error:
        return f"{name}: its summary cannot be read: {error}"
    if compute_summary_root(summary) != known[1]:
        return f"{name}: the summary is not the one that the header commits to"
    return summary


async def read_last_summaries(sources: Sources) -> dict[int, ShardSummary]:
    """The newest certified summary of every venue that answers."""
    summaries: dict[int, ShardSummary] = {}
    for shard in sources.network.venues:
        try:
            answer = await sources.ask(shard, lambda client: client.summary())
            summaries[shard] = decode_summary(bytes.fromhex(answer["bytes"]))
        except RemoteError:
            continue
    return summaries


# --- transfers ---------------------------------------------------------------------------------------------


async def read_transfers(
    sources: Sources, summaries: Mapping[int, ShardSummary]
) -> tuple[list[TransferSides], list[str]]:
    """Every transfer that any shard sent, as both ends show it; and what could not be looked at."""
    wanted = [
        (source, record.peer, sequence)
        for source, summary in sorted(summaries.items())
        for record in summary.peers
        for sequence in range(record.next_send)
    ]
    remarks = []
    if len(wanted) > MAX_TRANSFERS:
        remarks.append(f"only the last {MAX_TRANSFERS} of {len(wanted)} transfers were looked up one by one")
        wanted = wanted[-MAX_TRANSFERS:]
    for shard in sorted({shard for source, peer, _ in wanted for shard in (source, peer)}):
        if not sources.of(shard):
            remarks.append(f"transfers of shard{shard} were not looked up: nobody answers")
    readable = [entry for entry in wanted if sources.of(entry[0]) and sources.of(entry[1])]

    async def read(turn: int, entry: tuple[int, int, int]) -> TransferSides:
        source, destination, sequence = entry
        xid = compute_xid(sources.network.chain, source, destination, sequence)
        # The source first: what the destination says is then the newer of the two.
        left = await _ask_transfer(sources, source, xid, turn)
        arrived = await _ask_transfer(sources, destination, xid, turn)
        return TransferSides(
            source,
            destination,
            sequence,
            None if left is None else left["state"],
            None if arrived is None else arrived["state"],
            0 if left is None else left["amount_raw"],
            0 if arrived is None else arrived["amount_raw"],
        )

    return await sources.map("reading transfers", readable, read), remarks


async def _ask_transfer(sources: Sources, shard: int, xid: bytes, turn: int) -> dict[str, Any] | None:
    try:
        return await sources.ask(shard, lambda client: client.transfer(xid), turn)
    except RemoteError as error:
        if error.code == "NOT_FOUND":
            return None
        raise


# --- accounts ----------------------------------------------------------------------------------------------


async def read_accounts(sources: Sources, shard: int, owners: Sequence[bytes]) -> list[dict[str, Any]]:
    """The accounts of a shard that exist, all from one member, so that they fit together."""
    member = sources.of(shard)[0]

    async def read(_: int, owner: bytes) -> dict[str, Any] | None:
        try:
            return await member.client.account(owner)
        except RemoteError as error:
            if error.code == "NOT_FOUND":
                return None
            raise

    records = await sources.map(f"reading accounts of shard {shard}", owners, read)
    return [record for record in records if record is not None]


def list_genesis_accounts(application: Mapping[str, Any]) -> set[bytes]:
    """The addresses that a shard's genesis names."""
    return {parse_address(account["address"]) for account in application.get("accounts", ())}
