"""The owner of a run is killed after each kind of fact: resuming does nothing twice and loses nothing."""

import os
import pickle
import signal
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.commands.cancel import cancel
from orchestrator.commands.request import RunRequest, StartOptions
from orchestrator.commands.run import run
from orchestrator.run.facts import Fact
from orchestrator.run.report import RunReport
from orchestrator.testing.clock import run_in_fake_time
from orchestrator.testing.project import PLAN, TemporaryProject

OF_THE_RUN = ("run_started", "names_reserved", "base_run_ended", "branch_ready", "run_ended")
OF_A_TASK = (
    *("base_checked", "task_started", "attempt_started", "container_created", "container_started"),
    *("agent_tool", "attempt_ended", "names_reserved"),
    *("candidate_made", "gate_started", "gate_ended", "landing_started", "task_finished"),
)
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
def test_a_killed_run_is_resumed(
    project: TemporaryProject, tmp_path: Path, task: str | None, kind: str
) -> None:
    run_and_kill(project, tmp_path / "containers", task, kind)
    before = project.facts(the_run(project))
    report = project.run()
    assert report.status == "completed"
    after = project.facts(report.run)
    assert after[: len(before)] == before
    assert [fact.n for fact in after] == list(range(1, len(after) + 1))
    check_nothing_twice(after, begins_again=kind == "attempt_started")
    check_nothing_lost(project, report)


def test_cancelling_a_killed_run_keeps_the_work_of_its_attempt(
    project: TemporaryProject, tmp_path: Path
) -> None:
    run_and_kill(project, tmp_path / "containers", "2", "agent_tool")
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
    project: TemporaryProject, tmp_path: Path, kind: str
) -> None:
    settings = ("handoff.commit=false",)
    run_and_kill(project, tmp_path / "containers", "1", kind, settings)
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


def run_and_kill(
    project: TemporaryProject, containers: Path, task: str | None, kind: str, settings: Sequence[str] = ()
) -> None:
    """Run in a process of its own that dies as by `kill -9`; its containers are there afterwards."""
    child = os.fork()
    if child == 0:
        _run_until_killed(project, containers, task, kind, settings)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    for left in pickle.loads(containers.read_bytes()):
        project.do(project.engine.restore(left))


def _run_until_killed(
    project: TemporaryProject, containers: Path, task: str | None, kind: str, settings: Sequence[str]
) -> None:
    """In the fork: never returns."""

    def kill(fact: Fact) -> None:
        if (fact.task, fact.body.kind) == (task, kind):
            containers.write_bytes(pickle.dumps(project.engine.list_left()))
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        options = StartOptions(agent="command", config=tuple(settings), listeners=(kill,))
        run_in_fake_time(project.clock, run(project.host, RunRequest(plan=PLAN, options=options)))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)
