"""Frames by which a member asks the others what it signed, and they tell it. Values and bounds only.

What does not live here: remembering and answering (``node.recollection``), what follows from it
(``node.abstention``).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from consensus.certificate import Attestation, Certificate
from primitives.codec import Unsigned, Wire

MAX_RECALLED_BYTES: Final = 16 << 10
"""An engine's message that is told back: a vote has 200 bytes, a view change some thousands."""
MAX_RECALL_FRAME_BYTES: Final = 48 << 10
"""That, a certificate of a committee of 100, and an attestation."""

MAX_VIEW: Final = 1 << 48
"""No network lives so long; a liar's claim must leave room for the views above it."""


class RecallRequest(Wire, frozen=True):
    """What did I sign, and where are you? ``nonce`` is of the asker's life. ``wanted_height`` and ``wanted_view``
    are what it has to see before it may vote again (0: nothing): members with nothing to order get it there."""

    nonce: Unsigned
    wanted_height: Unsigned
    wanted_view: Unsigned


class RecallResponse(Wire, frozen=True):
    """The sender's highest certificate and the highest view that it knows or asked for; the newest attestation and
    the newest message of its engine that the asker sent it (none and empty where there is nothing).
    ``is_abstaining``: the sender has lost votes itself, so its picture proves nothing."""

    nonce: Unsigned
    is_abstaining: bool
    view: Annotated[int, msgspec.Meta(ge=0, le=MAX_VIEW)]
    certificate: Certificate | None
    attestation: Attestation | None
    message: Annotated[bytes, msgspec.Meta(max_length=MAX_RECALLED_BYTES)]
