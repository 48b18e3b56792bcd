"""Follow an agent to the end of its container, and stop it in order.

Stopping is patient because an agent that is asked first can save its session, from which the next attempt
resumes. It is also certain: an agent that ignores every request is killed after twenty seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.agents.base import OUTCOME_FILE, AgentDriver
from orchestrator.agents.outcomes import read_outcome_file
from orchestrator.clock import Clock
from orchestrator.config.settings import RunLimits
from orchestrator.containers import logs
from orchestrator.containers.base import ContainerEngine, ContainerState
from orchestrator.engine.agent_output import AgentOutputRecorder
from orchestrator.engine.context import Services
from orchestrator.errors import CodingAgentError
from orchestrator.events import Finished, InvalidOutcome, Outcome, ProviderRefusal
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.classify import (
    PARKING_LIMITS,
    STOPPING,
    AgentReport,
    Ended,
    Lingered,
    OutOfMemory,
    OverOutput,
    OverTime,
    Removed,
    StopReason,
    refusal_by_agent,
)

PATIENCE_SECONDS = 10.0
"""Between two signals to an agent that does not end."""
CHECK_SECONDS = 5.0
"""Between two checks of the report of an agent that has not ended."""
CLOCK_SLACK_SECONDS = 1.0
"""`timeout` counts from its own start and the engine from the container's; these may differ by this much."""
TIMEOUT_EXITS = frozenset({124, 137})
"""Of `timeout` after SIGTERM, and after SIGKILL."""


_Reported = Outcome | InvalidOutcome | None
_ReadResult = Callable[[], Awaitable[Finished | Outcome | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAttempt:
    """An attempt whose container may exist.

    Everything in it comes from the journal, so another process can build the same value later.
    """

    task: str
    state: AttemptState
    folders: AttemptFolders
    container: str
    """Its name or id."""


async def follow(
    services: Services,
    live: LiveAttempt,
    limits: RunLimits,
    recorder: AgentOutputRecorder | None,
    journal: RunJournal | None = None,
) -> Ended:
    """Read the agent's output until the container has ended; the container stays.

    A limit that the gateway has recorded in the journal stops the agent: it would only try again and again.
    The agent's own word about limits counts only where no gateway serves it, because its tools can write into
    its output. An agent that has reported its result and stays is stopped after
    `limits.after_result_seconds`; the result counts as it was then, because some agents report an error when
    they are stopped. If another process started the container, its stored output counts for the result but is
    not recorded a second time, and without a recorder nothing is. When this is cancelled, the agent is
    stopped in order first.
    """
    engine, container, transcript = services.engine, live.container, live.folders.transcript
    reader = _OutputReader(services.driver, recorder)
    await asyncio.to_thread(reader.replay, transcript)
    reading = asyncio.create_task(
        logs.follow(
            engine,
            services.clock,
            container,
            transcript,
            on_stdout_line=reader.take,
            limit_bytes=int(limits.output_bytes),
        )
    )
    refusal = asyncio.create_task(_wait_for_refusal(reader, live, journal))
    check = _choose_check(services.driver, reader, live)
    lingering = asyncio.create_task(
        _wait_until_it_lingers(services.clock, check, limits.after_result_seconds)
    )
    lingered = None
    try:
        await asyncio.wait({reading, refusal, lingering}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            lingered = None if refusal.done() else reader.report
            await stop_in_order(engine, services.clock, container, services.hurry)
        over_output = isinstance(await reading, logs.OverLimit)
        if over_output:
            await stop_in_order(engine, services.clock, container, services.hurry)
        state = await engine.inspect(container)
    except asyncio.CancelledError:
        await stop_in_order(engine, services.clock, container, services.hurry)
        raise
    finally:
        for task in (reading, refusal, lingering):
            task.cancel()
        await asyncio.gather(reading, refusal, lingering, return_exceptions=True)
    exit_code = None if state is None else state.exit_code
    if lingered is not None and exit_code is not None:
        return Ended(report=lingered, exit_code=exit_code, stopped=Lingered())
    return Ended(
        report=reader.report,
        exit_code=exit_code,
        stopped=_stop_reason(reader, state, limits.attempt_seconds, over_output=over_output),
    )


def read_outcome(driver: AgentDriver, folders: AttemptFolders, report: AgentReport) -> _Reported:
    """The agent's structured claim, from where its driver reports it; None without one."""
    match driver.capabilities.structured_outcome:
        case "native":
            return None if report.finished is None else report.finished.outcome
        case "translated":
            return read_outcome_file(folders.outbox / OUTCOME_FILE.rpartition("/")[2])
        case "ignored":
            return None


def _choose_check(driver: AgentDriver, reader: "_OutputReader", live: LiveAttempt) -> _ReadResult:
    """How to find the result of a running agent: in its stream, or in its file once that is a valid outcome.

    A result in the stream is final until a new turn begins. A file may be half written, or be written again.
    """

    async def read_stream() -> Finished | None:
        return reader.report.finished if reader.report.is_at_rest else None

    async def read_file() -> Outcome | None:
        found = await asyncio.to_thread(read_outcome, driver, live.folders, reader.report)
        # A file that is not a valid outcome may be half written. It counts as no result yet, so the agent is
        # not stopped while it writes.
        return found if isinstance(found, Outcome) else None

    return read_file if driver.capabilities.structured_outcome == "translated" else read_stream


async def _wait_until_it_lingers(clock: Clock, read: _ReadResult, limit_seconds: float) -> None:
    """Return once the agent has had the same result for this long."""
    known, since = await read(), clock.monotonic()
    while known is None or clock.monotonic() - since < limit_seconds:
        await clock.sleep(min(CHECK_SECONDS, limit_seconds))
        found = await read()
        if found != known:
            known, since = found, clock.monotonic()


async def _wait_for_refusal(reader: "_OutputReader", live: LiveAttempt, journal: RunJournal | None) -> None:
    """Return when a limit of the provider stops the agent."""
    if journal is None or reader.claims_decide:
        await reader.refused.wait()
        return

    def has_limit(state: RunState) -> bool:
        attempts = state.tasks[live.task].attempts
        limits = [limit for each in attempts if each.number == live.state.number for limit in each.limits]
        return any(limit.effect in STOPPING for limit in limits)

    await journal.wait_until(has_limit)


def replay(driver: AgentDriver, transcript: Path) -> AgentReport:
    """The report of the stored output. Call it in a thread: the output may be large."""
    reader = _OutputReader(driver, None)
    reader.replay(transcript)
    return reader.report


class _OutputReader:
    """Takes every line of standard output once; raises nothing that an agent can provoke."""

    def __init__(self, driver: AgentDriver, recorder: AgentOutputRecorder | None) -> None:
        self._parser = driver.parser()
        self._recorder = recorder
        self.claims_decide = not driver.needs_model
        """Whether no gateway sees what the provider answers, so that only the agent can say it."""
        self.report = AgentReport()
        self.refused = asyncio.Event()

    def replay(self, transcript: Path) -> None:
        for line in logs.read_stored_lines(transcript):
            for event in self._parser.feed(line):
                self.report = self.report.with_event(event)
        if self.report.limit is not None:
            self.refused.set()

    async def take(self, line: bytes) -> None:
        for event in self._parser.feed(line):
            self.report = self.report.with_event(event)
            if self._recorder is not None:
                await self._recorder.record(event)
            if isinstance(event, ProviderRefusal) and event.kind in PARKING_LIMITS:
                self.refused.set()


async def stop_in_order(engine: ContainerEngine, clock: Clock, container: str, hurry: asyncio.Event) -> None:
    """SIGINT, ten seconds, SIGTERM, ten seconds, SIGKILL; the container itself stays.

    Once `hurry` is set, it is killed without further waiting.

    The caller reads the output until the container has ended, so an agent that ignores the first two signals
    would make it wait forever. Errors of the engine are ignored.
    """
    try:
        for signal in ("SIGINT", "SIGTERM"):
            if hurry.is_set():
                break
            await engine.signal(container, signal)
            if await _ends_in_time(engine, clock, container, hurry):
                return
        await kill(engine, container)
    except CodingAgentError:
        return  # the container was removed, or the engine does not answer


async def kill(engine: ContainerEngine, container: str) -> None:
    """Kill every process of a container, which may have ended or been removed; the container itself stays."""
    state = await engine.inspect(container)
    if state is not None and state.status == "running":
        await engine.signal(container, "SIGKILL")
        await engine.wait(container)


async def _ends_in_time(engine: ContainerEngine, clock: Clock, container: str, hurry: asyncio.Event) -> bool:
    """Whether the container ends within PATIENCE_SECONDS, and before `hurry` is set."""
    ending = asyncio.ensure_future(engine.wait(container))
    patience = asyncio.ensure_future(clock.sleep(PATIENCE_SECONDS))
    hurrying = asyncio.ensure_future(hurry.wait())
    others = (patience, hurrying)
    try:
        await asyncio.wait({ending, *others}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            ending.result()
        return ending.done()
    finally:
        for waiting in (ending, *others):
            waiting.cancel()
        await asyncio.gather(ending, *others, return_exceptions=True)


def _stop_reason(
    reader: _OutputReader, state: ContainerState | None, limit_seconds: float, *, over_output: bool
) -> StopReason | None:
    # Removed from outside: the exit code is unknown, and the last lines of the output may be missing.
    if state is None or state.exit_code is None:
        return Removed()
    if reader.report.limit is not None and reader.claims_decide:
        return refusal_by_agent(reader.report.limit)
    if over_output:
        return OverOutput()
    ran = _seconds_between(state.started_at, state.finished_at)
    # Both exit codes can have another cause, so the time decides with them.
    at_limit = ran is not None and ran >= limit_seconds - CLOCK_SLACK_SECONDS
    if state.exit_code in TIMEOUT_EXITS and at_limit:
        return OverTime()
    # The engine also reports this when a child of the agent was killed for its memory and the agent itself
    # ended well.
    if state.oom_killed and state.exit_code != 0:
        return OutOfMemory()
    return None


def _seconds_between(begun: str | None, ended: str | None) -> float | None:
    if begun is None or ended is None:
        return None
    return (_parse_time(ended) - _parse_time(begun)).total_seconds()


def _parse_time(moment: str) -> datetime:
    """The engine writes nanoseconds; Python reads microseconds."""
    whole, dot, fraction = moment.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}{dot}{fraction[:6]}+00:00")
