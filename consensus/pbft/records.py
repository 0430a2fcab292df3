"""The vote log's entries: their keys, and what a restarted engine reads back.

A later view's vote replaces an earlier one's under the same key: a member never votes again in a view it left,
and the record of the current view is in the same group commit. A slot's records go when it is certified.

| key                     | value                                                   |
|-------------------------|---------------------------------------------------------|
| ``view``                | ``CurrentView``                                         |
| ``new-view``            | the ``NewView`` that installed it (none for view 0)     |
| ``view-change``         | our last ``ViewChange``, frozen                         |
| ``stable``              | the ``Certificate`` below which records were deleted    |
| ``slot/<n>/proposal``   | ``Proposal`` that we sent or prepared                   |
| ``slot/<n>/prepare``    | our ``Prepare``                                         |
| ``slot/<n>/prepared``   | the highest-view ``PreparedProof``                      |
| ``slot/<n>/commit``     | our ``Commit``                                          |
| ``slot/<n>/decided``    | the ``CommitCertificate``                               |

Values are the canonical bytes of the messages themselves, so what is sent again is byte-identical.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from consensus import outbox
from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.pbft.messages import (
    Commit,
    CommitCertificate,
    NewView,
    Prepare,
    PreparedProof,
    Proposal,
    ViewChange,
)
from consensus.pbft.reading import compute_max_message_bytes, verify_message
from primitives.codec import Unsigned, Wire, decode
from primitives.errors import LocalError, RemoteError
from primitives.signing import SignatureScheme

VIEW_KEY: Final = b"view"
NEW_VIEW_KEY: Final = b"new-view"
VIEW_CHANGE_KEY: Final = b"view-change"
PROPOSAL: Final = b"proposal"
PREPARE: Final = b"prepare"
PREPARED: Final = b"prepared"
COMMIT: Final = b"commit"
DECIDED: Final = b"decided"

_SLOT_PREFIX: Final = b"slot/"
_SLOT_KINDS: Final[Mapping[bytes, Any]] = {
    PROPOSAL: Proposal,
    PREPARE: Prepare,
    PREPARED: PreparedProof,
    COMMIT: Commit,
    DECIDED: CommitCertificate,
}
T = TypeVar("T")


class CurrentView(Wire, frozen=True):
    """``view`` is installed; ``target`` is what our last view change asks for (equal where there is none)."""

    view: Unsigned
    target: Unsigned


def compute_slot_key(slot: int, kind: bytes) -> bytes:
    """``slot/<16 hexadecimal digits>/<kind>``: sorts by slot."""
    return b"%s%016x/%s" % (_SLOT_PREFIX, slot, kind)


@dataclass(slots=True)
class SlotRecords:
    """What the log holds of one slot."""

    proposal: Proposal | None = None
    prepare: Prepare | None = None
    prepared: PreparedProof | None = None
    commit: Commit | None = None
    decided: CommitCertificate | None = None
    keys: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class RestoredLog:
    """The whole log, decoded."""

    current: CurrentView = field(default_factory=lambda: CurrentView(0, 0))
    new_view: NewView | None = None
    view_change: ViewChange | None = None
    stable: Certificate | None = None
    slots: dict[int, SlotRecords] = field(default_factory=dict)


def restore_log(
    records: Mapping[bytes, bytes], index: int, committee: Committee, scheme: SignatureScheme
) -> RestoredLog:
    """What ``records`` hold. Raises ``LocalError`` unless member ``index`` of this committee wrote them."""
    log = RestoredLog()
    for key in sorted(records):
        try:
            _restore_record(log, key, records[key], committee)
        except RemoteError as error:
            raise LocalError(f"the vote log holds no PBFT record under {key!r}: {error}") from error
    _require_consistent(log)
    own_votes: list[Prepare | Commit | ViewChange] = [] if log.view_change is None else [log.view_change]
    for slot in log.slots.values():
        own_votes += [vote for vote in (slot.prepare, slot.commit) if vote is not None]
    for vote in own_votes:
        try:
            verify_message(index, vote, committee, scheme)
        except RemoteError as error:
            raise LocalError("the vote log was written by another member or for another chain or epoch") from error
    return log


def _restore_record(log: RestoredLog, key: bytes, value: bytes, committee: Committee) -> None:
    limit = compute_max_message_bytes(committee)
    match key:
        case b"view":
            log.current = _decode(CurrentView, value, limit)
        case b"new-view":
            log.new_view = _decode(NewView, value, limit)
        case b"view-change":
            log.view_change = _decode(ViewChange, value, limit)
        case outbox.STABLE_KEY:
            log.stable = _decode(Certificate, value, limit)
        case _:
            _restore_slot_record(log, key, value, limit)


def _restore_slot_record(log: RestoredLog, key: bytes, value: bytes, limit: int) -> None:
    number, slash, kind = key.removeprefix(_SLOT_PREFIX).partition(b"/")
    if not key.startswith(_SLOT_PREFIX) or not slash or kind not in _SLOT_KINDS:
        raise RemoteError("MALFORMED", "an unknown key")
    try:
        slot = int(number, 16)
    except ValueError:
        raise RemoteError("MALFORMED", "a slot that is no number") from None
    if compute_slot_key(slot, kind) != key:
        raise RemoteError("MALFORMED", "a slot number in another form")
    entry = log.slots.setdefault(slot, SlotRecords())
    setattr(entry, kind.decode(), _decode(_SLOT_KINDS[kind], value, limit))
    entry.keys.add(key)


def _decode(kind: type[T], value: bytes, limit: int) -> T:
    decoded: T = decode(kind, value, max_bytes=limit)
    return decoded


def _require_consistent(log: RestoredLog) -> None:
    view, target = log.current.view, log.current.target
    installed = 0 if log.new_view is None else log.new_view.view
    if installed != view or target < view:
        raise LocalError(f"the vote log is in view {view} and holds the new view of {installed}")
    asked = 0 if log.view_change is None else log.view_change.view
    if target > view and asked != target:
        raise LocalError(f"the vote log asks for view {target} and holds a view change for {asked}")
