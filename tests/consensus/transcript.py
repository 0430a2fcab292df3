"""Writes what engines do as text that a person can review, and compares it with the stored one.

A line is a time in milliseconds, a host, and one effect; effects stand in the order in which they happen, so
records come before the messages that depend on them. Certificates and payloads that the test's hosts exchange
are not engines' doing and not shown. ``RIALTO_UPDATE_TRANSCRIPTS=1`` writes the files anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from consensus.engine import BuildPayload, CancelWish, ObtainPayload, Output
from consensus.pbft.messages import CommitCertificate, NewView, PrePrepare, Status, ViewChange
from primitives.hashing import DIGEST_BYTES
from tests.consensus.cluster import Cluster, Host

SCENARIOS = Path(__file__).parents[1] / "scenarios"
UPDATE_SWITCH = "RIALTO_UPDATE_TRANSCRIPTS"


class Transcript:
    """Records a cluster from now on."""

    def __init__(self, cluster: Cluster, describe: Callable[[Any], str] | None = None) -> None:
        """``describe`` gives a message of the cluster's engine in words; PBFT's unless said otherwise."""
        self._cluster = cluster
        self._describe_message = describe or _describe_message
        self.lines: list[str] = []
        cluster.trace = self._record

    def note(self, sentence: str) -> None:
        """What the script does at this point."""
        self.lines += ["", f"# {sentence}"]

    def _record(self, host: Host, output: Output) -> None:
        dies = host.die_after_persist and bool(output.persist)
        for effect in (
            _describe_records(output) if dies else _describe(self._cluster, output, self._describe_message)
        ):
            self.lines.append(f"{self._cluster.now_ms:6}  {host.name}  {effect}")
        if dies:
            self.lines.append(f"{self._cluster.now_ms:6}  {host.name}  dies")

    def compare(self, name: str) -> None:
        """Raise ``AssertionError`` where this is not the stored transcript, line for line."""
        text = "\n".join(self.lines).lstrip("\n") + "\n"
        path = SCENARIOS / f"{name}.txt"
        if os.environ.get(UPDATE_SWITCH) == "1":
            path.write_text(text)
        assert text.splitlines() == path.read_text().splitlines(), f"{UPDATE_SWITCH}=1 writes {path.name} anew"


def _describe_records(output: Output) -> Iterator[str]:
    for record in output.persist:
        key = record.key.decode()
        if key.startswith("slot/"):
            _, number, kind = key.split("/")
            # A digest in a key is HotStuff's name of an entry; its first digits tell people enough.
            key = f"slot {int(number, 16)} {kind if len(kind) < 2 * DIGEST_BYTES else 'entry ' + kind[:6]}"
        yield f"{'logs' if record.value is not None else 'deletes'} {key}"


def _describe(cluster: Cluster, output: Output, describe: Callable[[Any], str]) -> Iterator[str]:
    yield from _describe_records(output)
    for send in output.send:
        _, message = cluster.factory.decode_message(send.message, cluster.committee)
        to = "all" if send.to is None else f"m{send.to}"
        yield f"sends {to} {describe(message)}"
    for order in output.timers:
        yield f"timer {order.timer} {'off' if order.delay_ms is None else f'in {order.delay_ms}'}"
    for wish in output.wishes:
        match wish:
            case BuildPayload():
                yield f"wants to build slot {wish.slot} above {len(wish.ancestors)} in flight"
            case ObtainPayload():
                proven = " (proven)" if wish.proven else ""
                yield f"wants to hold slot {wish.slot} {wish.digest.hex()[:6]}{proven}"
            case CancelWish():
                yield "wants no payload any more"
    for decided in output.decided:
        yield f"DECIDES slot {decided.slot} {decided.digest.hex()[:6]}"
    for evidence in output.evidence:
        yield f"ACCUSES m{evidence.culprit} of {evidence.kind}"


def _describe_message(message: Any) -> str:
    match message:
        case PrePrepare(proposal=proposal):
            return f"PrePrepare view {proposal.view} slot {proposal.slot} {proposal.digest.hex()[:6]}"
        case CommitCertificate():
            signers = ",".join(f"m{signer}" for signer in message.signers)
            return f"CommitCertificate view {message.view} slot {message.slot} by {signers}"
        case ViewChange():
            stable = 0 if message.certificate is None else message.certificate.height
            proofs = [f"{proof.proposal.slot}@{proof.proposal.view}" for proof in message.prepared]
            return f"ViewChange to {message.view}, stable {stable}, prepared {', '.join(proofs) or 'nothing'}"
        case NewView():
            members = ",".join(f"m{change.sender}" for change in message.view_changes)
            carried = [f"{proposal.slot}={proposal.digest.hex()[:6]}" for proposal in message.proposals]
            return f"NewView {message.view} from {members}, carries {', '.join(carried) or 'nothing'}"
        case Status():
            return f"Status view {message.view} stable {message.stable} phases {list(message.phases)}"
        case _:
            return f"{type(message).__name__} view {message.view} slot {message.slot} {message.digest.hex()[:6]}"
