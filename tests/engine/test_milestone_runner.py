"""The runner's loop: signals, requests to cancel, errors and bugs end a run in order during every action."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from run_histories import Entry
from runner_kit import Attempt, FakeRun

from orchestrator.clock import SystemClock
from orchestrator.engine.timetable import Timetable
from orchestrator.errors import CannotStart, CodingAgentError, SetupFailed, StorageError, WorkspaceError
from orchestrator.run.facts import CancelRequested, RunEnded
from orchestrator.run.state import RunState
from orchestrator.supervision.decide import Work, WorkItem

ITEM = WorkItem(id="1", depends_on=(), checks=(), change="optional")
ONE = Work(items=(ITEM,), end_to_end=(), attempts=1)
TWO = replace(ONE, items=(ITEM, replace(ITEM, id="2")), workers=2)


async def forever(run: FakeRun, task: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(3):
            await asyncio.sleep(0)
        run.log.append(f"{task} cleaned up")


def failing(error: Exception, *, with_others: int = 1) -> Attempt:
    async def attempt(run: FakeRun, task: str) -> None:
        await until(run, at_work=with_others)
        raise error

    return attempt


def failing_when_stopped(error: Exception) -> Attempt:
    async def attempt(run: FakeRun, task: str) -> None:
        try:
            await forever(run, task)
        except asyncio.CancelledError:
            raise error from None

    return attempt


async def until(run: FakeRun, *, at_work: int) -> None:
    while run.at_work < at_work:
        await asyncio.sleep(0)


async def kill_at_work(run: FakeRun, number: signal.Signals, *, at_work: int = 1) -> None:
    await until(run, at_work=at_work)
    os.kill(os.getpid(), number)


def summary(end: RunEnded) -> tuple[str, int]:
    return end.status, end.exit_code


async def test_two_attempts_run_at_the_same_time() -> None:
    async def both(run: FakeRun, task: str) -> None:
        await asyncio.wait_for(until(run, at_work=2), 10)

    run = FakeRun(TWO, of_1=both, of_2=both)
    assert summary(await run.to_its_end()) == ("completed", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
async def test_a_signal_interrupts_everything_in_order(number: signal.Signals) -> None:
    run = FakeRun(TWO, of_1=forever, of_2=forever)
    killing = asyncio.create_task(kill_at_work(run, number, at_work=2))
    end = await run.to_its_end()
    await killing
    assert (*summary(end), end.reason) == ("interrupted", 130, f"stopped by {number.name}")
    notice = (
        f"stopped by {number.name}: the agent has up to 20 s to shut down; another ^C or SIGTERM kills it"
    )
    assert run.log[:2] == ["leftovers removed", notice]
    assert sorted(run.log[2:4]) == ["1 cleaned up", "2 cleaned up"]
    assert run.log[4:] == ["run interrupted"]


@pytest.mark.parametrize("shuts_down", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
async def test_a_run_notes_that_the_shutdown_of_its_machine_stopped_it(
    number: signal.Signals, shuts_down: bool
) -> None:
    async def ask() -> bool:
        return shuts_down

    run = FakeRun(ONE, of_1=forever)
    killing = asyncio.create_task(kill_at_work(run, number))
    end = await run.to_its_end(Timetable(clock=SystemClock(), is_shutting_down=ask))
    await killing
    assert end.status == "interrupted"
    assert end.by_shutdown == (shuts_down and number is not signal.SIGINT)


async def test_a_second_signal_while_cleaning_up_changes_nothing() -> None:
    async def stubborn(run: FakeRun, task: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(5):
                await asyncio.sleep(0)
            run.log.append("cleaned up")

    run = FakeRun(ONE, of_1=stubborn)
    killing = asyncio.create_task(kill_at_work(run, signal.SIGINT))
    end = await run.to_its_end()
    await killing
    assert end.reason == "stopped by SIGINT"
    assert run.log[-2:] == ["cleaned up", "run interrupted"]


async def test_a_request_to_cancel_stops_like_a_signal() -> None:
    run = FakeRun(ONE, of_1=forever)
    running = asyncio.create_task(run.to_its_end())
    await until(run, at_work=1)
    run.store_from_outside(Entry(CancelRequested()))
    assert summary(await running) == ("cancelled", 130)
    assert run.log[-2:] == ["1 cleaned up", "run cancelled"]


class NoticedByRefresh(FakeRun):
    """Another process asks to cancel as soon as a task has reached a point; the listener notices nothing."""

    def __init__(self, work: Work, *, when: Callable[[RunState], bool]) -> None:
        super().__init__(work)
        self._when = when

    async def refresh(self) -> None:
        if self._when(self.state) and not self.state.cancel_requested:
            self.store(Entry(CancelRequested()))


@pytest.mark.parametrize("task", ["1", "2"])
async def test_a_request_that_a_refresh_folds_counts_before_the_next_action_and_the_end(task: str) -> None:
    work = replace(TWO, items=(ITEM, replace(ITEM, id="2", depends_on=("1",))))
    run = NoticedByRefresh(work, when=lambda state: state.tasks[task].finished is not None)
    assert summary(await run.to_its_end()) == ("cancelled", 130)
    assert run.at_work == int(task)


async def test_a_request_that_is_stored_just_before_the_end_counts() -> None:
    class AtTheEnd(FakeRun):
        async def append(self, body: object, **names: object) -> None:
            self.store(Entry(CancelRequested()))
            await super().append(body, **names)  # type: ignore[arg-type]

    assert summary(await AtTheEnd(ONE).to_its_end()) == ("cancelled", 130)
    parked = AtTheEnd(ONE, of_1=failing(CodingAgentError("no engine")))
    assert summary(await parked.to_its_end()) == ("cancelled", 130)
    forgotten = AtTheEnd(ONE, base=SetupFailed("no such package"))
    assert summary(await forgotten.to_its_end()) == ("failed", 2)


async def test_a_journal_that_cannot_be_followed_stops_nothing() -> None:
    class Deaf(FakeRun):
        async def wait_for_change(self) -> None:
            raise OSError("disk I/O error")

    assert summary(await Deaf(ONE).to_its_end()) == ("completed", 0)


async def test_a_cancelling_caller_gets_cancelled_error_after_the_end_is_stored() -> None:
    run = FakeRun(ONE, of_1=forever)
    running = asyncio.create_task(run.to_its_end())
    await until(run, at_work=1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert run.log[-2:] == ["1 cleaned up", "run interrupted"]
    assert run.state.end is not None and run.state.end.reason == "stopped by its caller"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (CodingAgentError("no engine"), "engine_away"),
        (CannotStart("no image"), "image_missing"),
        (StorageError("read-only"), None),
        (OSError(28, "No space left"), "disk_full"),
        (WorkspaceError("the branch moved"), None),
    ],
)
async def test_an_error_parks_the_run_once_the_others_have_cleaned_up(
    error: Exception, cause: str | None
) -> None:
    run = FakeRun(TWO, of_1=failing(error, with_others=2), of_2=forever)
    end = await run.to_its_end()
    assert (*summary(end), end.cause) == ("parked", 4, cause)
    where = "the agent may still be at work in the container ktrdr-coding-agent-trial-1"
    notices = [line for line in run.log if line.startswith(where)]
    assert [line.startswith(f"{where}-{task}-1;") for task, line in zip("12", notices, strict=True)] == [
        True
    ] * 2
    assert run.log[-4:] == ["2 cleaned up", *notices, "run parked"]


async def test_a_bug_interrupts_the_run_and_is_raised() -> None:
    run = FakeRun(TWO, of_1=failing(LookupError("mine"), with_others=2), of_2=forever)
    with pytest.raises(LookupError, match="mine"):
        await run.to_its_end()
    assert run.state.end is not None and summary(run.state.end) == ("interrupted", 70)
    assert run.state.end.reason == "a bug in the orchestrator: LookupError"
    assert run.log[-2:] == ["2 cleaned up", "run interrupted"]


async def test_of_several_errors_the_worst_counts() -> None:
    parks, bug = CodingAgentError("no engine"), LookupError("mine")
    run = FakeRun(TWO, of_1=failing(parks, with_others=2), of_2=failing_when_stopped(bug))
    with pytest.raises(LookupError):
        await run.to_its_end()


async def test_of_equally_bad_errors_the_first_counts() -> None:
    first, second = CodingAgentError("no engine"), StorageError("disk full")
    run = FakeRun(TWO, of_1=failing(first, with_others=2), of_2=failing_when_stopped(second))
    assert (await run.to_its_end()).reason == str(first)


async def test_a_signal_counts_more_than_what_fails_while_cleaning_up() -> None:
    run = FakeRun(ONE, of_1=failing_when_stopped(CodingAgentError("no engine")))
    killing = asyncio.create_task(kill_at_work(run, signal.SIGINT))
    assert summary(await run.to_its_end()) == ("interrupted", 130)
    await killing


async def test_a_run_that_cannot_be_set_up_leaves_no_trace() -> None:
    run = FakeRun(ONE, base=SetupFailed("no such package"))
    assert summary(await run.to_its_end()) == ("failed", 2)
    assert run.log[-2:] == ["run forgotten", "run failed"]


async def test_the_end_is_stored_when_the_run_cannot_be_forgotten() -> None:
    class Unforgettable(FakeRun):
        async def forget_run(self) -> None:
            raise WorkspaceError("git refused")

    run = Unforgettable(ONE, base=SetupFailed("no such package"))
    with pytest.raises(WorkspaceError, match="git refused"):
        await run.to_its_end()
    assert run.state.end is not None and summary(run.state.end) == ("failed", 2)


async def test_a_signal_while_the_run_is_forgotten_or_its_end_stored_changes_nothing() -> None:
    class Signalled(FakeRun):
        async def forget_run(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            await super().forget_run()

        async def append(self, body: object, **names: object) -> None:
            os.kill(os.getpid(), signal.SIGHUP)
            await super().append(body, **names)  # type: ignore[arg-type]

    run = Signalled(ONE, base=SetupFailed("no such package"))
    assert summary(await run.to_its_end()) == ("failed", 2)
    assert run.log[-2:] == ["run forgotten", "run failed"]


async def test_a_caller_that_cancels_while_the_run_is_forgotten_gets_cancelled_error_after_the_end() -> None:
    class Slow(FakeRun):
        async def forget_run(self) -> None:
            running.cancel()
            await asyncio.sleep(0.01)
            await super().forget_run()

    run = Slow(ONE, base=SetupFailed("no such package"))
    running = asyncio.create_task(run.to_its_end())
    with pytest.raises(asyncio.CancelledError):
        await running
    assert run.log[-2:] == ["run forgotten", "run failed"]


async def test_a_setup_that_fails_after_the_first_commit_parks_the_run() -> None:
    run = FakeRun(ONE, of_1=failing(SetupFailed("no such package")))
    assert summary(await run.to_its_end()) == ("parked", 4)
    assert "run forgotten" not in run.log
