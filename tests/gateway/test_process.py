import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import gateway_kit
import pytest
from aiohttp import web
from gateway_kit import (
    CANARY,
    KEY,
    TOKEN,
    access,
    ended,
    gateway_pids,
    lives,
    post,
    provider,
    upstream,
)

from orchestrator.clock import SystemClock
from orchestrator.errors import ConfigurationError, EnvironmentInvalid
from orchestrator.gateway import process, wire
from orchestrator.gateway.access import AttemptKey, Scripted
from orchestrator.gateway.client import GatewayClient
from orchestrator.gateway.sockets import attempt_folder, control_socket, gateway_folder

SCRIPT = {"schema": 1, "tasks": {"*": {"steps": [{"text": "Hello"}]}}}

STARTER = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from gateway_kit import access
from orchestrator.clock import SystemClock
from orchestrator.gateway.access import Scripted
from orchestrator.gateway.client import GatewayClient

async def main():
    async with GatewayClient.connect(Path(sys.argv[1]), "state-id", os.environ, SystemClock()) as client:
        print(await client.open_attempt(access(Scripted(path=Path(sys.argv[2])))), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def script(tmp_path: Path) -> Scripted:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(SCRIPT))
    return Scripted(path=path)


@asynccontextmanager
async def starter(state: Path, script: Scripted) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """Another orchestrator that has opened an attempt; gives it and the attempt's folder."""
    argv = ["-c", STARTER, str(state), str(script.path), str(Path(gateway_kit.__file__).parent)]
    started = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=asyncio.subprocess.PIPE)
    assert started.stdout is not None
    try:
        yield started, Path((await started.stdout.readline()).decode().strip())
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def answers(folder: Path, token: str = TOKEN) -> int:
    return (await post(folder / "api.sock", headers={"x-api-key": token})).status


async def answers_in_the_end(folder: Path) -> int:
    """Ask again until the gateway listens, as an agent does."""
    for _ in range(100):
        try:
            return await answers(folder)
        except OSError:
            await asyncio.sleep(0.1)
    return await answers(folder)


async def test_an_attempt_from_opening_to_closing(state: Path, script: Scripted) -> None:
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(script))
        assert await answers(folder) == 200
        assert await client.open_attempt(access(script, token="another")) == folder
        assert (await answers(folder), await answers(folder, "another")) == (401, 200)
        second = await client.open_attempt(access(script, attempt=2))
        assert await answers(second) == 200
        await client.close_attempt(*KEY)
        await client.close_attempt(*KEY)
        assert not folder.exists()
        assert await answers(second) == 200


async def test_the_sockets_are_for_their_users_alone(state: Path, script: Scripted) -> None:
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(script))
        modes = {path: path.stat().st_mode & 0o777 for path in (control_socket(state), folder / "api.sock")}
        assert set(modes.values()) == {0o600}
        assert gateway_folder(state).stat().st_mode & 0o777 == 0o700


async def test_a_bad_script_is_refused_and_the_gateway_keeps_serving(state: Path, script: Scripted) -> None:
    bad = script.path.with_name("bad.json")
    bad.write_text('{"schema": 1}')
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        with pytest.raises(ConfigurationError, match=r"bad\.json"):
            await client.open_attempt(access(Scripted(path=bad)))
        assert await answers(await client.open_attempt(access(script))) == 200


async def test_it_exits_after_the_last_orchestrator(state: Path, script: Scripted) -> None:
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        await client.open_attempt(access(script))
        await client.close_attempt(*KEY)
    (pid,) = gateway_pids(state)
    await ended(pid)
    assert not gateway_folder(state).exists()


async def test_several_starters_get_one_gateway(state: Path, script: Scripted) -> None:
    async def one(attempt: int) -> int:
        async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
            return await answers(await client.open_attempt(access(script, attempt=attempt)))

    async with starter(state, script) as (_, folder):
        assert await asyncio.gather(*(one(attempt) for attempt in range(2, 6))) == [200] * 4
        assert await answers(folder) == 200
    assert len(gateway_pids(state)) == 1


async def test_starters_at_exactly_the_same_time(state: Path) -> None:
    async def one() -> None:
        async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()):
            await asyncio.sleep(0.5)

    await asyncio.gather(*(one() for _ in range(4)))
    assert len(gateway_pids(state)) == 1


async def test_a_gateway_that_starts_while_another_exits_takes_over(state: Path, script: Scripted) -> None:
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        await client.open_attempt(access(script))
    os.kill(gateway_pids(state)[0], signal.SIGTERM)
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(script))
        # The one that ends may have taken the attempt itself; the next gets it handed over then.
        assert await answers_in_the_end(folder) == 200


async def test_it_outlives_a_killed_starter_and_then_exits(state: Path, script: Scripted) -> None:
    async with starter(state, script) as (started, folder):
        (pid,) = gateway_pids(state)
        started.kill()
        await started.wait()
        assert await answers(folder) == 200
    await ended(pid)


async def test_it_outlives_an_event_loop_that_is_closed(state: Path) -> None:
    def begin() -> None:
        async def connect() -> None:
            async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()):
                pass

        asyncio.run(connect())

    await asyncio.to_thread(begin)
    assert lives(gateway_pids(state)[0])


async def test_a_killed_gateway_is_restarted_with_its_attempts(state: Path, script: Scripted) -> None:
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(script))
        inode = folder.stat().st_ino
        os.kill(gateway_pids(state)[0], signal.SIGKILL)
        async with asyncio.timeout(60):
            while len(gateway_pids(state)) < 2:
                await asyncio.sleep(0.05)
            await client.ensure()
        assert await answers(folder) == 200
        assert folder.stat().st_ino == inode, "a container has this folder mounted"


async def test_a_request_is_repeated_when_the_gateway_dies_during_it(state: Path, script: Scripted) -> None:
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        os.kill(gateway_pids(state)[0], signal.SIGKILL)
        assert await answers(await client.open_attempt(access(script))) == 200


async def test_closing_does_not_restart_a_dead_gateway(state: Path, script: Scripted) -> None:
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        await client.open_attempt(access(script))
        (pid,) = gateway_pids(state)
        os.kill(pid, signal.SIGKILL)
        await client.close_attempt(*KEY)
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()):
        assert (state / "gateway.log").read_text().count("gateway.open") == 1


async def test_sigterm_ends_it_in_order(state: Path, script: Scripted) -> None:
    async with starter(state, script) as (started, folder):
        started.send_signal(signal.SIGSTOP)  # so that it does not bring the gateway back
        (pid,) = gateway_pids(state)
        os.kill(pid, signal.SIGTERM)
        await ended(pid)
        assert "gateway.end" in (state / "gateway.log").read_text()
        assert not control_socket(state).exists()
        assert folder.exists(), "a container may have it mounted"


async def test_an_interrupted_connection_does_no_harm(state: Path, script: Scripted) -> None:
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        for line in (b"", b"{", b"nonsense\n", b'{"type": "open"}\n', b"x" * (wire.LINE_BYTES + 2)):
            _, writer = await asyncio.open_unix_connection(str(control_socket(state)))
            writer.write(line)
            writer.close()
        assert await answers(await client.open_attempt(access(script))) == 200


async def test_another_version_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()):
        monkeypatch.setattr(wire, "PROTOCOL", wire.PROTOCOL + 1)
        with pytest.raises(EnvironmentInvalid, match="another version"):
            async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()):
                pass


async def test_no_secret_is_left_anywhere(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)

    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "no"}, status=403)

    async with (
        upstream(refuse) as seen,
        GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client,
    ):
        folder = await client.open_attempt(access(provider(seen.url)))
        assert await answers(folder) == 403
        assert seen.requests[0][2]["x-api-key"] == CANARY  # what the others are searched for was there
        (pid,) = gateway_pids(state)
        given = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline")]
        assert b"PATH=" in given[0] and b"orchestrator.gateway" in given[1]
        files = [path for top in (state, folder.parent) for path in top.rglob("*") if path.is_file()]
        assert state / "gateway.log" in files
    found = given + [path.read_bytes() for path in files if path.exists()]
    assert not any(secret.encode() in text for text in found for secret in (CANARY, TOKEN))


async def test_nothing_of_the_starter_stays_open_in_it(state: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    try:
        async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()):
            (pid,) = gateway_pids(state)
            held = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
            own = str(Path(f"/proc/self/fd/{write_end}").readlink())
            assert own not in held
            assert os.getsid(pid) != os.getsid(0)
            assert Path(f"/proc/{pid}/cwd").readlink() == state
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize(
    ("running", "stays"),
    [
        pytest.param(frozenset({KEY}), True, id="its container runs"),
        pytest.param(None, True, id="the engine does not answer"),
        pytest.param(frozenset(), False, id="no container runs"),
        pytest.param(frozenset({AttemptKey("r1", "3.1", 9)}), False, id="only one whose token is not known"),
    ],
)
async def test_what_keeps_the_gateway_running(
    state: Path, script: Scripted, running: frozenset[AttemptKey] | None, stays: bool
) -> None:
    asked = asyncio.Event()

    async def answer() -> frozenset[AttemptKey] | None:
        asked.set()
        return running

    serving = asyncio.create_task(process.serve(state, answer, None, SystemClock()))
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(script))
    await asked.wait()
    asked.clear()
    if stays:
        await asked.wait()
        assert await answers(folder) == 200
        os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(30):
        await serving


async def test_it_leaves_the_folder_of_an_agent_that_it_does_not_know(state: Path, script: Scripted) -> None:
    """A gateway that was killed had its attempt. The next one serves another run, and ends before that."""
    other = AttemptKey("another-run", "1", 1)
    asked = asyncio.Event()

    async def answer() -> frozenset[AttemptKey]:
        asked.set()
        return frozenset({other})

    serving = asyncio.create_task(process.serve(state, answer, None, SystemClock()))
    async with GatewayClient.connect(state, "state-id", os.environ, SystemClock()) as client:
        own = await client.open_attempt(access(script))
        mounted = attempt_folder(gateway_folder(state), other)
        mounted.mkdir()
    async with asyncio.timeout(30):
        await serving
    assert mounted.exists() and not own.exists()
    mounted.rmdir()
    mounted.parent.rmdir()
