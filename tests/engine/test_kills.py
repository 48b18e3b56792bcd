"""The owner of a run is killed around each kind of fact: resuming does nothing twice and loses nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from killed_fork import after_fact, before_fact, run_and_kill

from orchestrator.commands.cancel import cancel
from orchestrator.run.facts import Fact
from orchestrator.run.report import RunReport
from orchestrator.testing.project import TemporaryProject

OF_THE_RUN = ("run_started", "names_reserved", "base_run_ended", "branch_ready", "run_ended")
OF_A_TASK = (
    *("base_checked", "task_started", "attempt_started", "container_created", "container_started"),
    *("agent_tool", "attempt_ended", "names_reserved"),
    *("candidate_made", "gate_started", "gate_ended", "landing_started", "task_finished"),
)
CONFIRMING = (
    (None, "branch_ready"),
    *(("2", kind) for kind in ("container_created", "container_started", "attempt_ended")),
    *(("2", kind) for kind in ("candidate_made", "gate_ended", "task_finished")),
)
"""The facts before which something has been done that no fact says yet."""
EVERY_KIND = [
    *((None, kind) for kind in OF_THE_RUN),
    *(("2", kind) for kind in OF_A_TASK),
    # The first task starts on the base, of which everything is known.
    ("2", "corner_checked"),
]
ONCE = frozenset({"task_started", "landing_started", "task_finished"})
"""Of a task. A candidate is made and checked again after a kill, because the user may have edited files."""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[TemporaryProject]:
    with TemporaryProject(tmp_path, tasks=("1", "2")) as project:
        yield project


def test_the_listed_kinds_are_all_kinds_of_a_successful_run(project: TemporaryProject) -> None:
    report = project.run()
    assert {(fact.task, fact.body.kind) for fact in project.facts(report.run)} == {
        *EVERY_KIND,
        *(("1", kind) for kind in OF_A_TASK),
    }


@pytest.mark.parametrize(("task", "kind"), EVERY_KIND, ids=[f"{kind}-{task}" for task, kind in EVERY_KIND])
def test_a_killed_run_is_resumed(project: TemporaryProject, task: str | None, kind: str) -> None:
    assert run_and_kill(project, after_fact(task, kind))
    before = project.facts(the_run(project))
    report = project.run()
    assert report.status == "completed"
    after = project.facts(report.run)
    assert after[: len(before)] == before
    assert [fact.n for fact in after] == list(range(1, len(after) + 1))
    check_nothing_twice(after, begins_again=kind == "attempt_started")
    check_nothing_lost(project, report)


@pytest.mark.parametrize(("task", "kind"), CONFIRMING, ids=[f"{kind}-{task}" for task, kind in CONFIRMING])
def test_a_run_that_is_killed_before_it_can_say_what_it_did_is_resumed(
    project: TemporaryProject, task: str | None, kind: str
) -> None:
    assert run_and_kill(project, before_fact(task, kind))
    report = project.run()
    assert report.status == "completed"
    check_nothing_twice(project.facts(report.run), begins_again=False)
    check_nothing_lost(project, report)


def test_cancelling_a_killed_run_keeps_the_work_of_its_attempt(
    project: TemporaryProject,
) -> None:
    assert run_and_kill(project, after_fact("2", "agent_tool"))
    state = project.do(cancel(project.host, the_run(project)))
    assert state.end is not None and state.end.status == "cancelled"
    assert project.do(project.engine.list({})) == ()
    attempt = state.tasks["2"].attempts[-1]
    assert attempt.end is not None and attempt.saved is not None
    assert (attempt.end.status, attempt.end.reason, attempt.end.exit_code) == (
        "interrupted", "cancelled", None,
    )  # fmt: skip
    assert attempt.end.tool_calls > 0


@pytest.mark.parametrize("kind", ["landing_started", "task_finished"])
def test_the_next_agent_gets_the_handoff_of_a_task_whose_end_was_the_last_fact(
    project: TemporaryProject, kind: str
) -> None:
    settings = ("handoff.commit=false",)
    assert run_and_kill(project, after_fact("1", kind), settings)
    run = project.state / "runs" / the_run(project)
    assert project.run(config=settings).status == "completed"
    assert "<!-- hand-off of task 1 -->" in (run / "attempts/2/1/in/prompt.md").read_text("utf-8")


def the_run(project: TemporaryProject) -> str:
    (run,) = [path.name for path in (project.state / "runs").iterdir()]
    return run


def check_nothing_twice(facts: Sequence[Fact], *, begins_again: bool) -> None:
    times = Counter((fact.task, fact.body.kind) for fact in facts)
    assert {key: number for key, number in times.items() if key[1] in ONCE and number > 1} == {}
    assert times["1", "attempt_started"] == 1
    assert times["2", "attempt_ended"] == times["1", "attempt_ended"] == 1
    assert times["2", "attempt_started"] == 1 + begins_again


def check_nothing_lost(project: TemporaryProject, report: RunReport) -> None:
    subjects = project.git("log", "--reverse", "--format=%s", "main..work").splitlines()
    assert [subject.rpartition(" ")[2] for subject in subjects] == ["task-1.txt", "task-2.txt"]
    for task in ("1", "2"):
        assert project.git("show", f"work:task-{task}.txt") == f"the work of {task}"
    assert project.git("status", "--porcelain") == ""
    assert project.do(project.engine.list({})) == ()
    project.git("fsck", "--strict")
    assert report.state.end is not None
