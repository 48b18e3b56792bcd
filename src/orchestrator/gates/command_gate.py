"""The command gate: shell blocks of a plan, run in order in one fresh container that holds the candidate.

pass: exit 0. fail: any other exit, and the time-out. unavailable: *we* could not run it (no image, engine
gone, container taken away); that is never a pass and never charged to the agent.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.errors import CodingAgentError, CodingAgentTimeout
from orchestrator.gates.evidence import Evidence, digest, store
from orchestrator.run.facts import Verdict

HOME = "/tmp/home"  # noqa: S108 - a path inside the container, on its own tmpfs
KILL_AFTER_SECONDS = 5
KILLED_EXIT = 137
# `timeout` inside ends the block; the engine's own deadline is for the case that it cannot.
ENGINE_GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCommand:
    gate: str
    """Its name within the task: verify-1, verify-2, …, e2e-1, …"""
    command: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    spec: ContainerSpec
    archive: Path
    """A tar of the candidate's files, to be unpacked at /."""
    candidate: str
    image: str
    """The image's id."""
    commands: tuple[GateCommand, ...]
    timeout: float
    """Seconds for each command."""
    evidence: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    evidence: Evidence
    output: str


class GateWatcher(Protocol):
    """Hears of every command: before it, of its output while it runs, and when its evidence is stored."""

    async def started(self, command: GateCommand) -> None: ...

    def printed(self, data: bytes) -> None: ...

    async def ended(self, result: GateResult) -> None: ...


async def run_gates(engine: ContainerEngine, request: GateRequest, watcher: GateWatcher) -> None:
    """Run every command in one container.

    Engine failures are verdicts (unavailable), not exceptions.
    """
    done = 0
    try:
        async with _container(engine, request.spec, request.archive) as container:
            for command in request.commands:
                await watcher.started(command)
                result = await _run_one(engine, container, command, request, watcher)
                await _conclude(request, result, watcher)
                done += 1
    except CodingAgentError as error:
        for command in request.commands[done:]:
            await watcher.started(command)
            unavailable = _result(command, request, "unavailable", None, 0.0, "", str(error))
            await _conclude(request, unavailable, watcher)


@asynccontextmanager
async def _container(engine: ContainerEngine, spec: ContainerSpec, archive: Path) -> AsyncIterator[str]:
    container = await engine.create(spec)
    try:
        await engine.put_archive(container, "/", archive)
        await engine.start(container)
        yield container
    finally:
        await engine.remove(container)


async def _run_one(
    engine: ContainerEngine,
    container: str,
    command: GateCommand,
    request: GateRequest,
    watcher: GateWatcher,
) -> GateResult:
    begun = time.monotonic()
    too_long = f"took longer than {request.timeout:g} s (verify.timeout)"
    try:
        done = await engine.exec(
            container,
            _argv(command.command, request.timeout),
            timeout=request.timeout + ENGINE_GRACE_SECONDS,
            printed=watcher.printed,
        )
    except CodingAgentTimeout as error:
        return _result(command, request, "fail", 124, time.monotonic() - begun, error.stdout, too_long)
    except CodingAgentError as error:
        return _result(command, request, "unavailable", None, time.monotonic() - begun, "", str(error))
    seconds = time.monotonic() - begun
    if await _taken_away(engine, container, done.exit_code):
        return _result(command, request, "unavailable", None, seconds, "", "the container was taken away")
    over_time = done.exit_code in (124, KILLED_EXIT) and seconds >= request.timeout
    verdict: Verdict = "pass" if done.exit_code == 0 else "fail"
    detail = too_long if over_time else ""
    return _result(command, request, verdict, done.exit_code, seconds, done.stdout, detail)


async def _taken_away(engine: ContainerEngine, container: str, exit_code: int) -> bool:
    """Whether the container, and not what ran in it, came to an end."""
    try:
        state = await engine.inspect(container)
        if state is None or state.status != "running":
            return True
        if exit_code != KILLED_EXIT:
            return False
        # What ran is reported as killed before the engine knows that the whole container is.
        alive = await engine.exec(container, ("true",), timeout=ENGINE_GRACE_SECONDS)
        return alive.exit_code != 0
    except CodingAgentError:
        return True


_SCRIPT = 'mkdir -p "$HOME"; exec 2>&1; exec timeout -k "$1" "$2" bash -eo pipefail -c "$3"'


def _argv(block: str, timeout: float) -> Sequence[str]:
    return ("bash", "-c", _SCRIPT, "gate", str(KILL_AFTER_SECONDS), f"{timeout:g}", block)


def _result(
    command: GateCommand,
    request: GateRequest,
    verdict: Verdict,
    exit_code: int | None,
    seconds: float,
    output: str,
    detail: str,
) -> GateResult:
    evidence = Evidence(
        id=command.evidence,
        gate=command.gate,
        command=command.command,
        candidate=request.candidate,
        image=request.image,
        container=request.spec.name,
        verdict=verdict,
        exit_code=exit_code,
        seconds=round(seconds, 3),
        output_sha256=digest(output),
        detail=detail,
    )
    return GateResult(evidence=evidence, output=output)


async def _conclude(request: GateRequest, result: GateResult, watcher: GateWatcher) -> None:
    store(request.evidence, result.evidence, result.output)
    await watcher.ended(result)
