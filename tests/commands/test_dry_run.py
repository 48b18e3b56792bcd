"""`run --dry-run`: what a run would do, and that nothing of it is done."""

import json
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.host import use_host
from orchestrator.cli.main import main
from orchestrator.testing.agent import ScriptedAgent, exits
from orchestrator.testing.project import TemporaryProject


@pytest.fixture
def project(tmp_path: Path) -> Iterator[TemporaryProject]:
    with TemporaryProject(tmp_path, tasks=("1", "2")) as made:
        yield made


def dry_run(project: TemporaryProject, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("asyncio.run", project.do)
    monkeypatch.chdir(project.folder)
    out, err = StringIO(), StringIO()
    with use_host(project.host), redirect_stdout(out), redirect_stderr(err):
        code = main(["run", "plan.md", "--dry-run", *words])
    return code, out.getvalue(), err.getvalue()


def shown(project: TemporaryProject, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    code, out, err = dry_run(project, monkeypatch, "--json", *words)
    assert code == 0, err
    return json.loads(out)


def contents(project: TemporaryProject) -> dict[str, str]:
    """Every file of the user, of the repository and of the state folder, with its content."""
    files = [path for path in project.folder.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in files}


def test_nothing_is_started_made_or_written(
    project: TemporaryProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(project)
    found = shown(project, monkeypatch)
    assert contents(project) == before and not project.state.exists()
    assert project.git("branch", "--list") == "* main" and project.agent.attempts == []
    head = project.git("rev-parse", "HEAD")
    assert (found["schema"], found["plan"], found["base"]) == (1, "plan.md", head)
    assert found["branch"] == "work"
    assert [task["checks"] for task in found["tasks"]] == [
        [{"command": f"check {id}", "source": "task"}] for id in ("1", "2")
    ]
    assert [(task["status"], task["history"]) for task in found["tasks"]] == [("pending", None)] * 2


def test_a_state_folder_with_runs_stays_as_it_is_too(
    project: TemporaryProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run(only=("1",))
    before = contents(project)
    found = shown(project, monkeypatch)
    assert contents(project) == before
    first, second = found["tasks"]
    assert first["status"] == "imported" and first["reason"].startswith("done by an earlier run, commit ")
    assert second["status"] == "pending"
    assert second["history"]["runs"] == 1 and second["history"]["seconds"] >= 0


def test_what_is_left_out_is_named(project: TemporaryProject, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = shown(project, monkeypatch, "--only", "1")["tasks"]
    assert [(task["status"], task["reason"]) for task in tasks] == [
        ("pending", None),
        ("skipped", "left out"),
    ]


def test_an_unfinished_run_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = ScriptedAgent({("2", number): [exits(1)] for number in (1, 2, 3)})
    with TemporaryProject(tmp_path, tasks=("1", "2"), agent=agent) as project:
        run = project.run().run
        found = shown(project, monkeypatch)
    assert found["run"] == run and [task["status"] for task in found["tasks"]] == ["completed", "pending"]


def test_the_containers_are_those_of_the_run(
    project: TemporaryProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "environment.variables={GREETING='good morning'}"
    found = shown(project, monkeypatch, "-c", secret)
    kinds = {each["kind"]: each["argv"] for each in found["containers"]}
    assert list(kinds) == ["attempt", "gate"]
    argv = kinds["attempt"]
    assert argv[:4] == ["docker", "run", "--name", "ktrdr-coding-agent-run-id-1-1"]
    assert f"type=bind,source={project.folder},target=/workspace" in argv
    runs = project.state / "runs" / "run-id"
    assert f"type=bind,source={runs}/attempts/1/1/out,target=/run/orchestrator/out" in argv
    assert not any("dry-run" in word for each in kinds.values() for word in each)
    assert argv[argv.index("GREETING") - 1] == "--env" and "good morning" not in str(kinds)


def test_the_page_ends_with_the_command_that_starts_the_run(
    project: TemporaryProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = dry_run(project, monkeypatch)
    lines = out.splitlines()
    assert code == 0 and lines[-1] == "next: orchestrator run plan.md"
    assert "        no history" in lines and "        orchestrator run plan.md --base" in lines
    commands = [shlex.split(line) for line in lines if line.startswith("docker run ")]
    assert [command[3].split("-")[1] for command in commands] == ["coding", "gate"]


def test_what_a_run_refuses_is_refused(project: TemporaryProject, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "mine.txt").write_text("not committed")
    code, out, error = dry_run(project, monkeypatch)
    assert (code, out) == (2, "") and "mine.txt" in error
    code, out, error = dry_run(project, monkeypatch, "--only", "9")
    assert (code, out) == (2, "") and "there is no task 9" in error
    code, out, error = dry_run(project, monkeypatch, "--base")
    assert (code, out) == (2, "") and "--base" in error


def test_a_setup_that_has_not_been_made_is_a_container_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TemporaryProject(tmp_path, settings="[setup]\ncommands = ['make deps']\n") as project:
        found = shown(project, monkeypatch)
        kinds = [each["kind"] for each in found["containers"]]
        assert kinds == ["setup", "attempt", "gate"]
        assert "setup-image" in found["containers"][1]["argv"]
        assert any("setup-image stands for" in note for note in found["notes"])
