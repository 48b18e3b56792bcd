"""The transcript by itself: for all pieces of the engine's stream and a kill at any time, each byte once."""

import asyncio
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.containers import logs
from orchestrator.containers.base import LogChunk
from orchestrator.containers.logs import Transcript

texts = st.lists(st.sampled_from([b"\n", b"a", b"\xff", b"bc"]), max_size=30).map(b"".join)
readings = st.lists(
    st.tuples(st.integers(min_value=0, max_value=70), st.integers(min_value=1, max_value=9)), max_size=5
)


LIMIT = 1_000_000


class Lines:
    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def __call__(self, line: bytes, _end: int) -> None:
        self.seen.append(line)


async def read(folder: Path, stdout: bytes, size: int, lines: Lines, *, end: bool = False) -> None:
    """One process's life: it reads from the beginning and stops anywhere."""
    with Transcript(folder, LIMIT) as transcript:
        transcript.rewind()
        for start in range(0, len(stdout), size):
            chunk = LogChunk(stream="stdout", data=stdout[start : start + size])
            await transcript.add(chunk, lines)
        if end:
            await transcript.flush_last_line(lines)


@given(stdout=texts, stops=readings)
def test_each_byte_is_stored_once_and_each_line_handed_on_once(
    stdout: bytes, stops: list[tuple[int, int]]
) -> None:
    lines = Lines()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for stop, size in stops:
            asyncio.run(read(folder, stdout[:stop], size, lines))
        asyncio.run(read(folder, stdout, 4, lines, end=True))
        assert (folder / "stdout").read_bytes() == stdout
    expected = stdout.split(b"\n")
    assert lines.seen == (expected if expected[-1] else expected[:-1])


async def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    await read(tmp_path / "attempt" / "1", b"x", 1, Lines())
    stored = tmp_path / "attempt" / "1" / "stdout"
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.parent.stat().st_mode) == 0o700


async def test_a_link_instead_of_the_transcript_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "stdout").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="stdout"):
        await read(tmp_path, b"x", 1, Lines())
    assert not (tmp_path / "elsewhere").exists()


async def test_an_unfinished_line_longer_than_a_block_is_found_again(tmp_path: Path) -> None:
    begun = b"first\n" + b"x" * 200_000
    lines = Lines()
    await read(tmp_path, begun, 10_000, lines)
    await read(tmp_path, begun + b"y\nlast\n", 10_000, lines)
    assert lines.seen == [b"first", b"x" * 200_000 + b"y", b"last"]


async def test_of_an_endless_line_only_the_beginning_is_handed_on(tmp_path: Path) -> None:
    line = bytes(logs.LINE_MAX + 10)
    lines = Lines()
    with Transcript(tmp_path, 2 * logs.LINE_MAX) as transcript:
        transcript.rewind()
        await transcript.add(LogChunk(stream="stdout", data=line + b"\nnext\n"), lines)
    assert [len(seen) for seen in lines.seen] == [logs.LINE_MAX, 4]
    assert (tmp_path / "stdout").stat().st_size == len(line) + 6
