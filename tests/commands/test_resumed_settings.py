"""A run keeps the settings that it started with; `resume` names what differs, and takes it when asked."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.fact_lines import lines
from orchestrator.commands.trust import approve, load_for_approval
from orchestrator.config import REPOSITORY_FILE
from orchestrator.errors import ConfigurationError
from orchestrator.preflight.authors import reason_to_keep_image
from orchestrator.project.project import open_project
from orchestrator.run.facts import BaseChecked, Fact, GateEnded, Notice, SettingsTaken
from orchestrator.run.report import RunReport
from orchestrator.testing.agent import ScriptedAgent, Step, reports, writes
from orchestrator.testing.engine import IMAGE
from orchestrator.testing.processes import Process
from orchestrator.testing.project import TemporaryProject

MakeProject = Callable[..., TemporaryProject]
GREEN, RED = '[verify]\ntask = ["true"]\n', '[verify]\ntask = ["false"]\n'
GATES = {"false": lambda process: 1 if process.path("task-1.txt").exists() else 0}
"""A guard that passes before the work and fails after it."""


@pytest.fixture
def make_failed(make_project: MakeProject) -> Callable[..., TemporaryProject]:
    """A project whose run has failed, because its configured command never passes after the work."""

    def make(*steps: Step, settings: str = RED) -> TemporaryProject:
        agent = ScriptedAgent({("1", 1): (*steps, writes("task-1.txt", "done\n"), reports())})
        project = make_project(agent=agent, gates=GATES, settings=settings)
        project.run(config=("limits.attempts=1",))
        return project

    return make


def configure(project: TemporaryProject, text: str, *, commit: bool = False) -> None:
    (project.folder / REPOSITORY_FILE).write_text(text)
    if commit:
        commit_settings(project)


def commit_settings(project: TemporaryProject) -> None:
    project.git("add", REPOSITORY_FILE)
    project.git("commit", "-q", "-m", "settings of the user")


def run_id(project: TemporaryProject) -> str:
    (found,) = (entry.name for entry in (project.state / "runs").iterdir())
    return found


def notes(project: TemporaryProject) -> str:
    facts = project.facts(run_id(project))
    return "\n".join(fact.body.text for fact in facts if isinstance(fact.body, Notice))


def refusal(project: TemporaryProject) -> str:
    """Why `resume --take-config` is refused, before it has recorded anything."""
    before = len(project.facts(run_id(project)))
    with pytest.raises(ConfigurationError) as caught:
        project.resume(take_config=True)
    assert len(project.facts(run_id(project))) == before
    return str(caught.value)


def gates_of(report: RunReport, task: str = "1") -> list[str]:
    last = report.state.tasks[task].last
    assert last is not None
    return [gate.command for gate in last.gates]


def test_a_difference_is_named_and_used_only_when_asked(make_failed: MakeProject) -> None:
    project = make_failed()
    configure(project, '[verify]\ntask = ["false", "true"]\n', commit=True)
    kept = project.resume()
    change = 'verify.task: ["false"] (orchestrator.toml:2) -> ["false", "true"] (orchestrator.toml:2)'
    assert gates_of(kept) == ["check 1", "false"]
    said_once = notes(project)
    assert f"orchestrator resume {kept.run} --take-config\n{change}" in said_once
    said: list[str] = []
    taken = project.resume(take_config=True, warn=said.append)
    assert (gates_of(taken), said) == (["check 1", "false", "true"], [f"taken: {change}"])
    again = project.resume(take_config=True)
    assert gates_of(again) == ["check 1", "false", "true"], "what was taken stays in force"
    assert notes(project) == said_once, "nothing differs any more"
    facts = [fact.body for fact in project.facts(kept.run)]
    assert [fact.changes for fact in facts if isinstance(fact, SettingsTaken)] == [(change,)]
    base = [fact.command for fact in facts if isinstance(fact, BaseChecked)]
    assert base[-3:] == ["false", "true", "check 1"], "the new commands run on the base, too"


def test_the_users_own_sources_differ_too_and_need_no_commit(make_failed: MakeProject) -> None:
    project = make_failed(settings='[verify]\ntask = ["false"]\ntimeout = 60\n')
    mine = Path(project.environ["HOME"]) / ".config/ktrdr-orchestrator/config.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text("[verify]\ntimeout = 30\n")
    project.environ["ORCHESTRATOR_VERIFY_TASK"] = '["true"]'
    assert project.resume().status == "failed"
    assert f"verify.timeout: 60 (orchestrator.toml:3) -> 30 ({mine}:2)" in notes(project)
    assert '["true"] (ORCHESTRATOR_VERIFY_TASK)' in notes(project)
    assert project.resume(take_config=True).status == "completed"


def test_flags_of_the_run_and_of_resume_are_always_used(make_failed: MakeProject) -> None:
    project = make_failed()
    configure(project, '[limits]\nattempts = 2\n[verify]\ntask = ["false"]\n', commit=True)
    report = project.resume(config=('verify.task=["true"]',))
    assert (report.status, notes(project)) == ("completed", "")


def test_a_file_that_an_attempt_broke_is_named_and_stops_no_resume(make_failed: MakeProject) -> None:
    project = make_failed(writes(REPOSITORY_FILE, "gar[bage"))
    project.resume()
    assert "orchestrator.toml:1: is not TOML" in notes(project)
    assert "is not TOML" in refusal(project)


def test_the_file_of_a_failed_attempt_is_taken_once_the_user_has_committed_it(
    make_failed: MakeProject,
) -> None:
    project = make_failed(writes(REPOSITORY_FILE, GREEN))
    assert f"orchestrator.toml: this file was written by attempt 1 of task 1 (run {run_id(project)})" in (
        refusal(project)
    )
    project.git("add", REPOSITORY_FILE)
    assert "was written by attempt 1 of task 1" in refusal(project), "staging is not committing"
    commit_settings(project)
    assert project.resume(take_config=True).status == "completed"


def test_a_file_that_landed_is_an_attempts_and_so_are_its_settings(make_project: MakeProject) -> None:
    both = "[limits]\nattempts = 1\n"
    steps = (writes(REPOSITORY_FILE, both + GREEN), writes("task-1.txt", "done\n"), reports())
    gates = {"check 2": lambda process: 1}
    agent = ScriptedAgent({("1", 1): steps})
    project = make_project(tasks=("1", "2"), agent=agent, gates=gates, settings=both)
    assert project.run().state.tasks["1"].is_done
    assert "was written by attempt 1 of task 1" in refusal(project)
    configure(project, f"{both}{GREEN}# read and accepted\n")
    assert "`verify.task` was changed by attempt 1 of task 1" in refusal(project)
    commit_settings(project)
    assert gates_of(project.resume(take_config=True), "2") == ["check 2", "true"]


def test_a_file_that_the_user_moved_from_another_name_is_an_attempts(make_failed: MakeProject) -> None:
    project = make_failed(writes("proposal.toml", GREEN))
    (project.folder / "proposal.toml").rename(project.folder / REPOSITORY_FILE)
    assert "was written by attempt 1 of task 1" in refusal(project)
    project.resume()  # commits the user's edits, in a commit that is not the user's own
    assert "was written by attempt 1 of task 1" in refusal(project)


def test_an_edit_that_a_resume_has_committed_is_the_users(make_failed: MakeProject) -> None:
    project = make_failed()
    configure(project, GREEN)
    assert project.resume().status == "failed", "it names the change, and commits it as the user's"
    assert project.resume(take_config=True).status == "completed"


def test_an_attempt_changes_a_file_that_git_does_not_track(make_project: MakeProject) -> None:
    steps = (writes(REPOSITORY_FILE, GREEN), writes("task-1.txt", "1"), reports())
    project = make_project(agent=ScriptedAgent({("1", 1): steps}), gates=GATES, settings=RED)
    project.git("rm", "-q", "--cached", REPOSITORY_FILE)
    project.git("commit", "-q", "-m", "the configuration stays here")
    (project.folder / ".git/info/exclude").write_text(f"{REPOSITORY_FILE}\n")
    assert project.run(config=("limits.attempts=1",)).status == "failed"
    assert "was written by attempt 1 of task 1" in refusal(project)
    configure(project, f"{GREEN}timeout = 30\n")
    assert "`verify.task` was changed by attempt 1 of task 1" in refusal(project)
    (project.folder / REPOSITORY_FILE).unlink()
    configure(project, '[verify]\ntask = ["true", "true"]\ntimeout = 30\n')
    assert project.resume(take_config=True).status == "completed", "nothing of the attempt is left in it"


def test_a_file_that_an_attempt_removed_is_still_missing_by_its_doing(make_failed: MakeProject) -> None:
    def removes(process: Process) -> None:
        process.path(REPOSITORY_FILE).unlink()

    assert "was written by attempt 1 of task 1" in refusal(make_failed(removes))


def test_a_value_that_needs_approval_still_needs_it(make_failed: MakeProject) -> None:
    project = make_failed()
    configure(project, f"{GREEN}[limits]\nattempts = 9\n", commit=True)
    assert "needs your approval" in refusal(project)
    approve(project.host, *load_for_approval(project.host))
    assert project.resume(take_config=True).status == "completed"


def test_a_run_that_stored_only_the_repositorys_file_is_compared_with_it(make_failed: MakeProject) -> None:
    project = make_failed()
    (project.state / "runs" / run_id(project) / "settings.json").unlink()
    configure(project, GREEN, commit=True)
    assert project.resume().status == "failed"
    assert "verify.task" in notes(project)
    assert project.resume(take_config=True).status == "completed"


def test_an_image_that_was_built_again_is_named_and_used_when_asked(make_failed: MakeProject) -> None:
    project = make_failed()

    def image() -> str:
        found = project.do(project.engine.image(IMAGE))
        assert found is not None
        return found.id

    def used() -> str:
        bodies = [fact.body for fact in project.facts(run_id(project))]
        return next(body.image for body in reversed(bodies) if isinstance(body, GateEnded))

    old = image()
    project.engine.build_again(IMAGE)
    project.resume()
    assert f"image {IMAGE}: {old[7:19]} -> {image()[7:19]}" in notes(project)
    assert used() == old
    project.resume(take_config=True)
    assert used() == image() != old


def test_the_console_shows_each_line_of_a_note() -> None:
    fact = Fact(run="r", n=1, at="", task=None, attempt=None, body=Notice(text="first\nsecond\n"))
    assert lines(fact) == ["note    first", "        second"]


def test_files_of_an_attempt_are_not_built_into_an_image(make_failed: MakeProject) -> None:
    project = make_failed(writes("image/tool.sh", "echo hello\n"))
    dockerfile = project.folder / "image" / "Dockerfile"

    def reason() -> str | None:
        async def ask() -> str | None:
            async with open_project(project.host) as opened:
                state = opened.catalog.run(run_id(project))
                return await reason_to_keep_image(opened, state, "image/Dockerfile")

        return project.do(ask())

    dockerfile.write_text("FROM ktrdr-coding-agent:latest\n")
    of_attempt = re.escape("image/tool.sh: this file was written by attempt 1 of task 1")
    with pytest.raises(ConfigurationError, match=of_attempt):
        reason()
    project.git("add", "image/tool.sh")
    project.git("commit", "-q", "-m", "by the user")
    assert reason() is None
    (project.folder / "image/tool.sh").write_text("echo changed by the user\n")
    with pytest.raises(ConfigurationError, match=of_attempt):
        reason()
