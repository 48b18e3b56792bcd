"""A plan whose agent runs its task's script, and what a user sees of the repository afterwards."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from e2e_kit import AGENT, REPORT, Done, Scene, plan, task

from orchestrator.testing.sandbox import find_obstacle

IN_SANDBOX = [pytest.mark.docker] if find_obstacle() else []
"""For tests about the repository: Docker is needed only where the fake engine cannot run commands."""
ONCE = ("-c", "limits.attempts=1")


def agent(scripts: Mapping[str, str]) -> str:
    """An agent in shell: for each task what it does, before it says that it is completed."""
    cases = "\n".join(f"{name}) {script} ;;" for name, script in scripts.items())
    return f'{REPORT}\ncase "$ORCHESTRATOR_TASK" in\n{cases}\nesac\nreport completed\n'


def begin(scene: Scene, *tasks: str, branch: str = "work", **scripts: str) -> str:
    """Commit a plan and its agent (t1="script of task 1"), beside a file of the user's; gives the commit."""
    scripts = {name.removeprefix("t").replace("_", "."): script for name, script in scripts.items()}
    body = plan(*tasks or [task(name) for name in scripts], branch=branch)
    scene.commit(plan__md=body, agent__sh=agent(scripts), user__txt="the user's\n", old__txt="old\n")
    return scene.git("rev-parse", "HEAD")


def run(scene: Scene, *words: str, plan: str = "plan.md") -> Done:
    return scene.run(*AGENT, *ONCE, *words, plan=plan)


def resume(scene: Scene, *words: str) -> Done:
    return scene.orchestrator("resume", "--json", *words)


def subjects(scene: Scene, since: str, branch: str = "work") -> list[str]:
    """Subjects of the commits since then, oldest first."""
    return scene.git("log", "--reverse", "--format=%s", f"{since}..{branch}").splitlines()


def names(scene: Scene, commit: str) -> dict[str, str]:
    """The changes of a commit: path to status letter."""
    rows = scene.git("show", "--format=", "--name-status", "--no-renames", commit).splitlines()
    return {path: letter for letter, path in (row.split("\t") for row in rows)}


def status(scene: Scene) -> list[str]:
    """The lines of the user's own `git status`; empty if everything is committed."""
    return scene.git("status", "--porcelain", "-uall").splitlines()


def check_sound(scene: Scene) -> None:
    """The repository is whole, no file of the orchestrator is left in it, and no container."""
    if (scene.folder / ".git").exists():
        assert scene.git("fsck", "--strict", "--no-dangling") == ""
        git_dir = Path(scene.git("rev-parse", "--absolute-git-dir"))
        assert list(git_dir.glob("orchestrator*")) == []
    # A probe whose command was killed ends by itself.
    assert [name for name in scene.containers() if "-probe-" not in name] == []
