"""A MilestoneRunner without a project: a journal in memory, and actions that do what a test says."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from msgspec.structs import replace as changed
from run_histories import (
    BASE_CHECKED,
    ON_BRANCH,
    Entry,
    asked,
    attempt,
    begun,
    compared,
    ended,
    finished,
    numbered,
    state_after,
    task_started,
)

from orchestrator.engine.milestone_runner import MilestoneRunner
from orchestrator.engine.timetable import Timetable
from orchestrator.run.facts import (
    Body,
    Fact,
    Notice,
    RunCause,
    RunEnded,
    RunWaiting,
    SetAsideStarted,
    TreeSetAside,
)
from orchestrator.run.state import RunState, advance
from orchestrator.supervision.decide import (
    Action,
    AskUser,
    CheckBase,
    CompareFolder,
    MakeBranch,
    SetAside,
    StartAttempt,
    StartTask,
    Work,
)
from orchestrator.testing.clock import FakeClock


class FakeRun:
    """A journal, and actions: the attempts do what the test says, and everything else succeeds at once.

    An attempt without a script of its own finishes its task. `of_1` is the script of each attempt of task 1.
    """

    def __init__(self, work: Work, *, base: Exception | None = None, **attempts: "Attempt") -> None:
        self.work = work
        self.state: RunState = state_after(begun(*(item.id for item in work.items)))
        self.facts: list[Fact] = []
        self.log: list[str] = []
        self.at_work = 0
        self.times_parked = False
        """Whether the runner has asked to park what is at work, because the time of the run has ended."""
        self.base = base
        self.attempts = attempts
        self._news = asyncio.Event()
        self.waits = asyncio.Event()
        """Set once the run has begun to wait."""

    async def to_its_end(self, timetable: Timetable | None = None) -> RunEnded:
        runner = MilestoneRunner(self, self.work, self, timetable)  # type: ignore[arg-type]
        state = await runner.carry_out()
        assert state.end is not None
        return state.end

    def kinds(self, *kinds: type[Any]) -> list[Any]:
        """The bodies of these kinds."""
        return [fact.body for fact in self.facts if isinstance(fact.body, kinds)]

    async def append(
        self,
        body: Body | Callable[[RunState, int], Body],
        *,
        task: str | None = None,
        attempt: int | None = None,
    ) -> None:
        await asyncio.sleep(0)
        built = body(self.state, self.state.last_n + 1) if callable(body) else body
        self.store(Entry(built, task, attempt))

    def store(self, *entries: Entry) -> None:
        for fact in numbered(entries, first=self.state.last_n + 1):
            self.state = advance(self.state, fact)
            self.facts.append(fact)
            match fact.body:
                case Notice(text=text):
                    self.log.append(text)
                case RunEnded(status=status):
                    self.log.append(f"run {status}")
                case RunWaiting():
                    self.waits.set()

    def store_from_outside(self, entry: Entry) -> None:
        self.store(entry)
        self._news.set()

    async def refresh(self) -> None:
        pass

    async def wait_for_change(self) -> None:
        await self._news.wait()
        self._news.clear()

    async def remove_leftovers(self, state: RunState) -> None:
        self.log.append("leftovers removed")

    def park_attempts(self) -> None:
        self.times_parked = True

    def stop_waiting(self) -> None:
        self.log.append("hurry")

    async def forget_run(self) -> None:
        self.log.append("run forgotten")

    async def carry_out(self, action: Action, state: RunState) -> None:
        await asyncio.sleep(0)
        match action:
            case CheckBase() if self.base is not None:
                raise self.base
            case CheckBase():
                self.store(BASE_CHECKED)
            case MakeBranch():
                self.store(ON_BRANCH)
            case StartTask(task=task):
                self.store(task_started(task))
            case CompareFolder(task=task, attempt=last):
                self.store(compared(last.number, task))
            case AskUser(task=task, attempt=last):
                self.store(asked(last.number, task, question=f"q{len(state.questions) + 1}"))
            case SetAside(task=task, attempt=last):
                started = SetAsideStarted(commit="saved", parent="base0", ref="refs/ktrdr/aside/1")
                bodies: tuple[Body, ...] = (started, TreeSetAside())
                self.store(*(Entry(body, task, last.number) for body in bodies))
            case StartAttempt(task=task, number=number):
                self.store(attempt(number, task))
                self.at_work += 1
                await self.attempts.get(f"of_{task}", at_once)(self, task)
                if self.state.tasks[task].attempts[-1].end is None:
                    self.store(ended("completed", number, task), finished("completed", number, task))
            case _:
                raise AssertionError(action)


Attempt = Callable[[FakeRun, str], Awaitable[None]]


async def at_once(run: FakeRun, task: str) -> None:
    pass


def one_after_another(*scripts: Attempt) -> Attempt:
    """The first attempt follows the first script, and so on; further ones finish the task."""
    left = list(scripts)

    async def script(run: FakeRun, task: str) -> None:
        await (left.pop(0) if left else at_once)(run, task)

    return script


def parks(cause: RunCause, until: datetime | None = None, *, tool_calls: int = 0) -> Attempt:
    """An attempt that a limit ends."""

    async def script(run: FakeRun, task: str) -> None:
        number = run.state.tasks[task].attempts[-1].number
        entry = ended("parked", number, task, reason=f"the provider says {cause}")
        when = None if until is None else until.isoformat()
        body = changed(entry.body, cause=cause, until=when, tool_calls=tool_calls)
        run.store(entry._replace(body=body))

    return script


def asks() -> Attempt:
    """An attempt whose agent has a question."""

    async def script(run: FakeRun, task: str) -> None:
        run.store(ended("needs_human", run.state.tasks[task].attempts[-1].number, task))

    return script


def fake_times(clock: FakeClock, *, jitter: float = 0.0, waits: bool = True, **more: Any) -> Timetable:
    """A timetable that waits, on this clock."""
    return replace(Timetable(clock=clock, waits=waits, jitter=lambda: jitter), **more)
