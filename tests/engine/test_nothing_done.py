"""Whole runs in which agents change nothing, report nothing, or have no check: what still counts as done."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import EnvironmentInvalid, UsageError
from orchestrator.run.facts import AttemptEnded, Notice, TaskAccepted, TaskFinished
from orchestrator.run.report import RunReport, run_json
from orchestrator.testing.agent import ScriptedAgent, Step, exits, reports, says, writes
from orchestrator.testing.processes import Process
from orchestrator.testing.project import TemporaryProject

MakeProject = Callable[..., TemporaryProject]
Attempts = dict[tuple[str, int], tuple[Step, ...]]

UNTYPED = "# Plan\n\n**Branch:** `work`\n\n- [ ] 1. Write the file\n- [ ] 2. Sort the imports\n"
GUARDED = "[verify]\ntask = ['make test']\n"
GREEN = {"make test": lambda process: 0}
NOTHING = (reports(),)
EXPLAINED = (reports(no_change="All tests pass already."),)


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    with ExitStack() as stack:

        def make(
            attempts: Attempts | None = None, *, needs_outcome: bool = True, **more: Any
        ) -> TemporaryProject:
            agent = ScriptedAgent(attempts, needs_outcome=needs_outcome)
            return stack.enter_context(TemporaryProject(tmp_path, agent=agent, **more))

        yield make


def ends(project: TemporaryProject, report: RunReport) -> list[AttemptEnded]:
    return [fact.body for fact in project.facts(report.run) if isinstance(fact.body, AttemptEnded)]


def finished(project: TemporaryProject, report: RunReport) -> list[TaskFinished]:
    return [fact.body for fact in project.facts(report.run) if isinstance(fact.body, TaskFinished)]


def notices(project: TemporaryProject, report: RunReport) -> list[str]:
    return [fact.body.text for fact in project.facts(report.run) if isinstance(fact.body, Notice)]


def message(project: TemporaryProject, commit: str = "HEAD") -> str:
    return project.git("log", "-1", "--format=%B", commit)


def check_clean(project: TemporaryProject) -> None:
    assert project.do(project.engine.list({})) == ()
    assert project.git("status", "--porcelain") == ""


def test_an_agent_that_does_nothing_completes_nothing(make_project: MakeProject) -> None:
    attempts: Attempts = {("1", number): NOTHING for number in range(1, 6)}
    project = make_project(attempts, plan=UNTYPED, settings=GUARDED, gates=GREEN)
    report = project.run()
    assert (report.status, report.exit_code) == ("failed", 1)
    assert report.state.end is not None and report.state.end.cause == "task_failed"
    assert report.reason is not None and "seems to be done already" in report.reason
    assert len(project.agent.attempts) == 2
    assert "no_change" in project.agent.attempts[1].prompt
    assert project.git("log", "--format=%s") == "start"
    check_clean(project)


def test_an_untyped_task_whose_outcome_says_why_it_changed_nothing(make_project: MakeProject) -> None:
    attempts: Attempts = {("2", 1): EXPLAINED}
    project = make_project(attempts, plan=UNTYPED, settings=GUARDED, gates=GREEN)
    report = project.run()
    assert report.status == "completed", report.reason
    first, second = finished(project, report)
    assert (first.verification, first.reason) == ("verified", None)
    assert (second.verification, second.reason) == (
        "unverified",
        "it changed nothing: All tests pass already.",
    )
    assert second.commit is not None and "No file was changed: All tests pass already." in message(project)
    assert "No file was changed" in project.git("show", "HEAD:HANDOFF_plan.md")
    assert run_json(report.state, None)["unverified"] == 1
    check_clean(project)


@pytest.mark.parametrize(
    ("plan", "settings", "said"),
    [
        (UNTYPED, "", "2 of 2 tasks have no check"),
        (UNTYPED.replace("- [ ] 2", "- [x] 2"), "", "1 of 1 tasks has no check"),
        (UNTYPED, GUARDED, None),
    ],
    ids=["none", "one is done", "a guard checks all"],
)
def test_tasks_without_a_check_are_counted_before_the_run_and_unverified(
    make_project: MakeProject, plan: str, settings: str, said: str | None
) -> None:
    attempts: Attempts = {(task, 1): (writes(f"{task}.txt", "x"), reports()) for task in "12"}
    project = make_project(attempts, plan=plan, settings=settings, gates=GREEN)
    warnings: list[str] = []
    report = project.run(warn=warnings.append)
    assert report.status == "completed"
    shown = [text for text in notices(project, report) if "no check" in text]
    assert [text.partition(" and will be unverified")[0] for text in shown] == ([said] if said else [])
    assert bool(warnings) == bool(said)
    expected = ("unverified", "it has no check") if said else ("verified", None)
    completed = [end for end in finished(project, report) if end.status == "completed"]
    assert {(end.verification, end.reason) for end in completed} == {expected}
    assert report.state.unverified == (len(completed) if said else 0)


def test_a_run_that_requires_checks_is_refused_before_anything_is_started(make_project: MakeProject) -> None:
    project = make_project(plan=UNTYPED, settings="[verify]\nrequire = true\n")
    with pytest.raises(EnvironmentInvalid, match="2 of 2 tasks have no check") as refusal:
        project.run()
    assert refusal.value.exit_code == 2 and "1, 2" in refusal.value.what
    assert project.agent.attempts == []
    assert project.git("branch", "--list", "work") == ""
    assert project.run(config=("verify.require=false",)).status == "completed"


def test_a_run_that_requires_checks_starts_with_a_guard(make_project: MakeProject) -> None:
    project = make_project(plan=UNTYPED, settings=GUARDED + "require = true\n", gates=GREEN)
    assert project.run().status == "completed"


SILENT = {
    "changes": ((writes("task-1.txt", "x"),), "completed", "verified"),
    "changes, and exit 1": ((writes("task-1.txt", "x"), exits(1)), "failed", None),
    "no changes": ((says("nothing to do"),), "unclear", None),
    "no changes, and exit 1": ((exits(1),), "failed", None),
}


@pytest.mark.parametrize(("steps", "status", "verification"), SILENT.values(), ids=SILENT)
def test_a_program_that_reports_nothing(
    make_project: MakeProject, steps: tuple[Step, ...], status: str, verification: str | None
) -> None:
    attempts: Attempts = {("1", number): steps for number in (1, 2, 3)}
    project = make_project(attempts, needs_outcome=False)
    report = project.run()
    end = ends(project, report)[0]
    assert (end.status, end.claim) == (status, None)
    assert report.status == ("completed" if verification else "failed")
    if verification:
        assert (end.reason, finished(project, report)[0].verification) == (None, verification)
        check_clean(project)
    else:
        assert end.reason is not None and "$ORCHESTRATOR_OUTCOME (/run/orchestrator/out/outcome.json)" in (
            end.reason
        )


def test_a_program_that_reports_nothing_is_unverified_without_gates(make_project: MakeProject) -> None:
    attempts: Attempts = {(task, 1): (writes(f"{task}.txt", "x"),) for task in "12"}
    project = make_project(attempts, needs_outcome=False, plan=UNTYPED)
    report = project.run()
    assert report.status == "completed"
    assert [end.verification for end in finished(project, report)] == ["unverified"] * 2


def test_a_program_that_repairs_what_its_first_attempt_wrote_counts_as_having_changed_it(
    make_project: MakeProject,
) -> None:
    """Changes since the task was started count, not only those since the last attempt."""

    def check(process: Process) -> int:
        made = process.path("task-1.txt")
        return 0 if made.exists() and made.read_text() == "right" else 1

    attempts: Attempts = {
        ("1", 1): (writes("task-1.txt", "wrong"),),
        ("1", 2): (writes("task-1.txt", "right"), says("it is there")),
    }
    project = make_project(attempts, needs_outcome=False, gates={"check 1": check})
    report = project.run()
    assert report.status == "completed"
    assert [end.status for end in ends(project, report)] == ["completed", "completed"]


def test_a_pipe_of_a_program_that_reports_nothing_is_moved_away_and_named(make_project: MakeProject) -> None:
    def make_pipe(process: Process) -> None:
        os.mkfifo(process.path("trap"))

    project = make_project({("1", 1): (make_pipe, writes("task-1.txt", "x"))}, needs_outcome=False)
    report = project.run()
    assert report.status == "completed"
    assert any(text.startswith("git cannot commit trap") for text in notices(project, report))
    check_clean(project)


@pytest.mark.parametrize(
    ("content", "code", "status"),
    [("[]", 0, "unclear"), ("[]", 3, "failed"), ('{"status": "needs_human"}', 0, "unclear")],
)
def test_an_invalid_outcome(make_project: MakeProject, content: str, code: int, status: str) -> None:
    def report_badly(process: Process) -> None:
        process.path(process.env["ORCHESTRATOR_OUTCOME"]).write_text(content)

    steps = (writes("task-1.txt", "x"), report_badly, exits(code))
    project = make_project({("1", 1): steps}, needs_outcome=False)
    end = ends(project, project.run())[0]
    assert end.status == status
    assert end.reason is not None and end.reason.startswith("invalid outcome")


def done_before(make_project: MakeProject, **more: Any) -> tuple[TemporaryProject, RunReport]:
    """A CODING task that was done before the run, after the run that has found that out."""
    attempts: Attempts = {("1", number): (writes("a.txt", ""), reports()) for number in range(1, 9)}
    project = make_project(attempts, tasks=("1", "2"), **more)
    (project.folder / "task-1.txt").write_text("done before\n")
    (project.folder / "a.txt").write_text("")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "done before")
    return project, project.run()


def test_a_task_that_is_done_already_fails_after_two_attempts_and_can_be_accepted(
    make_project: MakeProject,
) -> None:
    project, report = done_before(make_project)
    assert (report.status, report.exit_code) == ("failed", 1)
    assert len(project.agent.attempts) == 2
    assert report.state.end is not None and report.state.end.cause == "task_failed"
    assert f"orchestrator resume {report.run} --accept 1" in (report.reason or "")

    report = project.resume(accept=("1",))
    assert (report.status, report.exit_code) == ("completed", 0)
    assert [each.task for each in project.agent.attempts] == ["1", "1", "2"]
    accepted = [fact for fact in project.facts(report.run) if isinstance(fact.body, TaskAccepted)]
    assert [(fact.task, fact.body) for fact in accepted] == [("1", TaskAccepted(by="resume --accept"))]
    _failed, first, second = finished(project, report)
    assert (first.status, first.verification) == ("completed", "unverified")
    assert (first.reason, second.verification) == ("accepted by the user (resume --accept)", "verified")
    landed = project.git("rev-parse", "work~1")
    assert first.commit == landed
    text = message(project, landed)
    assert "the user accepted the task as done" in text
    assert "Orchestrator-Task: 1\nOrchestrator-Attempt: 2\nOrchestrator-Evidence: " in text
    assert project.git("diff", "--name-only", f"{landed}~1", landed) == "HANDOFF_plan.md"
    check_clean(project)


def test_an_accepted_task_is_like_any_other_finished_one(make_project: MakeProject) -> None:
    project, report = done_before(make_project)
    assert project.resume(accept=("1",)).status == "completed"
    attempts = len(project.agent.attempts)
    assert project.run().run == report.run  # the plan is done
    plan = project.folder / "plan.md"
    edited = plan.read_text().replace("## Task 2: Write", "## Task 2: Write again")
    plan.write_text(edited)
    project.git("commit", "-q", "-am", "edited")
    again = project.run()
    assert again.run != report.run and again.status == "completed"
    assert [end.status for end in finished(project, again)] == ["imported", "completed"]
    assert [each.task for each in project.agent.attempts[attempts:]] == ["2"]


def test_an_accepted_task_can_be_undone_and_is_then_not_accepted_any_more(make_project: MakeProject) -> None:
    project, _report = done_before(make_project)
    project.resume(accept=("1",))
    assert [each.task for each in project.undo("1").undone] == ["2", "1"]
    assert project.git("log", "-1", "--format=%s", "work") == "done before"
    report = project.resume()
    assert (report.status, report.state.tasks["1"].accepted) == ("failed", None)
    assert "seems to be done already" in (report.reason or "")


def test_the_gates_of_an_accepted_task_run_again_on_the_folder_as_it_is(make_project: MakeProject) -> None:
    project, report = done_before(make_project)
    project.git("rm", "-q", "task-1.txt")
    project.git("commit", "-q", "-m", "removed")
    attempts = len(project.agent.attempts)
    report = project.resume(accept=("1",))
    assert (report.status, report.exit_code) == ("failed", 1)
    assert "accepted by the user, but verify-1 failed" in (report.reason or "")
    assert len(project.agent.attempts) == attempts


def test_a_task_that_does_not_fit_is_not_accepted(make_project: MakeProject) -> None:
    project = make_project({("1", number): (exits(1),) for number in (1, 2, 3)}, tasks=("1", "2"))
    before = project.run()
    for task, reason in (("1", "verify-1 failed"), ("2", "not been started"), ("9", "no such task")):
        with pytest.raises(UsageError, match=f"task {task} cannot be accepted") as refusal:
            project.resume(accept=(task,))
        assert reason in refusal.value.what and refusal.value.exit_code == 2
    assert len(project.facts(before.run)) == before.state.last_n
