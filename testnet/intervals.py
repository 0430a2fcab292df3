"""From the log of what was done to a network, the times in which something was wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from testnet.charts import Span

_ENDS: Final = {
    "kill": ("restart", "up", "down"),
    "ended": ("restart", "up", "down"),
    "pause": ("resume", "restart", "down"),
    "partition": ("partition", "heal", "down"),
    "load": ("load ended", "down"),
}
"""What begins a span → what ends it."""
_PER_MEMBER: Final = ("kill", "ended", "pause")
_COLOURS: Final = {"ended": "kill"}


def list_spans(events: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Spans of kills, pauses, partitions and loads; one that nothing ended lasts to the last event."""
    last = max((event["second"] for event in events), default=0.0)
    spans = []
    for index, event in enumerate(events):
        for subject in _list_subjects(event):
            found = _find_end(events[index + 1 :], event["kind"], subject)
            end = last if found is None else found
            if "lease_s" in event:
                end = min(end, event["second"] + event["lease_s"])
            label = f"{event['kind']}: {subject or event['detail']}"
            kind = _COLOURS.get(event["kind"], event["kind"])
            spans.append(Span(event["second"], end, kind, label))
    return spans


def _list_subjects(event: Mapping[str, Any]) -> list[str]:
    """One for each member where each has a fate of its own; one without a name for what concerns all together."""
    if event["kind"] not in _ENDS:
        return []
    return list(event["members"]) if event["kind"] in _PER_MEMBER else [""]


def _find_end(later: Sequence[Mapping[str, Any]], kind: str, subject: str) -> float | None:
    for event in later:
        if event["kind"] in _ENDS[kind] and (not subject or not event["members"] or subject in event["members"]):
            second: float = event["second"]
            return second
    return None
