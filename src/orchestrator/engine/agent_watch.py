"""Follow an agent to the end of its container, and stop it in order.

Stopping is patient because an agent that is asked first can save its session, from which the next attempt
resumes. It is also certain: an agent that ignores every request is killed after twenty seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, assert_never

from orchestrator.agents.base import OUTCOME_FILE, AgentDriver
from orchestrator.agents.outcomes import read_outcome_file
from orchestrator.clock import Clock
from orchestrator.config.settings import RunLimits
from orchestrator.containers import logs
from orchestrator.containers.base import ContainerEngine, ContainerState
from orchestrator.engine.agent_output import AgentOutputRecorder
from orchestrator.engine.context import Services
from orchestrator.engine.timetable import UNTIL
from orchestrator.errors import CodingAgentError, StorageError
from orchestrator.events import AgentEvent, Finished, InvalidOutcome, Outcome, ProviderRefusal
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.facts import StopBegun, StopWhy
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.classify import (
    PARKING_LIMITS,
    STOPPING,
    AgentReport,
    Cancelled,
    Ended,
    Interrupted,
    Lingered,
    OutOfMemory,
    OverOutput,
    OverTime,
    Removed,
    Starved,
    StoppedFromOutside,
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
SIGNAL_EXITS = frozenset({137, 143})
"""Of a container whose process got SIGKILL or SIGTERM: from its engine as it shut down, or from a user."""


ORPHANED = "the orchestrator was killed, or lost the container engine, before the attempt ended"
REFUSED = "the provider refuses its requests"

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


@dataclass(slots=True, kw_only=True)
class Watch:
    """Everything that following an attempt needs besides the attempt itself."""

    services: Services
    """Its driver is that of the agent with which the attempt was started."""
    journal: RunJournal
    limits: RunLimits
    """Those with which the attempt was started."""
    starves: Callable[[], Awaitable[None]] | None = None
    """Returns when the agent cannot reach its model any more; None where that cannot happen."""


async def follow(watch: Watch, live: LiveAttempt, *, reports: bool = True) -> Ended:
    """Read the agent's output until the container has ended; the container stays.

    The output is read from its first byte through a new parser, so the report is whole even if another
    process started the container. Only what no fact covers yet is recorded; without `reports` nothing is.

    A limit that the gateway has recorded in the journal stops the agent: it would only try again and again.
    The agent's own word about limits counts only where no gateway serves it, because its tools can write into
    its output. An agent that has reported its result and stays is stopped after
    `limits.after_result_seconds`; the result counts as it was then, because some agents report an error when
    they are stopped. When this is cancelled, the agent is stopped in order first.
    """
    services, recorder = watch.services, _make_recorder(watch, live) if reports else None
    reader = _OutputReader(services.driver, recorder)
    try:
        await reader.replay(live.folders.transcript, 0 if recorder is None else recorder.reported)
        return await _follow(watch, live, reader)
    finally:
        if recorder is not None:
            await recorder.flush()


async def _follow(watch: Watch, live: LiveAttempt, reader: "_OutputReader") -> Ended:
    engine, container = watch.services.engine, live.container
    reading = asyncio.create_task(
        logs.follow(
            engine,
            watch.services.clock,
            container,
            live.folders.transcript,
            on_stdout_line=reader.take,
            limit_bytes=int(watch.limits.output_bytes),
        )
    )
    refusal = asyncio.create_task(_wait_for_refusal(reader, live, watch.journal))
    check = _choose_check(watch.services.driver, reader, live)
    lingering = asyncio.create_task(
        _wait_until_it_lingers(watch.services.clock, check, watch.limits.after_result_seconds)
    )
    starving = asyncio.create_task(_wait_until_it_starves(watch))
    waiting: tuple[asyncio.Task[Any], ...] = (reading, refusal, lingering, starving)
    stopped: StopReason | None = None
    report = None
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            if starving.done() and (error := starving.exception()) is not None:
                raise error
            why = _choose_stop(watch, refused=refusal.done(), starved=starving.done())
            if await is_at_work(engine, container):
                await begin_stop(watch, live, why, reader.end)
                stopped, report = stop_reason_of(why.why), reader.report
        if isinstance(await reading, logs.OverLimit):
            stopped = OverOutput()
            why = Stop("output_limit", "it printed more than limits.output_bytes")
            await begin_stop(watch, live, why, reader.end)
        state = await engine.inspect(container)
    except asyncio.CancelledError:
        await begin_stop(watch, live, choose_stop_of_cancelled(watch.services, watch.journal), reader.end)
        raise
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    exit_code = None if state is None else state.exit_code
    if isinstance(stopped, Lingered) and report is not None and exit_code is not None:
        return Ended(report=report, exit_code=exit_code, stopped=stopped)
    was_stopped = has_stop(watch.journal, live)
    found = _stop_reason(reader, state, live, watch.limits, stopped, was_stopped=was_stopped)
    return Ended(report=reader.report, exit_code=exit_code, stopped=found)


def _make_recorder(watch: Watch, live: LiveAttempt) -> AgentOutputRecorder:
    journal, task, number = watch.journal, live.task, live.state.number
    return AgentOutputRecorder(
        lambda facts: journal.append_all(facts, task=task, attempt=number),
        watch.services.clock,
        reported=journal.count_reported_bytes(task, live.state),
    )


class Stop(NamedTuple):
    why: StopWhy
    seen: str


def _choose_stop(watch: Watch, *, refused: bool, starved: bool) -> Stop:
    if refused:
        return Stop("limit", REFUSED)
    if starved:
        return Stop("starved", "it cannot reach its model: the folder of its socket was made again")
    seconds = f"{watch.limits.after_result_seconds:g} s"
    return Stop("after_result", f"it has reported its outcome and did not end within {seconds}")


def choose_stop_of_cancelled(services: Services, journal: RunJournal) -> Stop:
    if services.time_has_ended.is_set():
        return Stop("until", UNTIL)
    if journal.state.cancel_requested:
        return Stop("cancelled", "the run is cancelled")
    return Stop("person", "the run was stopped")  # plain-english: allowed, other programs rely on it


async def begin_stop(watch: Watch, live: LiveAttempt, stop: Stop, stdout_bytes: int = 0) -> None:
    """Record why the agent is stopped, then stop it in order, unless it has ended.

    A full disk does not keep the agent at work.
    """
    if not await is_at_work(watch.services.engine, live.container):
        return
    if not has_stop(watch.journal, live):
        fact = StopBegun(why=stop.why, seen=stop.seen, stdout_bytes=stdout_bytes)
        with suppress(StorageError):
            await watch.journal.append(fact, task=live.task, attempt=live.state.number)
    await stop_in_order(watch.services.engine, watch.services.clock, live.container, watch.services.hurry)


async def is_at_work(engine: ContainerEngine, container: str) -> bool:
    """Whether the container may have a living process; true while the engine does not answer."""
    try:
        state = await engine.inspect(container)
    except CodingAgentError:
        return True
    return state is not None and state.exit_code is None


def has_stop(journal: RunJournal, live: LiveAttempt) -> bool:
    last = journal.state.tasks[live.task].last
    return last is not None and last.number == live.state.number and last.stop is not None


def stop_reason_of(why: StopWhy) -> StopReason | None:
    """The reason that a recorded stop stands for; None for a limit, which the gateway's facts name."""
    match why:
        case "after_result":
            return Lingered()
        case "output_limit":
            return OverOutput()
        case "starved":
            return Starved()
        case "until":
            return Cancelled(reason=UNTIL, is_parked=True)
        case "cancelled":
            return Cancelled(reason="cancelled", by_request=True)
        case "person":  # plain-english: allowed, other programs rely on this value
            return Cancelled(reason="the run was stopped")
        case "orphaned":
            return Interrupted(reason=ORPHANED)
        case "idle" | "limit":
            return None
        case _ as never:
            assert_never(never)


async def _wait_until_it_starves(watch: Watch) -> None:
    if watch.starves is None:
        await asyncio.Event().wait()
    else:
        await watch.starves()


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


async def _wait_for_refusal(reader: "_OutputReader", live: LiveAttempt, journal: RunJournal) -> None:
    """Return when a limit of the provider stops the agent."""
    if reader.claims_decide:
        await reader.refused.wait()
        return

    def has_limit(state: RunState) -> bool:
        attempts = state.tasks[live.task].attempts
        limits = [limit for each in attempts if each.number == live.state.number for limit in each.limits]
        return any(limit.effect in STOPPING for limit in limits)

    await journal.wait_until(has_limit)


def replay(driver: AgentDriver, transcript: Path, *, until: int | None = None) -> AgentReport:
    """The report of the stored output, or of its first `until` bytes.

    Call it in a thread: the output may be large.
    """
    reader = _OutputReader(driver, None)
    for line in logs.read_stored_lines(transcript):
        if until is not None and line.end > until:
            break
        reader.feed(line.data, line.end)
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
        self.end = 0
        """How many bytes have been taken."""

    async def replay(self, transcript: Path, reported: int) -> None:
        """Take all that is stored; what facts cover is read in a thread, because it may be large."""
        lines = logs.read_stored_lines(transcript)
        line = await asyncio.to_thread(self._feed_until, lines, reported)
        while line is not None:
            await self.take(line.data, line.end)
            line = next(lines, None)
        if self.report.limit is not None:
            self.refused.set()

    def _feed_until(self, lines: Iterator[logs.StoredLine], reported: int) -> logs.StoredLine | None:
        for line in lines:
            if line.end > reported:
                return line
            self.feed(line.data, line.end)
        return None

    def feed(self, line: bytes, end: int) -> Sequence[AgentEvent]:
        self.end = end
        events = self._parser.feed(line)
        for event in events:
            self.report = self.report.with_event(event)
        return events

    async def take(self, line: bytes, end: int) -> None:
        events = self.feed(line, end)
        if self._recorder is not None:
            await self._recorder.record(events, end)
        if any(isinstance(event, ProviderRefusal) and event.kind in PARKING_LIMITS for event in events):
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
    if state is not None and state.status in ("running", "paused", "restarting"):
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
    reader: _OutputReader,
    state: ContainerState | None,
    live: LiveAttempt,
    limits: RunLimits,
    stopped: StopReason | None,
    *,
    was_stopped: bool,
) -> StopReason | None:
    # Removed from outside: the exit code is unknown, and the last lines of the output may be missing.
    if state is None or state.exit_code is None:
        return Removed()
    if reader.report.limit is not None and reader.claims_decide:
        return refusal_by_agent(reader.report.limit)
    if stopped is not None:
        return stopped
    ran = _seconds_between(state.started_at, state.finished_at)
    limit = live.state.start.limit_seconds
    limit = limits.attempt_seconds if limit is None else limit
    # Both exit codes can have another cause, so the time decides with them.
    at_limit = ran is not None and ran >= limit - CLOCK_SLACK_SECONDS
    if state.exit_code in TIMEOUT_EXITS and at_limit:
        return OverTime()
    # The engine also reports this when a child of the agent was killed for its memory and the agent itself
    # ended well.
    if state.oom_killed and state.exit_code != 0:
        return OutOfMemory()
    if state.exit_code in SIGNAL_EXITS and not was_stopped:
        return StoppedFromOutside(exit_code=state.exit_code)
    return None


def _seconds_between(begun: str | None, ended: str | None) -> float | None:
    if begun is None or ended is None:
        return None
    return (_parse_time(ended) - _parse_time(begun)).total_seconds()


def _parse_time(moment: str) -> datetime:
    """The engine writes nanoseconds; Python reads microseconds."""
    whole, dot, fraction = moment.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}{dot}{fraction[:6]}+00:00")
