"""What every header must look like, and what may follow what: rules that need no state.

The beacon applies them to submissions and fork reports, followers to beacon headers. What does not live here:
who certified a header (``consensus.certificate``) and which one is registered (``crosslink.registry``).
"""

from __future__ import annotations

from typing import Final

from crosslink.header import InboxCursor, ShardHeader
from primitives.errors import RemoteError
from primitives.hashing import DIGEST_BYTES, ZERO_DIGEST

MAX_COUNTER: Final = 2**63 - 1
"""Heights and times travel in 63 bits."""


def order_cursor(cursor: InboxCursor) -> tuple[int, int, int]:
    """The cursor as what it is compared by."""
    return cursor.beacon_height, cursor.record, cursor.leaf


def validate_header(header: ShardHeader, chain: bytes) -> None:
    """Raise ``RemoteError`` unless it is a possible header of ``chain`` above genesis."""
    if header.chain != chain:
        raise RemoteError("WRONG_CHAIN", "a header of another chain", penalise=True)
    digests = (
        header.parent,
        header.payload_digest,
        header.state_root,
        header.receipts_root,
        header.outbox_root,
        header.summary_root,
        header.beacon_ref.hash,
        header.next_committee_root,
    )
    if any(len(digest) != DIGEST_BYTES for digest in digests):
        raise RemoteError("MALFORMED", "a header with a root of the wrong length", penalise=True)
    counters = (
        header.shard,
        header.incarnation,
        header.epoch,
        header.height - 1,
        header.timestamp_ms,
        header.beacon_ref.height,
        *order_cursor(header.inbox_cursor),
    )
    if any(not 0 <= counter < MAX_COUNTER for counter in counters):
        raise RemoteError("MALFORMED", "a header with a number out of range", penalise=True)
    if header.inbox_cursor.beacon_height > header.beacon_ref.height:
        raise RemoteError("MALFORMED", "a header that consumed beyond its beacon reference", penalise=True)
    if header.beacon_ref.height == 0 and header.beacon_ref.hash != ZERO_DIGEST:
        raise RemoteError("MALFORMED", "the beacon's genesis has no hash to refer to", penalise=True)


def validate_succession(parent: ShardHeader, parent_hash: bytes, child: ShardHeader, max_ref_step: int) -> None:
    """Raise ``RemoteError`` unless ``child`` may follow ``parent``: one higher, chained, of the same shard,
    incarnation and epoch, with time growing and with reference and cursor not falling."""
    if (child.shard, child.incarnation, child.epoch) != (parent.shard, parent.incarnation, parent.epoch):
        raise RemoteError("MALFORMED", "consecutive headers of different shards or epochs", penalise=True)
    if child.height != parent.height + 1 or child.parent != parent_hash:
        raise RemoteError("MALFORMED", f"header {child.height} does not chain onto the one before", penalise=True)
    if child.timestamp_ms <= parent.timestamp_ms:
        raise RemoteError("MALFORMED", "time does not grow between headers", penalise=True)
    step = child.beacon_ref.height - parent.beacon_ref.height
    if not 0 <= step <= max_ref_step:
        raise RemoteError("MALFORMED", "the beacon reference falls or leaps between headers", penalise=True)
    if order_cursor(child.inbox_cursor) < order_cursor(parent.inbox_cursor):
        raise RemoteError("MALFORMED", "the inbox cursor falls between headers", penalise=True)
