"""`run`, `resume` and `clean` around the loop, with real git and journal and a scripted agent."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from orchestrator.commands.clean import CleanRequest, clean
from orchestrator.errors import ConfigurationError
from orchestrator.run.facts import Fact
from orchestrator.testing.agent import ScriptedAgent, exits, reports
from orchestrator.testing.project import PLAN, TemporaryProject, plan_of

MakeProject = Callable[..., TemporaryProject]
FAILING = ScriptedAgent({("1", number): (reports("failed"), exits(1)) for number in (1, 2, 3)})


def test_a_plan_that_is_done_is_reported_again(make_project: MakeProject) -> None:
    project = make_project()
    first = project.run()
    received: list[Fact] = []
    again = project.run(listeners=(received.append,))
    assert (again.run, again.status) == (first.run, "completed")
    assert [fact.body.kind for fact in received] == ["run_ended"]
    with pytest.raises(ConfigurationError):
        project.run(config=("limits.attemps=2",))


def test_a_new_run_prints_the_plans_warnings_before_it_starts(make_project: MakeProject) -> None:
    plan = plan_of(("1",)).replace("**Acceptance Criteria:**\n- [ ] the file is there\n", "")
    project = make_project(plan=plan, agent=FAILING)
    said: list[str] = []
    project.run(
        warn=lambda line: said.append(f"{line}"), listeners=(lambda fact: said.append(fact.body.kind),)
    )
    assert said[0].startswith(f"{PLAN}:5: warning no-acceptance ")
    assert said.index("run_started") == 1
    said.clear()
    project.resume(warn=said.append)
    assert said == []


@pytest.mark.parametrize("command", ["resume", "clean"])
def test_scratch_folders_of_a_killed_owner_are_removed(make_project: MakeProject, command: str) -> None:
    project = make_project(agent=FAILING)
    report = project.run()
    gates = project.state / "runs" / report.run / "gates"
    (gates / "ktrdr-setup-1" / "home").mkdir(parents=True)
    if command == "resume":
        project.resume()
    else:
        project.do(clean(project.host, CleanRequest(), say=lambda line: None))
    assert not list(gates.glob("*"))


def test_resume_uses_a_plan_that_the_user_edited(
    make_project: MakeProject,
) -> None:
    project = make_project(agent=FAILING)
    project.run()
    (project.folder / PLAN).write_text(plan_of(("1", "2")))
    report = project.resume()
    assert list(report.state.tasks) == ["1", "2"]


def test_clean_leaves_the_journal_to_an_older_orchestrator(make_project: MakeProject) -> None:
    project = make_project(agent=FAILING)
    project.run()
    with closing(sqlite3.connect(project.state / "journal.sqlite")) as journal:
        journal.execute("PRAGMA user_version = 1")
        project.do(clean(project.host, CleanRequest(), say=lambda line: None))
        assert journal.execute("PRAGMA user_version").fetchone() == (1,)
