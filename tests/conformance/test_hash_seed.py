"""A run is the same under another ``PYTHONHASHSEED``: no order of a set reaches a message."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import hashlib
from consensus.engine import load_engine_factory
from consensus.registry import ENGINES, list_registered
from testnet.conformance.candidate import Candidate
from testnet.conformance.world import STORM

for engine in list_registered(ENGINES):
    committee = Candidate(load_engine_factory(engine)).committee(seed=3, weather=STORM, twins=(1,))
    for _ in range(4):
        committee.submit(3)
        committee.run(1_500)
    said = hashlib.sha256(b"".join(name.encode() + data for name, data in committee.sent_data))
    print(engine, committee.tip, said.hexdigest())
"""


def test_a_run_does_not_depend_on_the_hash_seed() -> None:
    printed = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert all(int(line.split()[1]) > 0 for line in printed[0].splitlines()), "nothing was certified"
