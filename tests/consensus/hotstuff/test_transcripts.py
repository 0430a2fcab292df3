"""Golden transcripts of HotStuff: scenarios that a person has read, compared line for line."""

from __future__ import annotations

from typing import Any

from consensus.hotstuff.messages import (
    Block,
    CommitProof,
    EntryRequest,
    EntryResponse,
    Propose,
    QuorumCertificate,
    Stage,
    Status,
    Timeout,
    TimeoutCertificate,
)
from consensus.hotstuff.messages import Vote as HotStuffVote
from tests.consensus.cluster import Cluster
from tests.consensus.hotstuff.under_test import HOTSTUFF
from tests.consensus.transcript import Transcript


def describe(message: Any) -> str:
    """One line a person can follow."""
    match message:
        case Propose(proposal=proposal, payload=payload):
            timeouts = "" if proposal.timeouts is None else f" and timeouts of {proposal.timeouts.view}"
            kind = "repeats" if proposal.block.slot == proposal.justify.block.slot else "proposes"
            passed_on = " (passed on)" if payload is None and kind == "proposes" else ""
            justify = f"certificate of {proposal.justify.block.view}{timeouts}"
            return f"Propose view {proposal.block.view} {kind} {_name(proposal.block)}, {justify}{passed_on}"
        case HotStuffVote(block=block):
            return f"Vote view {block.view} for {_name(block)}"
        case QuorumCertificate(block=block):
            return f"QuorumCertificate of view {block.view}"
        case Timeout():
            return f"Timeout of view {message.view}, lock {message.highest.block.view}"
        case TimeoutCertificate():
            return f"TimeoutCertificate of view {message.view}, locks {list(message.certified_views)}"
        case CommitProof(parent=parent, child=child):
            return f"CommitProof of {_name(parent.block)} by views {parent.block.view}, {child.block.view}"
        case Status():
            stage = Stage(message.stage).name.lower().replace("_", " ")
            return f"Status view {message.view} lock {message.certified_view} decided {message.decided} {stage}"
        case EntryRequest():
            return f"EntryRequest {message.entry.hex()[:6]}"
        case EntryResponse():
            return f"EntryResponse of {len(message.entries)}"
        case _:
            raise AssertionError(f"nobody described {type(message).__name__}")


def _name(block: Block) -> str:
    return f"slot {block.slot} {block.digest.hex()[:6]}"


def _start() -> Cluster:
    """Four members that have greeted each other."""
    cluster = Cluster(4, under_test=HOTSTUFF)
    cluster.run(10)
    return cluster


def test_normal_case_reads_as_stored() -> None:
    cluster = _start()
    transcript = Transcript(cluster, describe)
    transcript.note("Two transactions arrive everywhere; m1 leads view 1, m2 view 2, m3 view 3.")
    cluster.submit(2)
    assert cluster.run_until(cluster.is_done, 1_000)
    transcript.note("Everything is certified: all timers go off, and nothing more happens.")
    cluster.run(5_000)
    transcript.compare("hotstuff_normal_case")


def test_a_dead_collector_loses_no_block() -> None:
    cluster = _start()
    cluster.hosts[2].crash()
    transcript = Transcript(cluster, describe)
    transcript.note("m2 is dead. m1 proposes in view 1; the votes for it are on their way to m2.")
    cluster.submit(2)
    cluster.run(900)
    transcript.note("View 1 times out. The votes go to all, who make the certificate; then view 2 fails.")
    assert cluster.run_until(cluster.is_done, 10_000)
    transcript.compare("hotstuff_dead_collector_loses_no_block")


def test_restart_between_persisting_and_sending() -> None:
    cluster = _start()
    cluster.hosts[3].crash()
    transcript = Transcript(cluster, describe)
    transcript.note("m3 is down. m0 dies when its vote is in its log and before it leaves.")
    cluster.hosts[0].die_after_persist = True
    cluster.submit(2)
    cluster.run(50)
    assert cluster.hosts[0].engine is None
    transcript.note("m0 returns, sends the logged vote, and view 1 is certified.")
    cluster.hosts[0].start()
    cluster.run(20)
    assert cluster.hosts[1].engine is not None
    assert cluster.hosts[1].engine.statistics().view_changes == 0
    transcript.compare("hotstuff_restart_between_persisting_and_sending")
