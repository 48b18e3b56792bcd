"""One call makes a project, and real commands work in it with the fakes."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.testing.agent import ScriptedAgent, exits, reports, waits, works
from orchestrator.testing.project import TemporaryProject

MakeProject = Callable[..., TemporaryProject]


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(TemporaryProject(tmp_path, **options))


def test_a_run_lands_every_task_on_its_branch(make_project: MakeProject) -> None:
    project = make_project(tasks=("1", "2"))
    report = project.run()
    assert (report.status, report.exit_code) == ("completed", 0)
    assert project.git("log", "--format=%s", "main..work").count("\n") == 1
    assert project.git("show", "work:task-2.txt") == "the work of 2"
    assert [attempt.task for attempt in project.agent.attempts] == ["1", "2"]


def test_the_script_of_an_agent_runs_in_fake_time(make_project: MakeProject) -> None:
    agent = ScriptedAgent({("1", 1): (waits(7000), exits(1)), ("1", 2): (waits(100), *works("1"))})
    project = make_project(agent=agent)
    begun = time.monotonic()
    assert project.run().exit_code == 0
    assert time.monotonic() - begun < 60
    assert project.clock.monotonic() >= 7100
    assert [attempt.resumed for attempt in agent.attempts] == [False, True]


def test_commands_after_a_run(make_project: MakeProject) -> None:
    agent = ScriptedAgent({("2", number): (reports("failed"), exits(1)) for number in (1, 2, 3)})
    project = make_project(tasks=("1", "2"), agent=agent)
    report = project.run()
    assert (report.status, report.exit_code) == ("failed", 1)
    assert project.resume().exit_code == 0
    assert project.undo("2").undone[0].task == "2"
    assert project.git("ls-tree", "--name-only", "work", "task-2.txt") == ""
    project.cancel()
    assert project.facts(report.run)[-1].body.kind == "run_ended"


def test_an_error_of_git_is_shown(make_project: MakeProject) -> None:
    project = make_project()
    with pytest.raises(RuntimeError, match="not a git command"):
        project.git("unheard-of")
