"""`shell`: the container of an attempt, by hand."""

import os
import secrets
import signal
import subprocess  # noqa: TID251 - starts the command as a user's shell does, without our own help

import pytest
from at_terminal_kit import at_terminal
from e2e_kit import AGENT, REPORT, MakeScene, Scene, docker, plan, task, waiting_for

pytestmark = pytest.mark.docker

by_hand = pytest.mark.usefixtures("alone_by_hand")

NAME = "ktrdr-coding-agent"


def state_of(name: str) -> str:
    """As the engine says, empty when there is no such container."""
    asked = ["docker", "ps", "--all", "--filter", f"name=^{name}$", "--format", "{{.State}}"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


@by_hand
def test_a_command_runs_in_the_container_and_leaves_nothing(new_scene: MakeScene) -> None:
    scene: Scene = new_scene(owner=1000)
    scene.commit(readme__md="x")
    done = scene.orchestrator("shell", "sh", "-c", "id -u; pwd; echo $HOME; touch made; exit 7")
    assert done.exit_code == 7, done
    assert done.out.splitlines() == ["1000", "/workspace", "/tmp/home"]
    assert (scene.folder / "made").stat().st_uid == 1000
    assert state_of(NAME) == ""


@by_hand
def test_no_capability_and_no_git_of_an_engine(scene: Scene) -> None:
    scene.commit(readme__md="x")
    done = scene.orchestrator("shell", "sh", "-c", "grep CapEff /proc/self/status; ls /var/run/docker.sock")
    assert "0000000000000000" in done.out
    assert done.exit_code != 0


def test_outside_a_repository_nothing_starts(scene: Scene) -> None:
    done = scene.orchestrator("shell", "true", cwd=scene.area)
    assert done.exit_code == 2
    assert "repository" in done.err


def test_the_build_of_an_image_is_not_printed_line_by_line(scene: Scene) -> None:
    scene.commit(readme__md="x")
    packages = '["no-such-package-at-all"]'
    done = scene.orchestrator("shell", "true", ORCHESTRATOR_IMAGE_PACKAGES=packages)
    assert done.exit_code == 2 and "no-such-package-at-all" in done.err, done
    assert len(done.err.splitlines()) <= 12, done


@by_hand
def test_without_a_command_a_terminal_gets_a_shell(scene: Scene) -> None:
    scene.commit(readme__md="x")
    done = at_terminal(scene, "shell", typed={"/workspace": "test -t 1 && exit 5\n"})
    assert done.exit_code == 5, done
    assert state_of(NAME) == ""


@by_hand
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_leaves_no_container(scene: Scene, number: signal.Signals) -> None:
    scene.commit(readme__md="x")
    with scene.start("shell", "sh", "-c", "touch started; exec sleep 600") as shell:
        shell.until_exists(scene.folder / "started")
        if number is signal.SIGINT:  # as a terminal does: to the whole group
            os.killpg(shell.pid, number)
        else:
            shell.send(number)
        done = shell.finish()
    assert done.exit_code == 130, done
    assert state_of(NAME) == ""


@by_hand
def test_a_shell_sees_what_an_agent_sees(scene: Scene) -> None:
    fresh = secrets.token_hex(8)  # an image that an earlier session left would be found
    scene.commit(
        **{
            "requirements.txt": f"# {fresh}\n",
            ".gitignore": ".env\n.venv/\n",
            "orchestrator.toml": "[masked]\nfiles = ['.env']\n[environment]\nvariables = {COLOUR = 'blue'}\n"
            "[setup]\ncommands = ['mkdir .venv && touch .venv/made-by-setup']\n",
            "plan.md": plan(task("1", "test -s made.txt")),
            "agent.sh": f"{REPORT}\necho x > made.txt\nreport completed\n",
        }
    )
    scene.write(".env", "canary\n")
    look = ("shell", "sh", "-c", "cat .env; echo $COLOUR; ls .venv")
    before = scene.orchestrator(*look)
    assert before.out.splitlines() == ["blue"] and "are not installed" in before.err, before
    assert not (scene.folder / ".venv").exists()
    done = scene.run(*AGENT)
    assert done.exit_code == 0, done
    after = scene.orchestrator(*look)
    assert after.out.splitlines() == ["blue", "made-by-setup"] and after.err == "", after
    assert not (scene.folder / ".venv").exists()
    assert (scene.folder / ".env").read_text() == "canary\n"
    (made,) = done.of("setup_ended")
    _outlives_cleaning(scene, str(made["image"]))


def _outlives_cleaning(scene: Scene, image: str) -> None:
    """Its image was made by a run that has ended; the container is not that run's."""
    with scene.start("shell", "sh", "-c", "touch started; exec sleep 600") as shell:
        shell.until_exists(scene.folder / "started")
        cleaned = scene.orchestrator("clean")
        assert cleaned.exit_code == 0 and f"kept the container {NAME}" in cleaned.out, cleaned
        assert state_of(NAME) == "running"
        shell.send(signal.SIGTERM)
        shell.finish()
    own = f"somebodys-{secrets.token_hex(4)}"
    docker("create", "--name", own, image, "sleep", "600")
    try:
        cleaned = scene.orchestrator("clean")
        assert own not in cleaned.out and state_of(own) == "created", cleaned
    finally:
        docker("rm", "-f", own)


@by_hand
def test_a_shell_is_refused_while_an_agent_works(scene: Scene) -> None:
    agent = f"{REPORT}\ntouch started\n{waiting_for('go')}\necho x > made.txt\nreport completed\n"
    scene.commit(plan__md=plan(task("1", "test -s made.txt")), agent__sh=agent)
    with scene.start("run", "plan.md", "--json", *AGENT) as run:
        started = run.until("attempt_started")
        run.until_exists(scene.folder / "started")  # the fact comes before the container
        refused = scene.orchestrator("shell", "true")
        scene.write("go", "")
        assert run.finish().exit_code == 0
    assert refused.exit_code == 2 and str(started["container"]) in refused.err, refused
    assert "orchestrator cancel" in refused.err


def test_without_the_docker_command(scene: Scene) -> None:
    scene.commit(readme__md="x")
    tools = scene.area / "tools"
    tools.mkdir()
    for name in ("git", "sh"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    done = scene.orchestrator("shell", "true", PATH=str(tools))
    assert done.exit_code == 2 and "docker.io" in done.err, done
