"""Runs that a service resumes after a reboot: those that only the machine has stopped."""

import pytest
from msgspec.structs import replace
from run_histories import (
    READY,
    Entry,
    asked,
    attempt,
    begun,
    ended,
    finished,
    resumed,
    run_ended,
    state_after,
)

from orchestrator.run.facts import CancelRequested, RunCause, RunEnded, RunStatus, RunWaiting, WaitEnded
from orchestrator.run.state import RunState
from orchestrator.supervision.after_reboot import choose_runs_to_resume, find_scheduled_start, should_resume

AT_WORK = (*READY, attempt())


def waits(cause: RunCause, until: str | None = None) -> Entry:
    return Entry(RunWaiting(cause=cause, reason="because", until=until))


def end(status: RunStatus, cause: RunCause | None = None, *, by_shutdown: bool = False) -> Entry:
    return Entry(RunEnded(status=status, exit_code=1, cause=cause, by_shutdown=by_shutdown))


RESUMED = {
    "its owner disappeared at work": AT_WORK,
    "its owner disappeared before the first attempt": (begun(),),
    "its owner disappeared in a wait": (*AT_WORK, ended("parked"), waits("usage_limit")),
    "its owner disappeared before the time of --at": (begun(), waits("scheduled", "2025-01-01T23:00:00Z")),
    "with a question, at work on other tasks": (*AT_WORK, ended("needs_human"), asked()),
    "it waited for an answer, and continued": (*AT_WORK, asked(), waits("question"), Entry(WaitEnded())),
    "the shutdown stopped its work": (*AT_WORK, end("interrupted", by_shutdown=True)),
    "the shutdown ended its wait": (*AT_WORK, waits("rate_limit"), end("interrupted", by_shutdown=True)),
    "it was stopped, and resumed later": (*AT_WORK, run_ended("interrupted", 130), resumed()),
}
LEFT_ALONE = {
    "failed": (*AT_WORK, end("failed", "task_failed")),
    "completed": (*AT_WORK, finished(), end("completed")),
    "cancelled": (*AT_WORK, end("cancelled")),
    "a request to cancel it came last": (*AT_WORK, Entry(CancelRequested())),
    "it asks": (*AT_WORK, asked(), end("waiting", "question")),
    "it waited for an answer": (*AT_WORK, asked(), waits("question")),
    "the shutdown ended its wait for an answer": (
        *(*AT_WORK, asked(), waits("question"), end("interrupted", by_shutdown=True)),
    ),
    "stopped by the user": (*AT_WORK, end("interrupted")),
    "its wait was ended by the user": (*AT_WORK, waits("usage_limit"), end("interrupted")),
    "stopped by --until": (*AT_WORK, end("parked", "until")),
    "parked without --wait": (*AT_WORK, end("parked", "usage_limit")),
    "a bug ended it": (*AT_WORK, end("interrupted")),
    "only a base run": (Entry(replace(begun().body, only_base=True)),),
    "refused": (begun(), Entry(RunEnded(status="failed", exit_code=2))),
}


@pytest.mark.parametrize("history", RESUMED.values(), ids=RESUMED)
def test_a_run_that_only_its_machine_has_stopped_is_resumed(history: tuple[Entry, ...]) -> None:
    assert should_resume(state_after(*history))


@pytest.mark.parametrize("history", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_any_other_run_is_left_alone(history: tuple[Entry, ...]) -> None:
    assert not should_resume(state_after(*history))


def record(run: str, *history: Entry, folder: str = "/code", plan: str = "plan.md") -> RunState:
    state = state_after(*history)
    return replace(state, run=run, start=replace(state.start, folder=folder, plan=plan))


def test_a_folder_has_place_for_one_run_the_newest_of_its_plan() -> None:
    newest_first = [
        record("base", Entry(replace(begun().body, only_base=True))),
        record("b2", *AT_WORK, plan="b.md"),
        record("a3", *AT_WORK, folder="/other"),
        record("a2", *AT_WORK, end("failed")),
        record("a1", *AT_WORK),
        record("c1", *AT_WORK, plan="c.md"),
        record("d1", *AT_WORK, folder="/third"),
    ]
    assert [state.run for state in choose_runs_to_resume(newest_first)] == ["b2", "a3", "d1"]


def test_the_time_of_at_is_kept() -> None:
    until = "2025-01-01T23:00:00.000Z"
    assert find_scheduled_start(state_after(begun(), waits("scheduled", until))) == until
    assert find_scheduled_start(state_after(begun(), waits("usage_limit", until))) is None
    assert find_scheduled_start(state_after(*AT_WORK)) is None
