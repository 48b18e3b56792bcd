"""`shell`: the container of an attempt, by hand."""

import subprocess  # noqa: TID251 - starts the command as a person's shell does, without our own help

import pytest
from e2e_kit import MakeScene, Scene

pytestmark = pytest.mark.docker

NAME = "ktrdr-coding-agent"


def state_of(name: str) -> str:
    """As the engine says, empty when there is no such container."""
    asked = ["docker", "ps", "--all", "--filter", f"name=^{name}$", "--format", "{{.State}}"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.xdist_group("the container by hand")
def test_a_command_runs_there_and_nothing_is_left(new_scene: MakeScene) -> None:
    scene: Scene = new_scene(owner=1000)
    done = scene.orchestrator("shell", "sh", "-c", "id -u; pwd; echo $HOME; touch made; exit 7")
    assert done.exit_code == 7, done
    assert done.out.splitlines() == ["1000", "/workspace", "/tmp/home"]
    assert (scene.folder / "made").stat().st_uid == 1000
    assert state_of(NAME) == ""


@pytest.mark.xdist_group("the container by hand")
def test_no_capability_and_no_git_of_an_engine(scene: Scene) -> None:
    done = scene.orchestrator("shell", "sh", "-c", "grep CapEff /proc/self/status; ls /var/run/docker.sock")
    assert "0000000000000000" in done.out
    assert done.exit_code != 0


def test_outside_a_repository_nothing_starts(scene: Scene) -> None:
    done = scene.orchestrator("shell", "true", cwd=scene.area)
    assert done.exit_code == 2
    assert "repository" in done.err
