"""Marks that say "done": the user's count, those of an attempt do not; and groups are not carried out."""

from collections.abc import Callable

import pytest

from orchestrator.errors import UsageError
from orchestrator.run.facts import Notice
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import ScriptedAgent, exits, reports, works, writes
from orchestrator.testing.project import PLAN, TemporaryProject, plan_of

MakeProject = Callable[..., TemporaryProject]
TWO = plan_of(("1", "2"))


def mark(plan: str, task: str) -> str:
    """The plan with a mark in the heading of the task."""
    lines = [f"{line} ✅" if line.startswith(f"## Task {task}:") else line for line in plan.split("\n")]
    assert any(line.endswith("✅") for line in lines)
    return "\n".join(lines)


def statuses(report: RunReport) -> dict[str, str]:
    ends = {id: task.finished for id, task in report.state.tasks.items()}
    return {id: "pending" if end is None else end.status for id, end in ends.items()}


def notices(project: TemporaryProject, report: RunReport) -> list[str]:
    return [fact.body.text for fact in project.facts(report.run) if isinstance(fact.body, Notice)]


@pytest.fixture
def cancelled(make_project: MakeProject) -> TemporaryProject:
    """A cancelled run whose first task landed with a mark at the second task, which failed."""
    agent = ScriptedAgent(
        {
            ("1", 1): (writes(PLAN, mark(TWO, "2")), *works("1"), exits(0)),
            **{("2", number): (reports("failed"), exits(1)) for number in range(1, 7)},
        }
    )
    project = make_project(tasks=("1", "2"), agent=agent)
    assert statuses(project.run()) == {"1": "completed", "2": "failed"}
    project.cancel()
    return project


def test_a_mark_of_an_attempt_does_not_count(cancelled: TemporaryProject) -> None:
    report = cancelled.run()
    assert (statuses(report), report.status) == ({"1": "imported", "2": "failed"}, "failed")
    assert any(
        "task 2 is marked as done" in text and "--keep 2" in text for text in notices(cancelled, report)
    )


def test_a_mark_of_an_attempt_counts_when_the_user_says_so(cancelled: TemporaryProject) -> None:
    report = cancelled.run(keep=("2",))
    assert (statuses(report), report.status) == ({"1": "imported", "2": "imported"}, "completed")
    with pytest.raises(UsageError, match="there is no task 9"):
        cancelled.run(keep=("9",))


def test_a_mark_of_an_attempt_counts_when_the_user_has_committed_the_plan(
    cancelled: TemporaryProject,
) -> None:
    file = cancelled.folder / PLAN
    file.write_text(file.read_text() + "\nReviewed.\n")
    cancelled.git("commit", "-q", "-am", "reviewed")
    assert statuses(cancelled.run()) == {"1": "imported", "2": "imported"}


def test_a_mark_of_the_user_counts_and_is_announced(make_project: MakeProject) -> None:
    project = make_project(tasks=("1", "2"), plan=mark(TWO, "1"))
    report = project.run()
    assert statuses(report) == {"1": "imported", "2": "completed"}
    assert any(
        text.startswith("1 of 2 tasks count as done in plan.md") and text.endswith(": 1")
        for text in notices(project, report)
    )


def test_what_the_plan_leaves_out_is_announced(make_project: MakeProject) -> None:
    plan = TWO.replace("## Task 2:", "## ~~Task 2~~:").replace("Task 2~~:", "Task 2~~")
    project = make_project(tasks=("1", "2"), plan=plan)
    report = project.run()
    assert statuses(report) == {"1": "completed"}
    assert any(text.startswith("task 2 is left out: it is struck out") for text in notices(project, report))


GROUPS = (
    "# Plan\n\n**Branch:** `work`\n\n- [ ] 1. Both\n  - [ ] 1.1 First\n  - [ ] 1.2 Second\n- [ ] 2. Last\n"
)


def test_a_group_is_not_carried_out(make_project: MakeProject) -> None:
    project = make_project(tasks=("1.1", "1.2", "2"), plan=GROUPS)
    report = project.run()
    assert statuses(report) == {"1.1": "completed", "1.2": "completed", "2": "completed"}
    assert project.run().run == report.run


def test_a_group_stands_for_its_parts(make_project: MakeProject) -> None:
    project = make_project(tasks=("1.1", "1.2", "2"), plan=GROUPS)
    report = project.run(only=("1",))
    assert statuses(report) == {"1.1": "completed", "1.2": "completed", "2": "skipped"}
