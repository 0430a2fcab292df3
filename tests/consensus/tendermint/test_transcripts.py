"""Golden transcripts: scenarios in ``tests/scenarios`` that a person has read, compared line for line."""

from __future__ import annotations

from typing import Any

from consensus.tendermint.messages import DecisionCertificate, Precommit, Prevote, Propose, Status
from consensus.tendermint.steps import NIL, NO_ROUND
from tests.consensus.cluster import Cluster, Host
from tests.consensus.tendermint.contender import TENDERMINT
from tests.consensus.transcript import Transcript


def _describe(message: Any) -> str:
    match message:
        case Propose(proposal=proposal):
            valid = "" if proposal.valid_round == NO_ROUND else f", valid since round {proposal.valid_round}"
            return f"Proposal height {proposal.height} round {proposal.round} {proposal.digest.hex()[:6]}{valid}"
        case Prevote() | Precommit():
            value = "nil" if message.digest == NIL else message.digest.hex()[:6]
            return f"{type(message).__name__} height {message.height} round {message.round} {value}"
        case DecisionCertificate():
            signers = ",".join(f"m{signer}" for signer in message.signers)
            return f"DecisionCertificate height {message.height} round {message.round} by {signers}"
        case Status():
            return f"Status height {message.height} round {message.round} stable {message.stable}"
        case _:
            raise AssertionError("every message has its words")


def _start() -> Cluster:
    """Four members that have greeted each other. Member (height + round) mod 4 proposes."""
    cluster = Cluster(4, under_test=TENDERMINT)
    cluster.run(10)
    return cluster


def test_normal_case_reads_as_stored() -> None:
    cluster = _start()
    transcript = Transcript(cluster, _describe)
    transcript.note("Two transactions arrive everywhere; m1 proposes for height 1.")
    cluster.submit(2)
    assert cluster.run_until(cluster.is_done, 1_000)
    transcript.note("Everything is certified: all timers go off, and nothing more happens.")
    cluster.run(5_000)
    transcript.compare("tendermint_normal_case")


def test_a_dead_proposer_loses_its_round() -> None:
    cluster = _start()
    cluster.hosts[1].crash()
    transcript = Transcript(cluster, _describe)
    transcript.note("m1 is dead. The others prevote nil, precommit nil, and m2 proposes in round 1.")
    cluster.submit(2)
    assert cluster.run_until(cluster.is_done, 5_000)
    transcript.compare("tendermint_a_dead_proposer_loses_its_round")


def _lock_m3_alone(sender: Host, receiver: Host, message: Any) -> bool:
    """The first proposal passes m0 by, and nobody hears m3's prevotes of round 0."""
    match message:
        case Propose(proposal=proposal) if proposal.round == 0:
            return receiver.name != "m0"
        case Prevote(round=0):
            return sender.name != "m3"
        case _:
            return True


def test_a_lock_survives_a_restart() -> None:
    cluster = _start()
    cluster.filter = _lock_m3_alone
    transcript = Transcript(cluster, _describe)
    transcript.note(
        "m0 misses the proposal and prevotes nil. m3 sees a polka and locks; the others see a split vote."
    )
    cluster.submit(2)
    assert cluster.run_until(lambda: cluster.hosts[0].engine.statistics().view == 1, 5_000)
    transcript.note(
        "m3 restarts in round 1, where m2, who knows no valid value, proposes a fresh one: m3 prevotes nil."
    )
    cluster.hosts[3].crash()
    cluster.hosts[3].start()
    assert cluster.run_until(cluster.is_done, 10_000)
    assert not cluster.violations
    transcript.compare("tendermint_a_lock_survives_a_restart")
