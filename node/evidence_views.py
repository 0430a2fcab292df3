"""What the API tells about evidence: what this member keeps, and what the beacon recorded.

JSON-ready mappings only. What does not live here: routes (``node.rpc.evidence``), keeping (``node.evidence``).
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.committee import Committee
from consensus.evidence import encode_item
from crosslink.offences import OffenceRecord, compute_item_hash
from node.evidence import KeptEvidence
from node.rpc.service import Json, Page
from primitives.errors import RemoteError
from primitives.identifiers import format_committee, format_member


def list_kept(kept: Sequence[KeptEvidence], committee: Committee, page: Page) -> Json:
    """A page of what is kept, oldest first; the messages come one item at a time."""
    start = _parse_after(page)
    shown = kept[start : start + page.limit]
    following = start + len(shown)
    return {
        "evidence": [_describe_kept(entry, committee) for entry in shown],
        "next": str(following) if following < len(kept) else None,
    }


def view_kept(kept: Sequence[KeptEvidence], committee: Committee, number: int) -> Json | None:
    """One item with its signed messages, and the bytes that anybody can verify and report."""
    for entry in kept:
        if entry.number == number:
            messages = [message.hex() for message in entry.item.messages]
            return {
                **_describe_kept(entry, committee),
                "chain": entry.item.chain.hex(),
                "messages": messages,
                "bytes": encode_item(entry.item).hex(),
            }
    return None


def _describe_kept(entry: KeptEvidence, committee: Committee) -> Json:
    item = entry.item
    return {
        "number": entry.number,
        "kind": item.kind,
        "committee": format_committee(item.shard),
        "shard": item.shard,
        "incarnation": item.incarnation,
        "epoch": item.epoch,
        "culprit": format_member(item.shard, item.culprit),
        "key": committee.members[item.culprit].hex(),
        "slot": item.slot,
        "view": item.view,
        "is_recorded": entry.is_recorded,
        "transaction": compute_item_hash(item).hex(),
    }


def list_recorded(records: Sequence[OffenceRecord], height: int, page: Page) -> Json:
    """A page of what the beacon recorded up to ``height``, oldest first."""
    found = [record for record in records if record.recorded_at <= height]
    start = _parse_after(page)
    shown = found[start : start + page.limit]
    following = start + len(shown)
    return {
        "height": height,
        "evidence": [_describe_recorded(record) for record in shown],
        "next": str(following) if following < len(found) else None,
    }


def _describe_recorded(record: OffenceRecord) -> Json:
    offence = record.offence
    return {
        "kind": offence.kind,
        "committee": format_committee(offence.shard),
        "shard": offence.shard,
        "incarnation": offence.incarnation,
        "epoch": offence.epoch,
        "culprit": format_member(offence.shard, offence.culprit),
        "key": offence.key.hex(),
        "slot": offence.slot,
        "view": offence.view,
        "recorded_at": record.recorded_at,
        "transaction": offence.item_hash.hex(),
    }


def _parse_after(page: Page) -> int:
    """Pages go by position; raises ``RemoteError``."""
    if page.after is None:
        return 0
    if not (page.after.isascii() and page.after.isdigit() and len(page.after) <= 9):
        raise RemoteError("BAD_PARAMETER", "after: use the value of next in the previous page")
    return int(page.after)
