"""Whose turn it is to submit a shard's headers to the beacon.

Any member may submit at any time; turns only keep them from all doing it at once. So nothing here is part of
the protocol's safety, and a member that waits by its own clock harms nobody.
"""

from __future__ import annotations

from typing import Final

TURN_BEACON_BLOCKS: Final = 3
"""A submission takes one beacon block, or two when it just missed one; after three the submitter is late."""
TURN_PATIENCE_MS: Final = 1_000
"""An idle beacon makes no blocks and so counts no turns: then a submitter is late after this much time."""


def compute_submitter(tip_height: int, beacon_blocks: int, waited_ms: int, committee_size: int) -> int:
    """The member whose turn it is: (height + k) mod n.

    ``tip_height`` is the registered tip's, ``beacon_blocks`` how many beacon blocks came since it registered, and
    ``waited_ms`` how long this member has held a header that ought to be submitted. k advances with each of the
    two, and so an unresponsive member delays a submission but never prevents it.
    """
    late = max(beacon_blocks // TURN_BEACON_BLOCKS, waited_ms // TURN_PATIENCE_MS)
    return (tip_height + late) % committee_size
