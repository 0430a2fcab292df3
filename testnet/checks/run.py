"""``rialto testnet check``: all checks over one network, in the order in which they can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import trio

from consensus.committee import Committee
from crosslink.summary import ShardSummary
from node.client import NodeClient
from node.clock import monotonic_ms, wall_ms
from primitives.errors import RemoteError
from primitives.identifiers import BEACON_SHARD, format_committee
from primitives.signing import Ed25519
from testnet.checks.chains import CertificateCheck, MonotoneCheck, PrefixCheck
from testnet.checks.channels import ExactlyOnceCheck, check_quiescence, is_quiescent
from testnet.checks.conservation import ConservationCheck
from testnet.checks.open_interest import MarketPositions, check_open_interest, collect_positions
from testnet.checks.sources import Sources, open_sources
from testnet.checks.verdicts import Verdict
from testnet.checks.walk import (
    ChainIndex,
    Transactions,
    list_genesis_accounts,
    read_accounts,
    read_cuts,
    read_last_summaries,
    read_transactions,
    read_transfers,
    walk_chains,
)
from testnet.directory import Network, NetworkDirectory, read_json, read_json_lines, write_json
from testnet.progress import Progress

SETTLE_POLL_S: Final = 0.5
STILL_ATTEMPTS: Final = 3
"""Reading all accounts takes a moment; a market that trades meanwhile is read again."""


async def run_checks(network: Network, progress: Progress, settle_s: float) -> dict[str, Any]:
    """``{"ok", "checks": [{"name", "ok", "detail"}], "evidence": […]}``; kept in the network's directory for the
    report. ``evidence`` is what the beacon recorded against members: a liar breaks no promise of the others.

    Waits up to ``settle_s`` for transfers in flight. Raises ``LocalError`` where nobody answers.
    """
    async with open_sources(network, progress) as sources:
        quiescence, summaries = await _wait_quiescence(sources, settle_s)
    # Read before the chains are, which only grow: what was sampled must be in them.
    directory = network.directory
    samples = drop_forgotten(read_json_lines(directory.samples_path), read_json_lines(directory.events_path))
    # Opened again: heights have grown while transfers settled.
    async with open_sources(network, progress) as sources:
        verdicts = await _check_all(sources, summaries, samples)
        evidence = await _read_evidence(sources)
    verdicts.insert(4, quiescence)
    outcome = {
        "ok": all(verdict.ok for verdict in verdicts),
        "checks": [verdict.to_json() for verdict in verdicts],
        "evidence": evidence,
    }
    write_json(network.directory.check_path, {"time_ms": wall_ms(), **outcome})
    return outcome


async def _read_evidence(sources: Sources) -> list[dict[str, Any]]:
    """Everything recorded, as far as a beacon member answers."""
    found: list[dict[str, Any]] = []
    if not sources.of(BEACON_SHARD):
        return found
    after: str | None = None
    while True:
        page = await sources.ask(BEACON_SHARD, partial(NodeClient.recorded_evidence, after=after))
        found += page["evidence"]
        after = page["next"]
        if after is None:
            return found


def drop_forgotten(
    samples: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The samples but those of members whose databases were emptied on purpose later: they owe them to nobody."""
    renewed = {name: event["time_ms"] for event in events if event["kind"] == "renew" for name in event["members"]}
    return [sample for sample in samples if sample["time_ms"] > renewed.get(sample["member"], 0)]


async def _check_all(
    sources: Sources, summaries: Mapping[int, ShardSummary], samples: Sequence[Mapping[str, Any]]
) -> list[Verdict]:
    network = sources.network
    committees = {
        shard: Committee(network.chain, shard, 0, 0, network.genesis.committee_of(shard))
        for shard in network.committees
    }
    prefix, monotone = PrefixCheck(), MonotoneCheck()
    certificates = CertificateCheck(committees, Ed25519())
    index = await walk_chains(sources, (prefix, monotone, certificates), certificates)
    monotone.on_samples(samples)
    _compare_memories(sources, index, monotone)
    conservation = ConservationCheck()
    await read_cuts(sources, index, conservation)
    transactions = await read_transactions(sources, index)
    exactly_once = await _check_once(sources, transactions, summaries)
    positions = await _read_positions(sources, transactions)
    silent = [format_committee(shard) for shard in network.venues if not sources.of(shard)]
    verdicts = [
        _with_remarks(prefix.conclude(), index.remarks),
        certificates.conclude(),
        conservation.conclude() if network.genesis.has_beacon else _excuse(network, conservation.conclude()),
        _excuse(network, exactly_once.conclude()),
        _excuse(network, check_open_interest(positions, silent)),
        monotone.conclude(),
    ]
    _keep_memories(network.directory, sources, index)
    return verdicts


def _excuse(network: Network, verdict: Verdict) -> Verdict:
    """No-op shards hold no money: what was looked at elsewhere stands, and the verdict says what was not."""
    noops = [format_committee(shard) for shard in network.shards if shard not in network.venues]
    if not noops:
        return verdict
    sentence = f"{', '.join(noops)} not checked: no money in the no-op application"
    if not network.venues:
        return Verdict(verdict.name, True, sentence)
    return Verdict(verdict.name, verdict.ok, f"{verdict.detail}; {sentence}")


def _with_remarks(verdict: Verdict, remarks: list[str]) -> Verdict:
    return Verdict(verdict.name, verdict.ok, "; ".join([verdict.detail, *remarks]))


# --- in flight ---------------------------------------------------------------------------------------------


async def _wait_quiescence(sources: Sources, settle_s: float) -> tuple[Verdict, dict[int, ShardSummary]]:
    started_ms = monotonic_ms()
    dead = frozenset(shard for shard in sources.network.venues if sources.is_dead(shard))
    while True:
        summaries = await read_last_summaries(sources)
        waited_s = (monotonic_ms() - started_ms) / 1_000
        if not sources.network.venues or is_quiescent(summaries, dead) or waited_s >= settle_s:
            break
        sources.progress.show(f"waiting for transfers to settle, at most {settle_s:.0f} s")
        await trio.sleep(SETTLE_POLL_S)
    waiting = max((member.mempool_transactions for member in sources.members), default=0)
    return _excuse(sources.network, check_quiescence(summaries, dead, waited_s, waiting)), summaries


async def _check_once(
    sources: Sources, transactions: Transactions, summaries: Mapping[int, ShardSummary]
) -> ExactlyOnceCheck:
    check = ExactlyOnceCheck()
    for shard, height, transaction in transactions.ordered:
        check.on_transaction(shard, height, transaction)
    transfers, remarks = await read_transfers(sources, summaries)
    for transfer in transfers:
        check.on_transfer(transfer)
    if not remarks:
        check.on_totals(summaries)
    for remark in (*remarks, transactions.describe_unread()):
        if remark is not None:
            check.on_unreadable(remark)
    return check


# --- positions ---------------------------------------------------------------------------------------------


async def _read_positions(sources: Sources, transactions: Transactions) -> list[MarketPositions]:
    found: list[MarketPositions] = []
    for shard in sources.network.genesis.shards:
        if not sources.of(shard.shard) or shard.shard not in sources.network.venues:
            continue
        owners = sorted(list_genesis_accounts(shard.application) | transactions.owners.get(shard.shard, set()))
        is_complete = shard.shard not in transactions.unread
        found += await _read_still(sources, shard.shard, owners, is_complete=is_complete)
    return found


async def _read_still(
    sources: Sources, shard: int, owners: list[bytes], *, is_complete: bool
) -> list[MarketPositions]:
    """The positions of a moment: read again while something does not add up and the market moves."""
    client = sources.of(shard)[0].client
    positions: list[MarketPositions] = []
    for _ in range(STILL_ATTEMPTS):
        try:
            markets = await client.markets()
            accounts = await read_accounts(sources, shard, owners)
            positions = collect_positions(shard, markets, accounts, is_complete=is_complete)
        except RemoteError:
            return positions
        if all(market.problem is None for market in positions):
            break
    return positions


# --- memories ----------------------------------------------------------------------------------------------


def _compare_memories(sources: Sources, index: ChainIndex, monotone: MonotoneCheck) -> None:
    """What the last check saw at the tips must still be there."""
    if not sources.network.directory.observed_path.exists():
        return
    for row in read_json(sources.network.directory.observed_path).get("tips", ()):
        shard, height = row["shard"], row["height"]
        if sources.of(shard):
            known = index.hashes.get((shard, height))
            monotone.on_memory(shard, height, bytes.fromhex(row["hash"]), None if known is None else known[0])


def _keep_memories(directory: NetworkDirectory, sources: Sources, index: ChainIndex) -> None:
    tips = []
    for shard in sources.network.committees:
        height = sources.certified_height(shard)
        known = index.hashes.get((shard, height))
        if known is not None:
            tips.append({"shard": shard, "height": height, "hash": known[0].hex()})
    if tips:
        write_json(directory.observed_path, {"tips": tips})


# --- printing ----------------------------------------------------------------------------------------------


def print_checks(outcome: Mapping[str, Any]) -> None:
    """One line a check, for people."""
    from rich.console import Console

    console = Console(highlight=False)
    for check in outcome["checks"]:
        mark = "[green]✓[/green]" if check["ok"] else "[red]✗[/red]"
        console.print(f"{mark} {check['name']:<13} ", end="")
        console.print(check["detail"], markup=False, soft_wrap=True)
    for offence in outcome["evidence"]:
        place = f"slot {offence['slot']}, view {offence['view']}"
        console.print(
            f"! {offence['culprit']} is recorded at the beacon: {offence['kind']} at {place}", markup=False
        )
    console.print("everything holds" if outcome["ok"] else "[red]NOT everything holds[/red]")
