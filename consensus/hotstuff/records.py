"""The vote log's entries: their keys, and what a restarted engine reads back.

A later view's record replaces an earlier one's under the same key; the view itself is not logged, it follows from
what is. Entries go when their slot is certified.

| key                 | value                                                                                |
|---------------------|--------------------------------------------------------------------------------------|
| ``first-view``      | ``FirstView``: below it we may have signed what we do not remember                   |
| ``highest``         | the highest ``QuorumCertificate`` seen: the lock                                     |
| ``timeouts``        | the ``TimeoutCertificate`` that last brought us to a view                            |
| ``proposal``        | the last ``Proposal`` that we made or voted for                                      |
| ``vote``            | our last ``Vote``                                                                    |
| ``timeout``         | our last ``Timeout``, frozen                                                         |
| ``commit``          | the highest ``CommitProof``                                                          |
| ``stable``          | the ``Certificate`` below which entries were deleted                                 |
| ``slot/<n>/<name>`` | an ``Entry`` of a certified block; without it nobody could decide after a power cut  |

Values are the canonical bytes of the messages themselves, so what is sent again is byte-identical.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from consensus.certificate import Certificate
from consensus.committee import Committee
from consensus.hotstuff.messages import (
    CommitProof,
    Entry,
    Proposal,
    QuorumCertificate,
    Timeout,
    TimeoutCertificate,
    Vote,
    compute_entry_id,
)
from consensus.hotstuff.reading import compute_max_message_bytes, is_timeout_signed, is_vote_signed
from primitives.codec import Unsigned, Wire, decode
from primitives.errors import LocalError, RemoteError
from primitives.signing import SignatureScheme

FIRST_VIEW: Final = b"first-view"
HIGHEST: Final = b"highest"
TIMEOUTS: Final = b"timeouts"
PROPOSAL: Final = b"proposal"
VOTE: Final = b"vote"
TIMEOUT: Final = b"timeout"
COMMIT: Final = b"commit"
STABLE: Final = b"stable"
_SLOT_PREFIX: Final = b"slot/"


class FirstView(Wire, frozen=True):
    """The engine was made to sign nothing below ``view``."""

    view: Unsigned


_KINDS: Final[Mapping[bytes, Any]] = {
    FIRST_VIEW: FirstView,
    HIGHEST: QuorumCertificate,
    TIMEOUTS: TimeoutCertificate,
    PROPOSAL: Proposal,
    VOTE: Vote,
    TIMEOUT: Timeout,
    COMMIT: CommitProof,
    STABLE: Certificate,
}


def compute_entry_key(entry: Entry) -> bytes:
    """``slot/<16 hexadecimal digits>/<identity>``: sorts by slot."""
    return b"%s%016x/%s" % (_SLOT_PREFIX, entry.slot, compute_entry_id(entry).hex().encode())


@dataclass(slots=True)
class RestoredLog:
    """The whole log, decoded. ``entries`` are by slot."""

    first_view: int = 0
    highest: QuorumCertificate | None = None
    timeouts: TimeoutCertificate | None = None
    proposal: Proposal | None = None
    vote: Vote | None = None
    timeout: Timeout | None = None
    commit: CommitProof | None = None
    stable: Certificate | None = None
    entries: list[Entry] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether no engine has written yet."""
        return self == RestoredLog()


def restore_log(
    records: Mapping[bytes, bytes], index: int, committee: Committee, scheme: SignatureScheme
) -> RestoredLog:
    """What ``records`` hold. Raises ``LocalError`` unless member ``index`` of this committee wrote them."""
    log = RestoredLog()
    limit = compute_max_message_bytes(committee)
    for key in sorted(records):
        try:
            _restore_record(log, key, records[key], limit)
        except RemoteError as error:
            raise LocalError(f"the vote log holds no HotStuff record under {key!r}: {error}") from error
    is_ours = (log.vote is None or (log.vote.sender == index and is_vote_signed(log.vote, committee, scheme))) and (
        log.timeout is None or (log.timeout.sender == index and is_timeout_signed(log.timeout, committee, scheme))
    )
    if not is_ours:
        raise LocalError("the vote log was written by another member or for another chain or epoch")
    return log


def _restore_record(log: RestoredLog, key: bytes, value: bytes, limit: int) -> None:
    if key.startswith(_SLOT_PREFIX):
        entry: Entry = decode(Entry, value, max_bytes=limit)
        if compute_entry_key(entry) != key:
            raise RemoteError("MALFORMED", "an entry under another one's key")
        log.entries.append(entry)
    elif key not in _KINDS:
        raise RemoteError("MALFORMED", "an unknown key")
    else:
        found: Any = decode(_KINDS[key], value, max_bytes=limit)
        name = key.decode().replace("-", "_")
        setattr(log, name, found.view if isinstance(found, FirstView) else found)
