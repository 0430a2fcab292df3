"""What we remember of the other members, for the day on which one of them has forgotten it.

Of each member we keep the newest attestation and the newest engine message that it sent us itself. The attestation
is in the chain store as well, written a moment later (``z ‖ index`` → ``Attestation``): so a committee that
restarts still knows who has voted. Both are told to nobody but the member that signed them, who checks them: nobody
can be talked into having forgotten something.

A member that has to see a height or a view before it may vote again would wait for ever in a committee with nothing
to order, so its wish counts as work for a while: empty blocks up to that height, a complaint until that view. A
faulty member can wish too; ``WISH_GAP_MS`` bounds what that costs.

What does not live here: asking (``node.abstention``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.certificate import Attestation, Certificate
from consensus.engine import Record
from crosslink.block import Readiness
from node.effects_draft import EffectsDraft
from node.events import StoreWrite
from node.recall_frames import MAX_RECALLED_BYTES, RecallRequest, RecallResponse
from node.store import Store
from primitives.codec import decode, encode
from primitives.errors import LocalError, RemoteError

WISH_MS: Final = 60_000
"""Enough for three windows of empty blocks, or two new views, on a slow machine."""
WISH_GAP_MS: Final = 600_000
"""A member's next wish of the same kind counts after this."""
WISH_WINDOWS: Final = 3
"""What it has to see lies two windows above what its peers know certified, and they differ by less than one."""
WISH_VIEWS: Final = 2
_WITNESSED: Final = b"z"
_MAX_ATTESTATION_BYTES: Final = 256


@dataclass(slots=True)
class _Wish:
    """Work until ``target`` is reached or ``expires_ms`` has come; another one is heard from ``again_ms`` on."""

    limit: int
    target: int
    expires_ms: int
    again_ms: int


class Recollection:
    """One replica's memory of its peers."""

    def __init__(self, store: Store, window_slots: int) -> None:
        """Raises ``LocalError`` where what the store holds of it is damaged."""
        self._window_slots = window_slots
        self._attestations: dict[int, Attestation] = {}
        self._messages: dict[int, bytes] = {}
        self._unwritten: dict[int, None] = {}
        self._heights: dict[int, _Wish] = {}
        self._views: dict[int, _Wish] = {}
        try:
            for key, value in store.scan(_WITNESSED, bytes([_WITNESSED[0] + 1])):
                attestation: Attestation = decode(Attestation, value, max_bytes=_MAX_ATTESTATION_BYTES)
                self._attestations[int.from_bytes(key[1:], "big")] = attestation
        except RemoteError as error:
            raise LocalError(f"the chain store holds a damaged record of another member's votes: {error}") from None

    # --- remembering -----------------------------------------------------------------------------------

    def note_attestation(self, attestation: Attestation) -> None:
        """``attestation.signer`` sent us this over its own link."""
        known = self._attestations.get(attestation.signer)
        if known is None or attestation.height > known.height:
            self._attestations[attestation.signer] = attestation
            self._unwritten[attestation.signer] = None

    def note_message(self, index: int, message: bytes) -> None:
        """Member ``index`` sent us this message of its own engine over its own link, and it is well signed."""
        if len(message) <= MAX_RECALLED_BYTES:
            self._messages[index] = message

    def write(self, draft: EffectsDraft) -> None:
        """Every so often: what is new goes to the chain store, which may lose it: a memory, not a promise."""
        if self._unwritten:
            records = [
                Record(_WITNESSED + index.to_bytes(4, "big"), encode(self._attestations[index]))
                for index in self._unwritten
            ]
            self._unwritten = {}
            draft.writes.append(StoreWrite(tuple(records)))

    # --- telling ---------------------------------------------------------------------------------------

    def answer(
        self, index: int, request: RecallRequest, view: int, certificate: Certificate | None, *, is_abstaining: bool
    ) -> RecallResponse:
        """To member ``index``; ``view`` is the highest that our own engine knows or asked for."""
        return RecallResponse(
            nonce=request.nonce,
            is_abstaining=is_abstaining,
            view=view,
            certificate=certificate,
            attestation=self._attestations.get(index),
            message=self._messages.get(index, b""),
        )

    # --- wishes ----------------------------------------------------------------------------------------

    def note_wishes(self, index: int, request: RecallRequest, certified: int, view: int, now_ms: int) -> None:
        """What member ``index`` has to see, as far as it is believable from where we stand."""
        limit = certified + WISH_WINDOWS * self._window_slots
        _note_wish(self._heights, index, request.wanted_height, certified, limit, now_ms)
        _note_wish(self._views, index, request.wanted_view, view, view + WISH_VIEWS, now_ms)

    def compute_readiness(self, certified: int, view: int, now_ms: int) -> Readiness:
        """What the open wishes ask of us."""
        if any(now_ms < wish.expires_ms and view < wish.target for wish in self._views.values()):
            return Readiness.OVERDUE
        if any(now_ms < wish.expires_ms and certified < wish.target for wish in self._heights.values()):
            return Readiness.PENDING
        return Readiness.IDLE


def _note_wish(wishes: dict[int, _Wish], index: int, wanted: int, reached: int, limit: int, now_ms: int) -> None:
    if wanted <= reached:
        return
    known = wishes.get(index)
    if known is None or now_ms >= known.again_ms:
        wishes[index] = _Wish(limit, min(wanted, limit), now_ms + WISH_MS, now_ms + WISH_GAP_MS)
    elif now_ms < known.expires_ms:
        known.target = max(known.target, min(wanted, known.limit))
