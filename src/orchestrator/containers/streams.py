"""Splits the engine's multiplexed output into streams: pure.

Each frame has a header of eight bytes: the stream (0 stdin, 1 stdout, 2 stderr, 3 the engine's own errors),
three zeros, and the length of what follows, big-endian.
"""

import struct

from orchestrator.containers.base import LogChunk

_HEADER = struct.Struct(">BxxxL")
_STDERR = 2
_ENGINE_ERROR = 3


class StreamBroken(Exception):
    """The engine reported an error inside the stream, or the data is not a stream of frames."""


class Demultiplexer:
    """Accepts pieces cut anywhere; returns the complete frames, with adjacent frames of one stream joined."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> tuple[LogChunk, ...]:
        """Raises StreamBroken when the engine says that it failed."""
        self._buffer += data
        chunks: list[LogChunk] = []
        stream, joined = 0, bytearray()
        start = 0
        while (end := self._frame_end(start)) is not None:
            number = self._buffer[start]
            if number != stream and joined:
                chunks.append(_chunk(stream, joined))
                joined = bytearray()
            stream = number
            joined += self._buffer[start + _HEADER.size : end]
            start = end
        del self._buffer[:start]
        if joined:
            chunks.append(_chunk(stream, joined))
        return tuple(chunks)

    def _frame_end(self, start: int) -> int | None:
        if len(self._buffer) - start < _HEADER.size:
            return None
        number, length = _HEADER.unpack_from(self._buffer, start)
        if number > _ENGINE_ERROR:
            raise StreamBroken("the engine sent output that is not framed")
        end: int = start + _HEADER.size + length
        return end if end <= len(self._buffer) else None


def _chunk(stream: int, data: bytearray) -> LogChunk:
    if stream == _ENGINE_ERROR:
        raise StreamBroken(data.decode("utf-8", "replace").strip())
    return LogChunk(stream="stderr" if stream == _STDERR else "stdout", data=bytes(data))
