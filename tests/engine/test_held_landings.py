"""Whole runs in which an agent leaves scratch, credentials or settings of tools in the folder."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.next_step import next_step
from orchestrator.run.facts import CandidateMade, LandingRefused, LandingStarted
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import ScriptedAgent, Step, reports, writes
from orchestrator.testing.project import TemporaryProject

MakeProject = Callable[..., TemporaryProject]

PLAN = (
    "# Plan\n\n**Branch:** `work`\n\n## Task 1.1: Write it\n\n**File(s):** `one.py`, `.vscode/tasks.json`\n"
)
SCRATCH = (writes(".venv/pyvenv.cfg", "home = /usr\n"), writes("core.12", "dump"))
CREDENTIAL = writes(".env", "API_KEY=not-a-real-key\n")
SETTINGS = writes(".claude/settings.local.json", '{"permissions": {"allow": ["Bash(*)"]}}\n')


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    with ExitStack() as stack:

        def make(*steps: Step, **more: Any) -> TemporaryProject:
            agent = ScriptedAgent({("1.1", 1): (writes("one.py", "x = 1\n"), *steps, reports())})
            return stack.enter_context(TemporaryProject(tmp_path, agent=agent, plan=PLAN, **more))

        yield make


def landed(project: TemporaryProject) -> set[str]:
    return set(project.git("ls-tree", "-r", "--name-only", "work").splitlines()) - {
        "plan.md",
        ".gitignore",
        "orchestrator.toml",
    }


def bodies(project: TemporaryProject, report: RunReport, kind: type) -> list[Any]:
    return [fact.body for fact in project.facts(report.run) if isinstance(fact.body, kind)]


def test_scratch_stays_in_the_folder_and_out_of_the_commit(make_project: MakeProject) -> None:
    project = make_project(*SCRATCH)
    report = project.run()
    assert report.status == "completed", report.reason
    assert landed(project) == {"one.py", "HANDOFF_plan.md"}
    assert [made.scratch for made in bodies(project, report, CandidateMade)] == [(".venv/", "core.12")]
    assert (project.folder / ".venv/pyvenv.cfg").exists()
    assert project.run(new=True).status == "completed", "what is left there does not count as an edit"


def test_scratch_that_a_task_names_lands(tmp_path: Path) -> None:
    plan = PLAN.replace("`one.py`", "`./one.py`, `core.12`")
    agent = ScriptedAgent({("1.1", 1): (writes("one.py", "x = 1\n"), *SCRATCH, reports())})
    with TemporaryProject(tmp_path, agent=agent, plan=plan) as project:
        report = project.run()
        assert report.status == "completed", report.reason
        assert landed(project) == {"one.py", "core.12", "HANDOFF_plan.md"}
        assert [made.scratch for made in bodies(project, report, CandidateMade)] == [(".venv/",)]


def test_the_prompt_of_the_next_task_lists_scratch(tmp_path: Path) -> None:
    plan = f"{PLAN}\n## Task 1.2: Write another\n\n**File(s):** `two.py`\n"
    first, second = (writes("one.py", "x = 1\n"), *SCRATCH, reports()), (writes("two.py", "y\n"), reports())
    agent = ScriptedAgent({("1.1", 1): first, ("1.2", 1): second})
    with TemporaryProject(tmp_path, agent=agent, plan=plan) as project:
        assert project.run().status == "completed"
        prompts = [attempt.prompt for attempt in project.agent.attempts]
    assert ["- .venv/\n- core.12" in prompt for prompt in prompts] == [False, True]


def test_a_credential_and_settings_of_a_tool_wait_for_the_users_word(make_project: MakeProject) -> None:
    project = make_project(CREDENTIAL, SETTINGS)
    report = project.run()
    assert (report.status, report.exit_code) == ("parked", 4)
    assert report.state.end is not None and report.state.end.cause == "landing_refused"
    [refused] = bodies(project, report, LandingRefused)
    assert ".env (looks like a credential)" in refused.reason
    assert ".claude/settings.local.json (settings of a tool on your host)" in refused.reason
    assert not bodies(project, report, LandingStarted)
    assert project.git("log", "--format=%s", "work") == "start"
    command = 'landing.allow=[".claude/settings.local.json",".env"]'
    shown = f"orchestrator resume {report.run} -c '{command}'"
    assert refused.reason.endswith(shown)
    [before, _] = next_step(report.state, "parked", project.folder).before
    assert before.endswith(shown)
    assert shlex.split(shown)[-1] == command
    report = project.resume(config=(command,))
    assert report.status == "completed", report.reason
    assert landed(project) == {"one.py", "HANDOFF_plan.md", ".env", ".claude/settings.local.json"}
    assert len(project.agent.attempts) == 1


def test_the_run_waits_again_while_one_path_is_not_allowed(make_project: MakeProject) -> None:
    project = make_project(CREDENTIAL, SETTINGS)
    project.run()
    report = project.resume(config=('landing.allow=[".claude"]',))
    assert report.status == "parked"
    refused = bodies(project, report, LandingRefused)[-1]
    assert ".claude/settings.local.json (" not in refused.reason
    assert refused.reason.endswith("""-c 'landing.allow=[".claude",".env"]'""")


def test_a_path_that_the_user_removes_or_ignores_holds_nothing(make_project: MakeProject) -> None:
    project = make_project(CREDENTIAL, SETTINGS)
    project.run()
    (project.folder / ".claude/settings.local.json").unlink()
    (project.folder / ".gitignore").write_text(".env\n")
    report = project.resume()
    assert report.status == "completed", report.reason
    assert landed(project) == {"one.py", "HANDOFF_plan.md"}
    assert len(project.agent.attempts) == 1


def test_settings_that_the_task_names_are_allowed_and_credentials_are_not(make_project: MakeProject) -> None:
    project = make_project(writes(".vscode/tasks.json", "{}\n"))
    report = project.run()
    assert report.status == "completed", report.reason
    assert ".vscode/tasks.json" in landed(project)


def test_a_credential_that_the_task_names_waits_nevertheless(tmp_path: Path) -> None:
    plan = PLAN.replace("`one.py`", "`.env`")
    agent = ScriptedAgent({("1.1", 1): (CREDENTIAL, reports())})
    with TemporaryProject(tmp_path, agent=agent, plan=plan) as project:
        assert project.run().status == "parked"


def test_an_approved_setting_allows_a_path_from_the_start(make_project: MakeProject) -> None:
    project = make_project(CREDENTIAL)
    report = project.run(config=('landing.allow=[".env"]',))
    assert report.status == "completed", report.reason
    assert ".env" in landed(project)
