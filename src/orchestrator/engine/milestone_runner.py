"""The loop of a run: decide, carry out, and repeat until the run has ended."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from orchestrator.clock import SystemClock
from orchestrator.engine.agent_watch import PATIENCE_SECONDS
from orchestrator.engine.stop_signals import Stopped, StopSignals, in_background
from orchestrator.engine.timetable import AWAKE_SECONDS, UNTIL, Timetable
from orchestrator.errors import (
    CannotStart,
    CodingAgentError,
    OrchestratorError,
    SetupFailed,
    StorageError,
    convert_storage_errors,
)
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.endings import BUG, NOT_BEGUN, rank, run_ended_fact
from orchestrator.run.facts import Notice, RunCause, RunEnded, RunWaiting, Sleep, WaitEnded
from orchestrator.run.phase import Working, phase
from orchestrator.run.state import RunState
from orchestrator.supervision.decide import (
    BRANCH,
    Action,
    EndRun,
    Lane,
    Steps,
    Wait,
    Work,
    decide,
    lanes_of,
)
from orchestrator.supervision.waiting import PastWaits, WaitPlan, count_successes, plan_wait
from orchestrator.text import utc_text

CANCELLED = "cancelled"
SCHEDULED = "its work begins at the time given by --at"
BY_CALLER = "stopped by its caller"


class Actions(Protocol):
    """Everything a run does outside of its journal; the runner decides when."""

    async def remove_leftovers(self, state: RunState) -> None:
        """Remove what an earlier owner of the run left; called once, before everything else."""

    async def carry_out(self, action: Action, state: RunState) -> None:
        """Carry the action out, and append the facts about it; `state` is the one it was decided from.

        When this is cancelled, it cleans up before it raises CancelledError.
        """

    def park_attempts(self) -> None:
        """Park the attempts that are stopped from now on: the time of the run has ended."""

    def stop_waiting(self) -> None:
        """Kill the agents that are asked to stop, now and from now on, instead of waiting for them."""

    async def forget_run(self) -> None:
        """Remove every trace of a run that does not begin, except for its records."""


class _End(NamedTuple):
    fact: RunEnded
    error: Exception | None
    """The cause; None when there was nothing left to do."""
    waited_for: RunEnded | None = None
    """The end that decides whether the run waits and then continues by itself; None: `fact`."""

    @property
    def to_wait(self) -> RunEnded:
        return self.waited_for or self.fact


class MilestoneRunner:
    """Carries out one run; the caller holds the locks of run and folder.

    Each action is an asyncio task of its own and occupies its lanes. An error in one action, or a request to
    stop, cancels all others; the end of the run is stored only after all of them have cleaned up.
    """

    def __init__(
        self,
        journal: RunJournal,
        work: Work,
        actions: Actions,
        timetable: Timetable | None = None,
        find_known_limit: Callable[[], RunEnded | None] = lambda: None,
    ) -> None:
        """`find_known_limit` gives the end of a run that would only meet a limit that is known already."""
        self._journal = journal
        self._work = work
        self._actions = actions
        self._timetable = timetable or Timetable(clock=SystemClock())
        self._at = self._timetable.at
        """When work begins; None once it has."""
        self._find_known_limit: Callable[[], RunEnded | None] | None = find_known_limit
        """Asked once, when work begins; None after that."""
        self._waits = PastWaits()
        self._answers = 0
        """Questions that had an answer at the last decision."""
        self._busy: frozenset[Lane] = frozenset()
        self._news = asyncio.Event()
        """Set when there may be something new to decide:

        a free lane, a foreign fact, or a request to stop.
        """

    async def carry_out(self) -> RunState:
        """Continue from where the facts say the run is to its end, and give the state at the end.

        Failures of engine, workspace and disk park the run, a signal interrupts it; both leave it resumable.
        Raises StorageError when not even its end can be stored, and CancelledError when the caller cancels.
        """
        with StopSignals(self._news.set, self._actions.stop_waiting, self._timetable.end_process) as stop:
            with (
                in_background(self._listen(stop)),
                in_background(self._stop_in_time(stop)),
                in_background(self._notice_open_question()),
            ):
                end = await stop.stop_when_cancelled(BY_CALLER, self._run_until_ended(stop))
                while (plan := self._plan_wait(end)) is not None:
                    end = await stop.stop_when_cancelled(BY_CALLER, self._wait_and_continue(end, plan, stop))
            # Signals are still caught here: the default handler would end the process before the end of the
            # run is stored, and the next command would take the run for one whose owner was killed.
            await stop.stop_when_cancelled(BY_CALLER, self._store_end(end.fact, stop))
        if end.error is not None and end.fact.exit_code == BUG:
            raise end.error
        if stop.reason == BY_CALLER:
            raise asyncio.CancelledError(BY_CALLER)
        return self._journal.state

    async def _store_end(self, fact: RunEnded, stop: StopSignals) -> None:
        try:
            if fact.exit_code == NOT_BEGUN or self._journal.state.start.only_base:
                await self._actions.forget_run()
            if fact.status == "parked":
                await self._announce_working_agents()
            if stop.may_be_shutdown and fact.status == "interrupted":
                fact = replace(fact, by_shutdown=await self._timetable.is_shutting_down())
        finally:
            await self._journal.append(lambda state, _n: _prefer_cancellation(fact, state))

    async def _run_until_ended(self, stop: StopSignals) -> _End:
        try:
            async with asyncio.TaskGroup() as group:
                state = self._journal.state
                self._begin(group, frozenset({BRANCH}), partial(self._actions.remove_leftovers, state))
                while self._busy:
                    await self._wait_for_news(stop)
                while True:
                    # Read before every decision: a `cancel` or an answer of another process must be in the
                    # state that is decided from.
                    await self._journal.refresh()
                    state = self._journal.state
                    self._answers = _count_answers(state)
                    if state.cancel_requested:
                        # The listener may notice the request later, and an attempt would begin before.
                        stop.stop(CANCELLED)
                        await self._wait_for_news(stop)
                    if (early := self._end_before_work(state)) is not None:
                        return _End(early, None)
                    match decide(state, self._work, self._busy):
                        case Steps(actions=actions):
                            for action in actions:
                                work = partial(self._actions.carry_out, action, state)
                                self._begin(group, lanes_of(action), work)
                        case EndRun() as end:
                            waited_for = None if end.to_wait is None else _to_fact(end.to_wait)
                            return _End(_to_fact(end), None, waited_for)
                        case Wait():
                            pass
                    await self._wait_for_news(stop)
        except ExceptionGroup as failed:
            # A request to stop also counts when it came while an error was being cleaned up after.
            stopped = [Stopped(stop.reason)] if stop.reason is not None else []
            ends = [_End(self._end_after(error), error) for error in (*failed.exceptions, *stopped)]
            # Several actions can fail at once: the worst end counts, not the one that came first.
            return min(ends, key=lambda end: rank(end.fact.exit_code))

    def _end_before_work(self, state: RunState) -> RunEnded | None:
        """The end of a run whose work must not begin yet; None: it may begin.

        An agent that an earlier owner left is recorded first. What is known of the provider's limits counts
        before the first container, or at the time of `--at`; after a wait for it, the provider is asked.
        """
        if any(isinstance(phase(state, task), Working) for task in state.tasks.values()):
            return None
        if self._at is not None:
            is_ready = state.base_checked and not state.start.only_base
            return run_ended_fact("parked", SCHEDULED, utc_text(self._at), "scheduled") if is_ready else None
        find, self._find_known_limit = self._find_known_limit, None
        return None if find is None else find()

    def _plan_wait(self, end: _End) -> WaitPlan | None:
        """How to wait before the run continues; None: it ends."""
        times = self._timetable
        is_scheduled = end.to_wait.cause == "scheduled" and self._at is not None
        is_asked = end.to_wait.cause == "question" and not self._is_left_open()
        if not times.waits and not is_scheduled and not is_asked:
            return None
        return plan_wait(
            end.to_wait,
            self._waits,
            now=times.clock.now(),
            successes=count_successes(self._journal.state),
            jitter=times.jitter(),
        )

    async def _wait_and_continue(self, end: _End, plan: WaitPlan, stop: StopSignals) -> _End:
        """Wait with all locks and without a container, then carry the run out until it ends again."""
        self._waits = plan.waits
        until = None if plan.until is None else utc_text(plan.until)
        cause = end.to_wait.cause
        assert cause is not None
        try:
            with convert_storage_errors():
                async with AsyncExitStack() as stack:
                    sleep = await self._keep_awake(plan.continues, stack)
                    waiting = RunWaiting(cause=cause, reason=end.to_wait.reason, until=until, sleep=sleep)
                    with suppress(StorageError):  # a full disk is waited for, too
                        await self._journal.append(waiting)
                    await self._wait(plan.continues, stop)
                if cause == "question" and _count_answers(self._journal.state) == self._answers:
                    return end
                if cause == "scheduled":
                    self._at = None
                    # Hours may have passed since the checks at the start, and what they found may not hold
                    # any more.
                    await self._timetable.check_again()
                await self._journal.append(WaitEnded())
        except (Stopped, OrchestratorError) as error:
            return _End(self._end_after(error), error)
        self._busy = frozenset()
        return await self._run_until_ended(stop)

    async def _wait(self, until: datetime | None, stop: StopSignals) -> None:
        """Wait until this moment, or until a question has an answer or is left open. Raises Stopped."""
        if until is None:
            while _count_answers(self._journal.state) == self._answers:
                if not self._timetable.waits and self._is_left_open():
                    return
                await self._wait_for_news(stop)
            return
        reached = asyncio.ensure_future(self._timetable.reach(until))
        try:
            while not reached.done():
                news = asyncio.ensure_future(self._news.wait())
                await asyncio.wait({reached, news}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if self._news.is_set():
                    await self._wait_for_news(stop)
        finally:
            reached.cancel()

    async def _keep_awake(self, until: datetime | None, stack: AsyncExitStack) -> Sleep:
        """Keep the machine awake until the stack is left, if the moment is known and near enough."""
        times = self._timetable
        if until is None or (until - times.clock.now()).total_seconds() > AWAKE_SECONDS:
            return "far_away"
        return await stack.enter_async_context(times.keep_awake())

    def _is_left_open(self) -> bool:
        """Whether no user at the terminal is going to answer."""
        left_open = self._timetable.left_open
        return left_open is None or left_open.is_set()

    async def _notice_open_question(self) -> None:
        """Decide again when the user has left a question open."""
        if self._timetable.left_open is not None:
            await self._timetable.left_open.wait()
            self._news.set()

    async def _stop_in_time(self, stop: StopSignals) -> None:
        """Stop the run in order when its time has ended."""
        if self._timetable.until is not None:
            await self._timetable.reach(self._timetable.until)
            # Before the stop: attempts that it ends must count as parked, so that they cost the task nothing.
            self._actions.park_attempts()
            stop.stop(UNTIL)

    def _begin(
        self,
        group: asyncio.TaskGroup,
        lanes: frozenset[Lane],
        work: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        async def in_lanes() -> None:
            with convert_storage_errors():
                await work()

        # A callback runs also if the action fails or is cancelled. A lane that stayed busy would stop its
        # task forever.
        def free(_done: object) -> None:
            self._busy -= lanes
            self._news.set()

        self._busy |= lanes
        group.create_task(in_lanes()).add_done_callback(free)

    async def _listen(self, stop: StopSignals) -> None:
        """Watch for facts of other processes: stop on a request to cancel, wake the loop for the others."""
        while not self._journal.state.cancel_requested:
            await self._journal.wait_for_change()
            self._news.set()
        stop.stop(CANCELLED)

    async def _wait_for_news(self, stop: StopSignals) -> None:
        """Raises Stopped."""
        await self._news.wait()
        self._news.clear()
        if stop.reason is not None:
            state = self._journal.state
            if any(isinstance(phase(state, task), Working) for task in state.tasks.values()):
                # The agent is asked to stop, and its container is stopped: each waits PATIENCE_SECONDS.
                seconds = f"{2 * PATIENCE_SECONDS:g} s"
                await self._journal.append(
                    Notice(
                        text=f"{stop.reason}: the agent has up to {seconds} to shut down; "
                        "another ^C or SIGTERM kills it"
                    )
                )
            raise Stopped(stop.reason)

    async def _announce_working_agents(self) -> None:
        """Append a notice for each attempt without a recorded end: its agent may still be at work."""
        state = self._journal.state
        resume, cancel = f"orchestrator resume {state.run}", f"orchestrator cancel {state.run}"
        next_steps = f"to record its work: {resume}; to stop it: {cancel}"
        with suppress(StorageError):  # the end of the run is more important
            for found in (phase(state, task) for task in state.tasks.values()):
                if isinstance(found, Working):
                    where = found.attempt.start.container
                    text = f"the agent may still be at work in the container {where}; {next_steps}"
                    await self._journal.append(Notice(text=text))

    def _end_after(self, error: Exception) -> RunEnded:
        match error:
            case Stopped(reason=reason) if reason == UNTIL:
                return run_ended_fact("parked", reason, cause="until")
            case Stopped(reason=reason):
                return run_ended_fact("cancelled" if reason == CANCELLED else "interrupted", reason)
            case SetupFailed() if not self._journal.state.branch_ready:
                return RunEnded(status="failed", exit_code=NOT_BEGUN, reason=str(error))
            case OrchestratorError():
                return run_ended_fact("parked", str(error), cause=_cause_of(error))
            case _:
                bug = f"a bug in the orchestrator: {type(error).__name__}"
                return RunEnded(status="interrupted", exit_code=BUG, reason=bug)


def _to_fact(end: EndRun) -> RunEnded:
    return run_ended_fact(end.status, end.reason, end.until, end.cause)


def _count_answers(state: RunState) -> int:
    return len(state.questions) - len(state.open_questions)


def _cause_of(error: OrchestratorError) -> RunCause | None:
    """The cause of an end by an error while the run was carried out."""
    match error:
        case StorageError(fault=fault):
            return fault
        # Of these, a run that is carried out meets only the missing image: the engine has answered before.
        case CannotStart():
            return "image_missing"
        case CodingAgentError():
            return "engine_away"
        case _:
            return None


def _prefer_cancellation(fact: RunEnded, state: RunState) -> RunEnded:
    """The end to store after this state: a request to cancel also counts when it came with the last facts.

    A run that was forgotten stays failed, because it cannot be resumed.
    """
    cancelled = run_ended_fact("cancelled", CANCELLED)
    outranks = rank(cancelled.exit_code) < rank(fact.exit_code) and fact.exit_code != NOT_BEGUN
    return cancelled if state.cancel_requested and outranks else fact
