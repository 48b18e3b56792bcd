"""A start that is killed before its run is known leaves nothing that lasts; later, it can be resumed."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.commands.request import RunRequest, StartOptions
from orchestrator.commands.run import run
from orchestrator.project.run_journal import RunJournal
from orchestrator.testing.clock import fake_time_runner
from orchestrator.testing.project import PLAN, TemporaryProject
from orchestrator.workspace.user_repository import UserRepository

KILLED = 9


def killed(project: TemporaryProject, owner: type, method: str) -> None:
    """Run in a process of its own that ends, as by SIGKILL, where it would call the method."""
    child = os.fork()
    if child == 0:
        setattr(owner, method, _end)
        request = RunRequest(plan=PLAN, options=StartOptions(agent="command", allow_dirty=True))
        try:
            # In a loop of its own: the parent's must not be shared.
            fake_time_runner(project.clock).run(run(project.host, request))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def _end(*arguments: Any, **named: Any) -> None:
    os._exit(KILLED)


@pytest.fixture
def project(make_project: Callable[..., TemporaryProject]) -> TemporaryProject:
    return make_project()


def refs(project: TemporaryProject) -> str:
    return project.git("for-each-ref", "--format=%(refname)", "refs/ktrdr", "refs/ktrdr-saved")


def folders(project: TemporaryProject) -> list[str]:
    return sorted(entry.name for entry in (project.state / "runs").iterdir())


def _change(project: TemporaryProject) -> None:
    (project.folder / "mine.txt").write_text("mine\n")


@pytest.mark.parametrize("prepare", [lambda project: None, _change], ids=["clean", "with changes"])
def test_a_kill_before_the_first_fact_leaves_nothing(
    project: TemporaryProject, prepare: Callable[[TemporaryProject], object]
) -> None:
    prepare(project)
    killed(project, RunJournal, "begin")
    assert refs(project) == ""
    (orphan,) = folders(project)
    report = project.run(allow_dirty=True)
    assert (report.status, report.run != orphan) == ("completed", True)
    assert folders(project) == [report.run]


def test_a_kill_between_the_first_fact_and_the_pinned_base_can_be_resumed(project: TemporaryProject) -> None:
    killed(project, UserRepository, "pin_base")
    assert refs(project) == ""
    report = project.resume()
    assert (report.status, folders(project)) == ("completed", [report.run])
    assert refs(project).split() == [f"refs/ktrdr/{report.run}"]


def test_a_start_keeps_the_work_of_runs_that_the_journal_does_not_know(project: TemporaryProject) -> None:
    before = project.run()
    for path in project.state.glob("journal.sqlite*"):
        path.unlink()
    report = project.run(new=True)
    assert folders(project) == sorted([before.run, report.run])
    assert list((project.state / "runs" / before.run).glob("attempts/*/*/transcript/*"))
