"""The command gate: shell blocks of a plan, run in order in one fresh container with the candidate's files.

**Verdicts.** `pass`: the block exited with 0. `fail`: it exited with another code, or took too long.
`unavailable`: the orchestrator could not run it, because the image is missing, the engine does not answer, or
the container was removed. `unavailable` never counts as a pass, and the agent is not charged for it.

**Why a fresh container.** An agent can leave a process that rewrites files later, a changed PATH, a patched
`pytest`. None of that may decide a verdict: a gate sees the committed files, the setup image, and nothing
else.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.clock import Clock
from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.containers.start import create_container, remove_container
from orchestrator.errors import CodingAgentError, CodingAgentTimeout
from orchestrator.gates.evidence import Evidence, digest, store
from orchestrator.gates.failures import read_failed_tests
from orchestrator.gates.pipes import let_readers_stop
from orchestrator.run.facts import Verdict

HOME = "/tmp/home"  # noqa: S108 - a path inside the container, on its own tmpfs
KILL_AFTER_SECONDS = 5
KILLED_EXIT = 137
# `timeout` in the container stops the block. The engine's deadline is for a block that stops `timeout`
# itself.
ENGINE_GRACE_SECONDS = 30
ADDOPTS = "PYTEST_ADDOPTS"
REPORT_BYTES = 8_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandGate:
    """Passes when a shell block succeeds on the candidate."""

    name: str
    """Unique within the task: verify-1, verify-2, …, e2e-1, …"""
    command: str
    evidence: str
    """The id that its evidence gets."""
    asks_for_report: bool = False
    """Whether a pytest in it is asked for a report of the failed tests."""
    timeout: float | None = None
    """Seconds; None: those of the request."""
    is_preparation: bool = False
    """Whether its result is known: it only runs for what it leaves behind, and says nothing of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    spec: ContainerSpec
    archive: Path
    """A tar of the candidate's files, unpacked at `/`."""
    candidate: str
    """The commit."""
    image: str
    """The image's id."""
    gates: tuple[CommandGate, ...]
    timeout: float
    """Seconds for each command."""
    evidence: Path
    """The folder in which evidence is stored."""
    on_output: Callable[[bytes], object]
    """Is called with the output of the commands, while they run."""
    pytest_options: str = ""
    """The configured PYTEST_ADDOPTS, to which ours are added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    evidence: Evidence
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateBegun:
    gate: CommandGate


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLost:
    """Another process removed or stopped the container; the commands run once more, in a fresh one."""

    gate: str | None
    """The command that was running."""


async def run_gates(
    engine: ContainerEngine, clock: Clock, request: GateRequest
) -> AsyncGenerator[GateBegun | GateResult | ContainerLost, None]:
    """Run every command in one container; a result is yielded once its evidence is stored.

    A container that another process removes is replaced once. A failure of the engine is a verdict
    (unavailable), not an exception. The generator owns the container: iterate it within `aclosing`, so that
    the container is removed also when the loop is left early.
    """
    progress = _Progress(todo=[gate for gate in request.gates if not gate.is_preparation])
    try:
        try:
            async with aclosing(_run_all(engine, clock, request, progress)) as events:
                async for event in events:
                    yield event
        except _ContainerGone:
            yield ContainerLost(gate=progress.running)
            async with aclosing(_run_all(engine, clock, request, progress)) as events:
                async for event in events:
                    yield event
    except CodingAgentError as error:
        # Every command gets a verdict, also those that have not begun: a gate without one would leave the run
        # waiting for it.
        for gate in progress.todo:
            if gate.name != progress.running:
                yield GateBegun(gate=gate)
            unavailable = _result(gate, request, "unavailable", None, 0.0, "", error.statement)
            await asyncio.to_thread(store, request.evidence, unavailable.evidence, unavailable.output)
            yield unavailable


@dataclass(slots=True)
class _Progress:
    """How far the commands have come, over both containers."""

    todo: list[CommandGate]
    """The commands without a result."""
    running: str | None = None
    """The command of `todo` that has begun."""


async def _run_all(
    engine: ContainerEngine, clock: Clock, request: GateRequest, progress: _Progress
) -> AsyncGenerator[GateBegun | GateResult, None]:
    async with _start_container(engine, request.spec, request.archive) as container:
        for gate in request.gates:
            # What has a result runs again only for the files that it leaves behind for those after it.
            if gate not in progress.todo:
                await _run_one(engine, clock, container, gate, request)
                continue
            if progress.running is None:
                progress.running = gate.name
                yield GateBegun(gate=gate)
            result = await _run_one(engine, clock, container, gate, request)
            # Stored before the result is yielded: no verdict may be in the journal whose evidence a kill
            # could lose.
            await asyncio.to_thread(store, request.evidence, result.evidence, result.output)
            progress.todo.remove(gate)
            progress.running = None
            yield result


class _ContainerGone(CodingAgentError):
    """Another process removed or stopped the container."""


@asynccontextmanager
async def _start_container(engine: ContainerEngine, spec: ContainerSpec, archive: Path) -> AsyncIterator[str]:
    container = await create_container(engine, spec)
    try:
        try:
            await engine.put_archive(container, "/", archive)
            await engine.start(container)
        except CodingAgentError as error:
            if await engine.inspect(container) is None:
                raise _ContainerGone("the container was removed") from error
            raise
        yield container
    finally:
        await remove_container(engine, container)


async def _run_one(
    engine: ContainerEngine, clock: Clock, container: str, gate: CommandGate, request: GateRequest
) -> GateResult:
    # The name cannot be guessed: a candidate could otherwise prepare a report that says which tests failed.
    report = f"/tmp/ktrdr-report-{secrets.token_hex(8)}.xml" if gate.asks_for_report else None  # noqa: S108
    # pytest puts these options before those of the command, so a report that the command asks for itself is
    # written as the command says, and the orchestrator gets none.
    env = {} if report is None else {ADDOPTS: f"{request.pytest_options} --junitxml={report}".strip()}
    result = await _run_once(engine, clock, container, gate, request, env)
    if report is None or result.evidence.verdict != "fail":
        return result
    if _REFUSED_REPORT.search(result.output) and report in result.output:
        # This pytest has no such option (`-p no:junitxml`), and has therefore run no test.
        without = {ADDOPTS: request.pytest_options} if request.pytest_options else {}
        return await _run_once(engine, clock, container, gate, request, without)
    failed = await _read_report(engine, container, report)
    return replace(result, evidence=replace(result.evidence, failed_tests=failed))


_REFUSED_REPORT = re.compile(r"unrecognized arguments: .*--junitxml=")


async def _run_once(
    engine: ContainerEngine,
    clock: Clock,
    container: str,
    gate: CommandGate,
    request: GateRequest,
    env: Mapping[str, str],
) -> GateResult:
    begun = clock.monotonic()
    allowed = request.timeout if gate.timeout is None else gate.timeout
    limits = (str(KILL_AFTER_SECONDS), f"{allowed:g}")
    too_long = f"took longer than {allowed:g} s"
    if allowed == request.timeout:
        too_long += " (verify.timeout)"
    try:
        done = await engine.exec(
            container,
            ("bash", "-c", _SCRIPT, "gate", *limits, let_readers_stop(gate.command), gate.command),
            timeout=allowed + ENGINE_GRACE_SECONDS,
            on_output=request.on_output,
            env=env,
        )
    except CodingAgentTimeout as error:
        return _result(gate, request, "fail", 124, clock.monotonic() - begun, error.stdout, too_long)
    except CodingAgentError as error:
        # A container that is removed takes the end of its commands with it.
        if await _is_container_gone(engine, container, KILLED_EXIT):
            raise _ContainerGone("the container was removed or stopped") from error
        return _result(gate, request, "unavailable", None, clock.monotonic() - begun, "", error.statement)
    seconds = clock.monotonic() - begun
    if await _is_container_gone(engine, container, done.exit_code):
        raise _ContainerGone("the container was removed or stopped")
    # A program can exit with 124 by itself, so the time decides with it.
    over_time = done.exit_code in (124, KILLED_EXIT) and seconds >= allowed
    verdict: Verdict = "pass" if done.exit_code == 0 else "fail"
    detail = too_long if over_time else ""
    return _result(gate, request, verdict, done.exit_code, seconds, done.stdout, detail)


async def _read_report(engine: ContainerEngine, container: str, report: str) -> tuple[str, ...] | None:
    """The failed tests that a report names; None without a report that can be read.

    The file is read in the container, so a link of that name leads nowhere but into the container. Time and
    length are limited, in case it is a pipe or endless.
    """
    argv = ("timeout", "-k", "1", "10", "head", "-c", str(REPORT_BYTES), report)
    try:
        done = await engine.exec(
            container, argv, timeout=ENGINE_GRACE_SECONDS, output_limit=REPORT_BYTES, env={}
        )
    except CodingAgentError:
        return None
    return read_failed_tests(done.stdout.encode()) if done.exit_code == 0 else None


async def _is_container_gone(engine: ContainerEngine, container: str, exit_code: int) -> bool:
    """Whether the container ended, and not only the command in it.

    When a container is killed, the command in it ends with 137, as if it had been killed alone. The
    difference decides who is to blame: the engine (or the user), or the agent's code.
    """
    try:
        state = await engine.inspect(container)
        if state is None or state.status != "running":
            return True
        if exit_code != KILLED_EXIT:
            return False
        # The engine reports the command as killed before it reports the same of the container. So a state
        # "running" proves nothing here; a command that still works does.
        alive = await engine.exec(container, ("true",), timeout=ENGINE_GRACE_SECONDS)
        return alive.exit_code != 0
    except CodingAgentError:
        return True


# The unchanged block runs where this bash cannot read what was made of it.
_SCRIPT = (
    'mkdir -p "$HOME"; exec 2>&1; test "$3" = "$4" || bash -nc "$3" 2>/dev/null || set -- "$1" "$2" "$4"; '
    'exec timeout -k "$1" "$2" bash -eo pipefail -c "$3"'
)


def _result(
    gate: CommandGate,
    request: GateRequest,
    verdict: Verdict,
    exit_code: int | None,
    seconds: float,
    output: str,
    detail: str,
) -> GateResult:
    evidence = Evidence(
        id=gate.evidence,
        gate=gate.name,
        command=gate.command,
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
