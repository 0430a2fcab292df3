"""Submitting a shard's certified headers to the beacon: when it is due, whose turn it is, what goes in.

Theory of operation. What lies between the registered tip (as our follower sees it) and the certified height is to
be submitted: ``register_gap_outbox_ms`` after the last registration where there are outbox leaves, else
``register_gap_plain_ms``. Members take turns (``crosslink.turns``); a turn that brought no registration passes on
with time and with beacon blocks, and each of our turns tries the next beacon member. Headers, leaves, summary and
certificate are read from the chain store, so nothing is kept here and a restart changes nothing.

What does not live here: the links (``node.beacon_follow``), the format (``crosslink.submission``).
"""

from __future__ import annotations

from crosslink.submission import SubmittedHeader, count_submittable, encode_submission
from crosslink.summary import decode_summary
from crosslink.tips import RegisteredTip
from crosslink.turns import TURN_BEACON_BLOCKS, TURN_PATIENCE_MS, compute_submitter
from node.chain import Chain
from primitives.merkle import EMPTY_ROOT
from primitives.parameters import ProtocolParameters


class Submitter:
    """One member's share in submitting."""

    def __init__(
        self, chain: Chain, index: int, committee_size: int, parameters: ProtocolParameters, certified_height: int
    ) -> None:
        self._chain = chain
        self._index = index
        self._committee_size = committee_size
        self._parameters = parameters
        self._certified = certified_height
        self._outbox_height = certified_height
        """The highest certified height that may have outbox leaves; at the start that is not known."""
        self._tip = RegisteredTip()
        self._registered_ms: int | None = None
        self._held_ms: int | None = None
        self._submitted_for: tuple[int, int] | None = None
        self.submissions = 0

    def on_certified(self, height: int, outbox_height: int | None, now_ms: int) -> None:
        """Blocks up to ``height`` are certified; ``outbox_height`` is the last of them that has leaves."""
        if self._certified <= self._tip.height or self._held_ms is None:
            self._held_ms = now_ms
        self._certified = height
        if outbox_height is not None:
            self._outbox_height = outbox_height

    def on_registered(self, tip: RegisteredTip, now_ms: int) -> None:
        """The follower's newest view of our own tip."""
        if tip.height == self._tip.height:
            return
        self._tip = tip
        self._registered_ms = now_ms
        self._held_ms = now_ms

    def compute_delay(self, now_ms: int) -> int | None:
        """Milliseconds until a submission is due; ``None`` where there is nothing to submit."""
        if self._certified <= self._tip.height or self._tip.frozen:
            return None
        has_leaves = self._outbox_height > self._tip.height
        parameters = self._parameters
        gap = parameters.register_gap_outbox_ms if has_leaves else parameters.register_gap_plain_ms
        return 0 if self._registered_ms is None else max(0, self._registered_ms + gap - now_ms)

    def build(self, beacon_height: int, now_ms: int) -> bytes | None:
        """The submission to send now, if it is due and our turn; each turn gives one."""
        delay = self.compute_delay(now_ms)
        if delay is None or delay > 0:
            return None
        since_ms = now_ms if self._held_ms is None else self._held_ms
        waited_ms = now_ms - since_ms
        beacon_blocks = max(0, beacon_height - self._tip.registered_at)
        turn = max(beacon_blocks // TURN_BEACON_BLOCKS, waited_ms // TURN_PATIENCE_MS)
        if self._submitted_for == (self._tip.height, turn):
            return None
        if compute_submitter(self._tip.height, beacon_blocks, waited_ms, self._committee_size) != self._index:
            return None
        submission = self._collect()
        if submission is not None:
            self._submitted_for = (self._tip.height, turn)
            self.submissions += 1
        return submission

    def _collect(self) -> bytes | None:
        """Everything from the registered tip on that fits, up to a certified header; ``None`` where the store does
        not show it yet."""
        headers: list[SubmittedHeader] = []
        first = self._tip.height + 1
        last = min(self._certified, self._tip.height + self._parameters.submission_headers)
        for height in range(first, last + 1):
            header = self._chain.get_header(height)
            if header is None:
                break
            leaves = () if header.outbox_root == EMPTY_ROOT else self._chain.get_outbox(height)
            headers.append(SubmittedHeader(header, leaves))
        while headers:
            tip = headers[-1].header.height
            certificate, summary = self._chain.get_certificate(tip), self._chain.get_summary(tip)
            if certificate is None or summary is None:
                headers.pop()
                continue
            count = count_submittable(headers, len(summary), self._parameters)
            if count == len(headers):
                return encode_submission(headers, decode_summary(summary), certificate)
            del headers[count:]
        return None
