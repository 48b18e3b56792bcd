"""The way out that a refusal of uncommitted changes names, when it is taken."""

import re
import subprocess  # noqa: TID251 - types what the message shows
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentInvalid
from orchestrator.testing.agent import ScriptedAgent, reports, writes
from orchestrator.testing.project import PLAN, TemporaryProject

FAILS = (writes("wrong.txt", "wrong\n"), reports("failed", summary="It is hard."))


def read_hint(project: TemporaryProject, **options: bool) -> str:
    with pytest.raises(EnvironmentInvalid, match="uncommitted changes") as refused:
        project.run(**options)
    assert refused.value.hint is not None
    return refused.value.hint


def test_a_stash_leaves_a_plan_that_git_does_not_track(tmp_path: Path) -> None:
    with TemporaryProject(tmp_path) as project:
        (project.folder / "notes.txt").write_text("mine\n")
        project.git("add", "notes.txt")
        project.git("rm", "-q", "--cached", PLAN)
        project.git("commit", "-q", "-m", "without the plan")
        (project.folder / "notes.txt").write_text("changed\n")
        (project.folder / "loose.txt").write_text("loose\n")
        found = re.search(r"\((git stash .*?)\), or let", read_hint(project))
        assert found is not None
        subprocess.run(["bash", "-c", found[1]], cwd=project.folder, check=True, capture_output=True)
        assert project.git("status", "--porcelain").split() == ["??", PLAN]
        assert project.run().exit_code == 0


def test_files_of_a_failed_attempt_are_called_so(tmp_path: Path) -> None:
    agent = ScriptedAgent({("1", 1): FAILS})
    with TemporaryProject(tmp_path, agent=agent, settings="[limits]\nattempts = 1\n") as project:
        run = project.run().run
        hint = read_hint(project, new=True)
        assert hint.startswith(f"A failed attempt of run {run} left files there.")
        assert f"orchestrator abandon {run}\n" in hint
        project.abandon()
        assert project.run(new=True).exit_code == 1
