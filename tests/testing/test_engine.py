"""The fake engine with functions as programs, in fake time; that it behaves like Docker is conformance's."""

import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.containers.base import KEEP_ALIVE, ContainerLimits, ContainerSpec, ContainerState
from orchestrator.containers.logs import Followed, Vanished, follow
from orchestrator.containers.profile import attempt_command
from orchestrator.errors import CodingAgentError, CodingAgentTimeout
from orchestrator.mounts import AnonymousVolume, Bind, Volume
from orchestrator.testing.clock import FakeClock, run_in_fake_time
from orchestrator.testing.engine import IMAGE, FakeEngine
from orchestrator.testing.processes import OutOfMemory, Process, Program, Scripts

Body = Callable[[FakeEngine, FakeClock], Awaitable[None]]


def _in_fake_time(folder: Path, programs: dict[str, Program], body: Body) -> FakeClock:
    clock = FakeClock()

    async def main() -> None:
        await body(FakeEngine(folder / "engine", Scripts(programs), clock=clock), clock)

    begun = time.monotonic()
    run_in_fake_time(clock, main())
    assert time.monotonic() - begun < 20
    return clock


def _spec(*command: str, name: str = "ktrdr-probe-1", image: str = IMAGE, **more: Any) -> ContainerSpec:
    limits = ContainerLimits(memory_bytes=1_000_000, cpus=None, pids=10)
    return ContainerSpec(name=name, image=image, uid=0, gid=0, limits=limits, command=command, **more)


async def _ended(engine: FakeEngine, spec: ContainerSpec) -> ContainerState:
    container = await engine.create(spec)
    await engine.start(container)
    return await engine.wait(container)


async def _two_hours(process: Process) -> int:
    process.print("begun")
    await process.clock.sleep(7200)
    process.print("done")
    return 3


def test_two_silent_hours_take_no_time(tmp_path: Path) -> None:
    async def body(engine: FakeEngine, clock: FakeClock) -> None:
        container = await engine.create(_spec("build"))
        await engine.start(container)
        lines: list[tuple[float, bytes]] = []

        async def received(line: bytes, _end: int) -> None:
            lines.append((clock.monotonic(), line))

        followed = await follow(
            engine, clock, container, tmp_path / "log", on_stdout_line=received, limit_bytes=1000
        )
        assert isinstance(followed, Followed)
        assert followed.state.exit_code == 3
        assert lines == [(0, b"begun"), (7200, b"done")]
        assert followed.state.started_at == "2026-01-01T12:00:00.000000000Z"
        assert followed.state.finished_at == "2026-01-01T14:00:00.000000000Z"

    _in_fake_time(tmp_path, {"build": _two_hours}, body)


@pytest.mark.parametrize(
    ("ignores", "seconds", "exit_code"),
    [(False, 60, 124), (True, 90, 137)],
    ids=["ends at SIGTERM", "ignores it"],
)
def test_an_attempt_over_its_time(tmp_path: Path, ignores: bool, seconds: int, exit_code: int) -> None:
    async def stubborn(process: Process) -> None:
        assert process.stdin == b"the prompt"
        if ignores:
            process.handlers["SIGTERM"] = lambda: process.print("no")
        await process.clock.sleep(10_000)

    async def body(engine: FakeEngine, clock: FakeClock) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "prompt.md").write_text("the prompt")
        command = attempt_command(["agent", "-x"], limit_seconds=60, prompt_file="/in/prompt.md")
        spec = _spec(*command, mounts=(Bind(source=tmp_path / "in", target="/in", read_only=True),))
        state = await _ended(engine, spec)
        assert (state.exit_code, state.oom_killed) == (exit_code, False)
        assert clock.monotonic() == seconds

    _in_fake_time(tmp_path, {"agent": stubborn}, body)


def test_signals_memory_faults_and_unknown_programs_have_their_exit_codes(tmp_path: Path) -> None:
    def hungry(process: Process) -> int:
        raise OutOfMemory

    def broken(process: Process) -> int:
        raise ValueError("a bug in the script")

    async def body(engine: FakeEngine, clock: FakeClock) -> None:
        for number, (name, exit_code) in enumerate(
            (("hungry", 137), ("broken", 1), ("unknown", 127), ("true", 0))
        ):
            state = await _ended(engine, _spec(name, name=f"c{number}"))
            assert (state.exit_code, state.oom_killed) == (exit_code, name == "hungry")
        container = await engine.create(_spec(*KEEP_ALIVE, name="signalled"))
        await engine.start(container)
        await engine.signal(container, "SIGINT")
        assert (await engine.wait(container)).exit_code == 130

    _in_fake_time(tmp_path, {"hungry": hungry, "broken": broken}, body)


def test_a_shell_line_becomes_the_program_that_it_starts(tmp_path: Path) -> None:
    def block(process: Process) -> int:
        process.print(f"{process.argv[0]} {process.env['WHO']} {process.path('a.txt').read_text()}")
        return 4

    async def body(engine: FakeEngine, clock: FakeClock) -> None:
        (tmp_path / "a.txt").write_text("content")
        mounts = (Bind(source=tmp_path, target="/workspace"),)
        container = await engine.create(_spec(*KEEP_ALIVE, mounts=mounts, env={"WHO": "spec"}))
        await engine.start(container)
        line = 'mkdir -p "$HOME"; exec 2>&1; exec timeout -k "$1" "$2" bash -eo pipefail -c "$3"'
        argv = ("bash", "-c", line, "gate", "5", "600", "make check")
        done = await engine.exec(container, argv, timeout=630, env={"WHO": "caller"})
        assert (done.exit_code, done.stdout) == (4, "bash caller content\n")

    _in_fake_time(tmp_path, {"make check": block}, body)


def test_a_command_over_its_time_is_killed_and_what_it_printed_is_kept(tmp_path: Path) -> None:
    async def body(engine: FakeEngine, clock: FakeClock) -> None:
        container = await engine.create(_spec(*KEEP_ALIVE))
        await engine.start(container)
        with pytest.raises(CodingAgentTimeout) as caught:
            await engine.exec(container, ["build"], timeout=60)
        assert (caught.value.stdout, clock.monotonic()) == ("begun\n", 60)

    _in_fake_time(tmp_path, {"build": _two_hours}, body)


def test_volumes_and_images(tmp_path: Path) -> None:
    def install(process: Process) -> None:
        process.path("made/tool").parent.mkdir(parents=True)
        process.path("made/tool").write_text("installed")
        process.path("/tmp/scratch").write_text("not for the image")
        process.path("/cache/kept").write_text("for all")

    def look(process: Process) -> None:
        process.print(process.path("made/tool").read_text())
        assert not process.path("/tmp/scratch").exists()
        assert process.path("/cache/kept").read_text() == "for all"
        process.path("made/tool").write_text("changed by one container alone")

    async def body(engine: FakeEngine, clock: FakeClock) -> None:
        cache = Volume(name="cache", target="/cache")
        container = await engine.create(_spec("install", mounts=(cache,)))
        await engine.start(container)
        await engine.wait(container)
        image = await engine.commit(container, name="made:1", labels={"a": "b"}, env={"PATH": "/made"})
        for number in (1, 2):
            mounts = (cache, AnonymousVolume(target="/workspace/made"))
            second = await engine.create(_spec("look", name=f"user-{number}", image=image, mounts=mounts))
            await engine.start(second)
            assert (await engine.wait(second)).exit_code == 0
            async with aclosing(engine.logs(second, follow=False)) as chunks:
                assert [chunk.data async for chunk in chunks] == [b"installed\n"]

    _in_fake_time(tmp_path, {"install": install, "look": look}, body)


def test_an_unreachable_engine_fails_every_request_and_its_containers_continue(tmp_path: Path) -> None:
    async def body(engine: FakeEngine, clock: FakeClock) -> None:
        container = await engine.create(_spec("build"))
        await engine.start(container)
        engine.is_away = True
        with pytest.raises(CodingAgentError, match="Cannot connect"):
            await engine.inspect(container)
        await clock.sleep(8000)
        engine.is_away = False
        state = await engine.inspect(container)
        assert state is not None and state.exit_code == 3

    _in_fake_time(tmp_path, {"build": _two_hours}, body)


def test_waiting_for_a_container_that_is_removed_from_outside_fails(tmp_path: Path) -> None:
    async def body(engine: FakeEngine, clock: FakeClock) -> None:
        async def take_it_away(process: Process) -> None:
            await process.clock.sleep(100)
            await engine.remove_from_outside("ktrdr-probe-1")

        engine.run = Scripts({"build": _two_hours, "helper": take_it_away})
        container = await engine.create(_spec("build"))
        await engine.start(container)
        helper = await engine.create(_spec("helper", name="helper"))
        await engine.start(helper)

        async def ignore(line: bytes, _end: int) -> None:
            pass

        found = await follow(
            engine, clock, container, tmp_path / "log", on_stdout_line=ignore, limit_bytes=1000
        )
        assert isinstance(found, Vanished)

    _in_fake_time(tmp_path, {}, body)
