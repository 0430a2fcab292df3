"""Seeds that found a mistake once, each with what it was. They stay, whatever they visit now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testnet.simulator.plan import Shape
from testnet.simulator.scheduler import US_PER_S
from tests.simulation.runs import SHARDED, TOY, require_ok, run_seed

TENDERMINT = replace(TOY, engine="tendermint")
HOTSTUFF = replace(TOY, engine="hotstuff")
PINNED = {
    "the log let go of a certificate that the chain store had not synced": (7, TOY, 4),
    "a silent partition left own batches behind that nobody else had": (114, TOY, 5),
    "a body inside an old payload was held again after its block was executed": (1123, TOY, 8),
    "a restarted member attested blocks that its log did not hold": (1, SHARDED, 4),
    "the certified height was told once, and who missed it held up the next": (25, TENDERMINT, 6),
    "what a liar gave to one member alone took a minute to be ordered": (430, TOY, 6),
    "what others had certified counted as in flight at a member that was behind": (601, HOTSTUFF, 6),
}


@pytest.mark.parametrize(("seed", "shape", "seconds"), PINNED.values(), ids=PINNED.keys())
def test_a_seed_that_found_a_mistake_stays_well(seed: int, shape: Shape, seconds: int) -> None:
    require_ok(run_seed(seed, shape, seconds * US_PER_S))
