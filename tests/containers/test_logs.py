"""Following real containers."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from container_makers import Containers, FarEngine

from orchestrator.clock import SystemClock
from orchestrator.containers.base import LogChunk
from orchestrator.containers.engine import EngineClient
from orchestrator.containers.logs import Followed, OverLimit, Vanished, follow
from orchestrator.errors import CodingAgentError

pytestmark = pytest.mark.docker

GIGABYTE = 10**9

# Follows a container (argument 1) into a folder (argument 2) until it is killed.
FOLLOWER = """
import asyncio, sys
from pathlib import Path
from orchestrator.clock import SystemClock
from orchestrator.containers.engine import connect_engine
from orchestrator.containers.logs import follow

async def ignore(line): pass

async def main():
    engine = await connect_engine()
    await follow(
        engine, SystemClock(), sys.argv[1], Path(sys.argv[2]), on_stdout_line=ignore, limit_bytes=10**9
    )

asyncio.run(main())
"""


class Lines:
    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def __call__(self, line: bytes, _end: int) -> None:
        self.seen.append(line)


def script(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text)


async def test_the_transcript_is_whole_and_streams_are_apart(
    engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    text = "head -c 2000000 /dev/zero | tr '\\0' x; echo; echo oops >&2; echo; printf '\\377end'; exit 3"
    container = await containers.run(*script(text))
    lines = Lines()
    result = await follow(
        engine, SystemClock(), container, tmp_path, on_stdout_line=lines, limit_bytes=GIGABYTE
    )
    assert isinstance(result, Followed)
    assert result.state.exit_code == 3
    # The json-file driver stores text: what is not UTF-8 comes back replaced.
    assert (tmp_path / "stdout").read_bytes() == b"x" * 2_000_000 + b"\n\n\xef\xbf\xbdend"
    assert (tmp_path / "stderr").read_bytes() == b"oops\n"
    assert lines.seen == [b"x" * 2_000_000, b"", b"\xef\xbf\xbdend"]


async def test_lines_come_while_the_container_runs(
    engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    container = await containers.run(*script("echo one; read line < /tmp/never || exec sleep infinity"))
    seen = asyncio.Event()

    async def stop_at_first(line: bytes, _end: int) -> None:
        assert line == b"one"
        seen.set()

    following = asyncio.create_task(
        follow(engine, SystemClock(), container, tmp_path, on_stdout_line=stop_at_first, limit_bytes=GIGABYTE)
    )
    await seen.wait()
    await engine.signal(container, "SIGKILL")
    result = await following
    assert isinstance(result, Followed)
    assert result.state.exit_code == 137
    assert not result.state.oom_killed


async def test_a_follower_that_is_killed_again_and_again_loses_and_repeats_nothing(
    engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    text = (
        "n=0; while [ $n -lt 60000 ]; do echo line $n; n=$((n+1)); [ $((n % 3000)) = 0 ] && sleep 0.1; done"
    )
    container = await containers.run(*script(text))
    stored = tmp_path / "stdout"
    for _ in range(3):
        before = stored.stat().st_size if stored.exists() else 0
        follower = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FOLLOWER, container, str(tmp_path), env=dict(os.environ)
        )
        async with asyncio.timeout(60):
            while (not stored.exists() or stored.stat().st_size == before) and follower.returncode is None:
                await asyncio.sleep(0.02)
        if follower.returncode is None:
            follower.send_signal(signal.SIGKILL)
        await follower.wait()
    lines = Lines()
    await follow(engine, SystemClock(), container, tmp_path, on_stdout_line=lines, limit_bytes=GIGABYTE)
    assert stored.read_bytes() == b"".join(b"line %d\n" % n for n in range(60_000))
    assert lines.seen == [b"line %d" % n for n in range(60_000 - len(lines.seen), 60_000)]


async def test_over_the_limit_exactly_so_much_is_stored(
    engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    container = await containers.run(*script("echo problem >&2; exec yes"))
    result = await follow(
        engine, SystemClock(), container, tmp_path, on_stdout_line=Lines(), limit_bytes=100_001
    )
    assert result == OverLimit(limit_bytes=100_001)
    sizes = [(tmp_path / name).stat().st_size for name in ("stdout", "stderr")]
    assert sum(sizes) == 100_001
    again = await follow(
        engine, SystemClock(), container, tmp_path, on_stdout_line=Lines(), limit_bytes=100_001
    )
    assert again == result
    state = await engine.inspect(container)
    assert state is not None
    assert state.status == "running"


async def test_a_removed_container_has_vanished_and_not_ended(
    engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    container = await containers.run(*script("echo begun; exec sleep infinity"))

    async def remove_container(line: bytes, _end: int) -> None:
        await engine.remove(container)

    result = await follow(
        engine, SystemClock(), container, tmp_path, on_stdout_line=remove_container, limit_bytes=GIGABYTE
    )
    assert result == Vanished()
    assert (tmp_path / "stdout").read_bytes() == b"begun\n"


class BreakingEngine(FarEngine):
    """Its following reads break after their first piece, as when the daemon lets go of a log."""

    breaks = 0

    async def logs(self, container: str, *, follow: bool) -> AsyncGenerator[LogChunk, None]:
        async with aclosing(self.near.logs(container, follow=follow)) as chunks:
            async for chunk in chunks:
                yield chunk
                if follow and self.breaks < 3:
                    self.breaks += 1
                    raise CodingAgentError("unexpected EOF")


class HangingEngine(FarEngine):
    """Its following reads never end, and miss what comes after the first piece."""

    async def logs(self, container: str, *, follow: bool) -> AsyncGenerator[LogChunk, None]:
        async with aclosing(self.near.logs(container, follow=follow)) as chunks:
            async for chunk in chunks:
                yield chunk
                if follow:
                    await asyncio.Event().wait()


@pytest.mark.parametrize("kind", [BreakingEngine, HangingEngine])
async def test_a_following_read_that_fails_costs_nothing(
    kind: type[FarEngine], engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    container = await containers.run(*script("for n in 1 2 3 4 5; do echo $n; sleep 0.2; done; printf six"))
    lines = Lines()
    far: Any = kind(engine)
    result = await follow(far, SystemClock(), container, tmp_path, on_stdout_line=lines, limit_bytes=GIGABYTE)
    assert isinstance(result, Followed)
    assert (tmp_path / "stdout").read_bytes() == b"1\n2\n3\n4\n5\nsix"
    assert lines.seen == [b"1", b"2", b"3", b"4", b"5", b"six"]
