"""Following a container's output into a transcript: one raw file per stream, each byte once.

The engine has no position that survives a crash (several lines share a timestamp), so every reading starts at
the beginning and skips what is stored: the length of each file says how much that is. Files are only ever
appended to, so a `kill -9` at any moment leaves a valid position. A following read may miss the last piece,
end early, or never end. So it is only used for progress: the transcript is complete after a last reading,
from the beginning, once the container has ended.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from orchestrator.clock import Clock
from orchestrator.containers.base import ContainerEngine, ContainerState, LogChunk
from orchestrator.errors import CodingAgentError
from orchestrator.files import open_own

STDOUT_FILE = "stdout"
STDERR_FILE = "stderr"
LINE_MAX = 32 * 1024 * 1024
"""Bytes of one line that are passed on; the transcript has the whole line."""

GRACE_SECONDS = 5.0
"""How long a following read may lag behind the container's end, and the end behind the read.

In real time even under a fake clock: the wait is for a stream of the engine, not for a moment in time.
"""
AGAIN_SECONDS = 0.5

_BLOCK = 65536

OnLine = Callable[[bytes, int], Awaitable[None]]
"""Gets a line of stdout without its newline, and where it ends in the transcript, newline included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """The container has ended and the transcript is whole."""

    state: ContainerState


@dataclass(frozen=True, slots=True, kw_only=True)
class OverLimit:
    """The container printed more than it may, and may still be running.

    The transcript has exactly `limit_bytes`.
    """

    limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanished:
    """Another process removed the container; the transcript has the output that was read until then."""


FollowResult = Followed | OverLimit | Vanished


async def follow(
    engine: ContainerEngine,
    clock: Clock,
    container: str,
    folder: Path,
    *,
    on_stdout_line: OnLine,
    limit_bytes: int,
) -> FollowResult:
    """Store the container's output under `folder` until it has ended; `limit_bytes` counts both streams.

    The container must have been started. `on_stdout_line` gets each line of stdout that this call completes,
    without its newline; a beginning that was stored before is part of it. Lines that are stored whole are not
    passed on again. Raises CodingAgentError when the engine does not answer; a later call continues where
    this one stopped.
    """
    with Transcript(folder, limit_bytes) as transcript:
        try:
            while True:
                await _store(_follow_output(engine, container), transcript, on_stdout_line)
                state = await engine.inspect(container)
                if state is None:
                    return Vanished()
                if state.exit_code is not None:
                    # Once more from the beginning, now that the container has ended: a stream that broke off,
                    # or ended a moment early, may lack the last lines, and they decide how the attempt ended.
                    await _store(engine.logs(container, follow=False), transcript, on_stdout_line)
                    await transcript.flush_last_line(on_stdout_line)
                    return Followed(state=state)
                await clock.sleep(AGAIN_SECONDS)
        except _LimitReached:
            return OverLimit(limit_bytes=limit_bytes)


class StoredLine(NamedTuple):
    data: bytes
    """Without its newline."""
    end: int
    """Where it ends in the transcript, newline included."""


def read_stored_lines(folder: Path) -> Iterator[StoredLine]:
    """The lines of stdout that are stored whole, each as `follow` passes it on; none where nothing is stored.

    `follow` starts with the line after these.
    """
    try:
        stream = (folder / STDOUT_FILE).open("rb")
    except FileNotFoundError:
        return
    with stream:
        while piece := stream.readline(LINE_MAX):
            line = piece
            while not piece.endswith(b"\n"):
                piece = stream.readline(LINE_MAX)
                if not piece:
                    return
            yield StoredLine(line.removesuffix(b"\n"), stream.tell())


class _LimitReached(Exception):
    pass


class Transcript:
    """The two files of a container's output, and the line of stdout that is not finished yet."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._files: dict[str, int] = {}
        self._stored: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._line = _Line(0)

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            for stream in (STDOUT_FILE, STDERR_FILE):
                self._files[stream] = open_own(self._folder / stream, append=True)
                self._stored[stream] = os.fstat(self._files[stream]).st_size
        except BaseException:
            self._close()
            raise
        size = self._stored[STDOUT_FILE]
        begin = _find_last_line(self._files[STDOUT_FILE], size)
        self._line = _Line(begin)
        # Fed in pieces: an unfinished line may be longer than what is kept of it.
        while begin < size:
            piece = os.pread(self._files[STDOUT_FILE], min(size - begin, LINE_MAX), begin)
            self._line.add(piece)
            begin += len(piece)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def rewind(self) -> None:
        """Call this before a reading from the beginning: the next chunk is its first."""
        self._seen = {STDOUT_FILE: 0, STDERR_FILE: 0}

    async def add(self, chunk: LogChunk, on_stdout_line: OnLine) -> None:
        """Store the part of a chunk that is new; raises _LimitReached when it exceeds the limit."""
        # Every reading begins at the container's first byte. The length of the file says how much of it is
        # stored, also after a kill, so nothing is stored twice.
        already = self._stored[chunk.stream] - self._seen[chunk.stream]
        self._seen[chunk.stream] += len(chunk.data)
        new = chunk.data[max(already, 0) :]
        room = self._limit - sum(self._stored.values())
        kept = new[: max(room, 0)]
        left = memoryview(kept)
        while left:
            # Counted as it is written: on a full disk a part may be written, and a later reading continues
            # after it.
            written = os.write(self._files[chunk.stream], left)
            self._stored[chunk.stream] += written
            left = left[written:]
        if chunk.stream == STDOUT_FILE:
            for line in self._line.add(kept):
                await on_stdout_line(*line)
        if len(kept) < len(new):
            raise _LimitReached

    async def flush_last_line(self, on_stdout_line: OnLine) -> None:
        """Pass on the last line, which has no newline."""
        if (rest := self._line.rest()) is not None:
            await on_stdout_line(*rest)

    def _close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files = {}


class _Line:
    """Bytes into lines; of a line longer than LINE_MAX only its beginning is kept."""

    def __init__(self, begin: int) -> None:
        """`begin`: where the first line begins in the transcript."""
        self._pending = bytearray()
        self._end = begin

    def add(self, data: bytes) -> list[StoredLine]:
        *ended, begun = data.split(b"\n")
        lines = []
        for piece in ended:
            self._extend(piece)
            self._end += 1
            lines.append(StoredLine(bytes(self._pending), self._end))
            self._pending.clear()
        self._extend(begun)
        return lines

    def rest(self) -> StoredLine | None:
        rest = bytes(self._pending)
        self._pending.clear()
        return StoredLine(rest, self._end) if rest else None

    def _extend(self, piece: bytes) -> None:
        # An agent can print gigabytes without a line break.
        self._pending += piece[: LINE_MAX - len(self._pending)]
        self._end += len(piece)


def _find_last_line(file: int, size: int) -> int:
    end = size
    while end > 0:
        start = max(end - _BLOCK, 0)
        if (place := os.pread(file, end - start, start).rfind(b"\n")) >= 0:
            return start + place + 1
        end = start
    return 0


async def _follow_output(engine: ContainerEngine, container: str) -> AsyncGenerator[LogChunk, None]:
    """Output as it arrives, until the stream or the container ends; the other gets GRACE_SECONDS to end, too.

    A broken stream is not an error: the caller asks the engine for the container's state and reads again.
    """
    ended = asyncio.ensure_future(engine.wait(container))
    try:
        async with aclosing(engine.logs(container, follow=True)) as chunks:
            while (chunk := await _next(chunks, ended)) is not None:
                yield chunk
        await asyncio.wait({ended}, timeout=GRACE_SECONDS)
    except CodingAgentError:
        return
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)


async def _next(
    chunks: AsyncGenerator[LogChunk, None], ended: asyncio.Future[ContainerState]
) -> LogChunk | None:
    """The next chunk; None at the end, or when none comes although the container has ended."""
    step = asyncio.ensure_future(anext(chunks, None))
    either: set[asyncio.Future[Any]] = {step, ended}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({step}, timeout=GRACE_SECONDS)
        return step.result() if step.done() else None
    finally:
        step.cancel()
        await asyncio.wait({step})


async def _store(
    chunks: AsyncGenerator[LogChunk, None], transcript: Transcript, on_stdout_line: OnLine
) -> None:
    transcript.rewind()
    async with aclosing(chunks):
        async for chunk in chunks:
            await transcript.add(chunk, on_stdout_line)
