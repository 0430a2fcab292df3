"""Frames survive any chunking; lengths that are not allowed are refused before anything is buffered for them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.framing import Frame, FrameBuffer, encode_frame
from primitives.errors import RemoteError

LIMIT = 64

frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=LIMIT - 1)), max_size=20)


def feed_in_chunks(buffer: FrameBuffer, data: bytes, cuts: list[int]) -> list[Frame]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    received: list[Frame] = []
    for start, end in zip(edges, edges[1:], strict=False):
        received += buffer.feed(data[start:end])
    return received


@given(frames, st.lists(st.integers(0, 10_000), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_chunking_yields_the_frames_that_were_sent(sent: list[Frame], cuts: list[int]) -> None:
    buffer = FrameBuffer(LIMIT)
    data = b"".join(encode_frame(kind, body) for kind, body in sent)
    assert feed_in_chunks(buffer, data, cuts) == sent
    assert buffer.pending_bytes == 0


@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000), max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_frames_or_a_remote_error_and_memory_stays_bounded(data: bytes, cuts: list[int]) -> None:
    buffer = FrameBuffer(LIMIT)
    try:
        feed_in_chunks(buffer, data, cuts)
    except RemoteError as error:
        assert error.code in ("FRAME_TOO_LARGE", "EMPTY_FRAME")
        assert error.penalise
    else:
        assert buffer.pending_bytes < LIMIT + 4


@pytest.mark.parametrize("chunk", [1, 3, 4, 1000])
def test_a_length_over_the_limit_is_refused_from_the_length_alone(chunk: int) -> None:
    buffer = FrameBuffer(LIMIT)
    data = (LIMIT + 1).to_bytes(4, "big")
    with pytest.raises(RemoteError, match="FRAME_TOO_LARGE"):
        for start in range(0, len(data), chunk):
            buffer.feed(data[start : start + chunk])


def test_a_frame_of_exactly_the_limit_passes_and_one_without_a_kind_does_not() -> None:
    assert FrameBuffer(LIMIT).feed(encode_frame(9, bytes(LIMIT - 1))) == [(9, bytes(LIMIT - 1))]
    with pytest.raises(RemoteError, match="EMPTY_FRAME"):
        FrameBuffer(LIMIT).feed(bytes(4))


def test_a_large_frame_in_small_chunks_takes_time_proportional_to_its_size() -> None:
    """Twice the chunks, about twice the work: what is counted is bytes copied, by looking at the buffer."""
    buffer = FrameBuffer(4 * 1024 * 1024)
    data = encode_frame(1, bytes(4 * 1024 * 1024 - 1))
    received = [frame for start in range(0, len(data), 1024) for frame in buffer.feed(data[start : start + 1024])]
    assert [(kind, len(body)) for kind, body in received] == [(1, 4 * 1024 * 1024 - 1)]
