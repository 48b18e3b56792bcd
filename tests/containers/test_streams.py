import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.containers.base import LogChunk
from orchestrator.containers.streams import Demultiplexer, StreamBroken

frames = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=20)


def framed(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


def together(chunks: list[LogChunk], stream: str) -> bytes:
    return b"".join(chunk.data for chunk in chunks if chunk.stream == stream)


@given(sent=frames, size=st.integers(min_value=1, max_value=30))
def test_streams_come_apart_wherever_the_pieces_are_cut(sent: list[tuple[int, bytes]], size: int) -> None:
    whole = b"".join(framed(stream, data) for stream, data in sent)
    demultiplexer = Demultiplexer()
    chunks = [
        chunk
        for start in range(0, len(whole), size)
        for chunk in demultiplexer.feed(whole[start : start + size])
    ]
    assert together(chunks, "stdout") == b"".join(data for stream, data in sent if stream == 1)
    assert together(chunks, "stderr") == b"".join(data for stream, data in sent if stream == 2)


def test_neighbours_of_one_stream_are_joined_and_the_order_is_kept() -> None:
    piece = framed(1, b"a") + framed(1, b"b") + framed(2, b"c") + framed(1, b"d")
    assert Demultiplexer().feed(piece) == (
        LogChunk(stream="stdout", data=b"ab"),
        LogChunk(stream="stderr", data=b"c"),
        LogChunk(stream="stdout", data=b"d"),
    )


def test_an_error_of_the_engine_raises() -> None:
    with pytest.raises(StreamBroken, match="Error grabbing logs: unexpected EOF"):
        Demultiplexer().feed(framed(3, b"Error grabbing logs: unexpected EOF\n"))


def test_data_without_frames_raises() -> None:
    with pytest.raises(StreamBroken):
        Demultiplexer().feed(b"plain text of a terminal")
