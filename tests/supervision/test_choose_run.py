"""The choice of the run that a command means, by earlier runs, the plan, and the branch."""

from typing import Any

import pytest
from msgspec.structs import replace
from plan_makers import plan, task
from run_histories import OPTIONS, Entry, begun, finished, numbered, run_ended

from orchestrator.errors import UsageError
from orchestrator.plan.model import Plan
from orchestrator.run.facts import RunStarted
from orchestrator.run.state import RunState, fold
from orchestrator.supervision.choose_run import (
    DoneAlready,
    NewRun,
    ResumeRun,
    Selection,
    choose_run,
    earlier_commit,
    is_unfinished,
)

ALL = Selection()

PLAN = plan()


def record(*entries: Entry, run: str = "trial-1", only: tuple[str, ...] = ()) -> RunState:
    start = begun("1", "2", "3")
    assert isinstance(start.body, RunStarted)
    start = Entry(replace(start.body, options=replace(OPTIONS, only=only)))
    return fold([replace(fact, run=run) for fact in numbered((start, *entries))])


DONE = tuple(finished(task=task) for task in "123")
COMMITS = frozenset(f"candidate{task}.1" for task in "123")
COMPLETED = record(*DONE, run_ended("completed", 0))
FAILED = record(finished(task="1"), finished("failed", task="2"), run_ended("failed"))
CANCELLED = record(finished(task="1"), run_ended("cancelled", 130))
INTERRUPTED = record(finished(task="1"))
LEFT_OUT = record(*DONE[:2], finished("skipped", None, "3"), run_ended("completed", 0))

UNFINISHED = {
    "running or killed": (INTERRUPTED, True),
    "failed": (FAILED, True),
    "waiting": (record(run_ended("waiting", 3)), True),
    "parked": (record(run_ended("parked", 4)), True),
    "stopped": (record(run_ended("interrupted", 130)), True),
    "completed": (COMPLETED, False),
    "cancelled": (CANCELLED, False),
}


@pytest.mark.parametrize(("state", "expected"), UNFINISHED.values(), ids=UNFINISHED)
def test_which_runs_can_be_resumed(state: RunState, expected: bool) -> None:
    assert is_unfinished(state) == expected


def new(*selected: str, imported: dict[str, str | None] | None = None, **more: Any) -> NewRun:
    return NewRun(selected=selected, imported=imported or {}, skipped=more.pop("skipped", ()), **more)


CHOICES = {
    "never run": ([], PLAN, ALL, new("1", "2", "3")),
    "unfinished": ([FAILED], PLAN, ALL, ResumeRun(state=FAILED)),
    "killed": ([INTERRUPTED], PLAN, ALL, ResumeRun(state=INTERRUPTED)),
    "completed": ([COMPLETED], PLAN, ALL, DoneAlready(state=COMPLETED)),
    "over again": ([COMPLETED], PLAN, Selection(from_scratch=True), new("1", "2", "3")),
    "unfinished, over again": (
        [FAILED],
        PLAN,
        Selection(from_scratch=True),
        new("1", "2", "3", replaces=FAILED),
    ),
    "cancelled": ([CANCELLED], PLAN, ALL, new("2", "3", imported={"1": "candidate1.1"})),
    "cancelled after a completed one": (
        [CANCELLED, COMPLETED],
        PLAN,
        ALL,
        new(imported={"1": "candidate1.1", "2": "candidate2.1", "3": "candidate3.1"}),
    ),
    "something was left out": (
        [LEFT_OUT],
        PLAN,
        ALL,
        new("3", imported={"1": "candidate1.1", "2": "candidate2.1"}),
    ),
    "a task is edited": (
        [COMPLETED],
        plan(task("1"), task("2", hash="other"), task("3")),
        ALL,
        new("2", imported={"1": "candidate1.1", "3": "candidate3.1"}),
    ),
    "a task is new": (
        [COMPLETED],
        plan(task("1"), task("2"), task("3"), task("4")),
        ALL,
        new("4", imported={name: f"candidate{name}.1" for name in "123"}),
    ),
    "a task is ticked off in the plan": (
        [],
        plan(task("1", done=True), task("2"), task("3")),
        ALL,
        new("2", "3", imported={"1": None}),
    ),
    "only one": ([], PLAN, Selection(only=("2",)), new("2", skipped=("1", "3"))),
    "only one, which is done": (
        [COMPLETED],
        PLAN,
        Selection(only=("2",)),
        new("2", imported={"1": "candidate1.1", "3": "candidate3.1"}),
    ),
    "from one on": ([], PLAN, Selection(first="2"), new("2", "3", skipped=("1",))),
    "from one on, some of it": (
        [],
        PLAN,
        Selection(first="2", only=("1", "3")),
        new("3", skipped=("1", "2")),
    ),
}


@pytest.mark.parametrize(("records", "of_plan", "selection", "expected"), CHOICES.values(), ids=CHOICES)
def test_what_run_does_about_a_plan(
    records: list[RunState], of_plan: Plan, selection: Selection, expected: object
) -> None:
    assert choose_run(records, of_plan, selection, on_branch=COMMITS) == expected


def test_what_is_not_on_the_branch_any_more_is_not_done() -> None:
    choice = choose_run([COMPLETED], PLAN, ALL, on_branch=COMMITS - {"candidate2.1"})
    assert choice == new("2", imported={"1": "candidate1.1", "3": "candidate3.1"})


def test_the_same_selection_resumes_its_unfinished_run() -> None:
    run = record(run_ended("failed"), only=("2",))
    selection = Selection(only=("2",))
    assert choose_run([run], PLAN, selection, on_branch=frozenset()) == ResumeRun(state=run)


def test_another_selection_than_the_unfinished_runs_is_refused_with_both_ways_out() -> None:
    with pytest.raises(UsageError) as caught:
        choose_run([FAILED], PLAN, Selection(only=("2",)), on_branch=COMMITS)
    assert "trial-1" in caught.value.what
    assert "resume trial-1" in (caught.value.hint or "") and "--new" in (caught.value.hint or "")


NEEDING = plan(task("1"), task("2", depends_on=("1",)), task("3"))


def test_a_dependency_that_is_neither_done_nor_included_is_refused() -> None:
    with pytest.raises(UsageError, match="task 2 depends on task 1"):
        choose_run([], NEEDING, Selection(only=("2",)), on_branch=frozenset())


def test_a_dependency_that_an_earlier_run_finished_counts() -> None:
    choice = choose_run([CANCELLED], NEEDING, Selection(only=("2",)), on_branch=COMMITS)
    assert choice == new("2", imported={"1": "candidate1.1"}, skipped=("3",))


def test_dependencies_of_tasks_that_are_left_out_are_not_checked() -> None:
    choice = choose_run([], NEEDING, Selection(only=("3",)), on_branch=frozenset())
    assert choice == new("3", skipped=("1", "2"))


def test_the_newest_commit_of_a_task_on_the_branch_is_found_by_its_text() -> None:
    older = record(finished(number=7, task="1"), run="older")
    newer = record(finished(number=1, task="1"), run="newer")
    both = frozenset({"candidate1.1", "candidate1.7"})
    assert earlier_commit([newer, older], "1", "hash of 1", both) == "candidate1.1"
    assert earlier_commit([newer, older], "1", "hash of 1", both - {"candidate1.1"}) == "candidate1.7"
    assert earlier_commit([newer, older], "1", "another text", both) is None
    assert earlier_commit([newer, older], "1", None, both) == "candidate1.1"
