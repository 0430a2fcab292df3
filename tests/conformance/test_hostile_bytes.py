"""Reading is total: whatever the bytes are, every engine gives a member's message or raises ``RemoteError``."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.engine import load_engine_factory
from consensus.registry import ENGINES, list_registered
from primitives.errors import RemoteError
from testnet.conformance.candidate import Candidate
from testnet.conformance.world import Committee

EXAMPLES = 150


@cache
def record_run(engine: str) -> tuple[Committee, tuple[bytes, ...]]:
    """A short run with a dead leader, and one message of each length that was sent."""
    committee = Candidate(load_engine_factory(engine)).committee()
    committee.members[committee.find_leader()].crash()
    committee.submit(4)
    committee.finish(30_000, "a dead leader")
    by_length = {len(data): data for _, data in committee.sent_data}
    return committee, tuple(data for _, data in sorted(by_length.items()))


@pytest.mark.parametrize("engine", list_registered(ENGINES))
@given(data=st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bytes_are_a_message_or_a_remote_error(engine: str, data: st.DataObject) -> None:
    committee, samples = record_run(engine)
    sample = bytearray(data.draw(st.sampled_from(samples)))
    start = data.draw(st.integers(0, len(sample)))
    end = data.draw(st.integers(start, min(len(sample), start + 12)))
    sample[start:end] = data.draw(st.binary(max_size=12))
    for hostile in (bytes(sample), data.draw(st.binary(max_size=200))):
        try:
            signer, message = committee.factory.decode_message(hostile, committee.public)
            assert 0 <= signer < committee.size
            committee.factory.verify_message(signer, message, committee.public, committee.scheme)
        except RemoteError:
            continue
