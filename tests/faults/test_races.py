"""A second command comes at the same moment as the one that adopts an agent without an owner.

FAULTS=whole (`make soak`) has all of them; without it there is one.
"""

import os
import signal
import time
from collections.abc import Sequence

import pytest
from e2e_kit import AGENT, REPORT, Done, Living, MakeScene, Scene, docker, plan, task, waiting_for
from kill_kit import check_nothing_left

pytestmark = pytest.mark.docker

whole = pytest.mark.skipif(os.environ.get("FAULTS") != "whole", reason="FAULTS=whole, takes minutes")

WORKS = f"""{REPORT}
echo first; echo half > made.txt
{waiting_for("/workspace/.go")}
echo whole > made.txt; echo last; report completed
"""


@pytest.fixture
def orphan(new_scene: MakeScene) -> Scene:
    """A run whose agent works on without an owner until `.go` is there."""
    scene = new_scene()
    (scene.area / "tmp").mkdir()
    scene.settings["TMPDIR"] = str(scene.area / "tmp")
    scene.write(".git/info/exclude", ".go\n")
    scene.commit(plan__md=plan(task("1", "grep -x whole made.txt")), agent__sh=WORKS)
    with begin(scene) as command:
        command.send(signal.SIGKILL)
    return scene


def begin(scene: Scene) -> Living:
    command = scene.start("run", "plan.md", "--json", *AGENT)
    command.until("container_started")
    command.until_exists(scene.folder / "made.txt")
    return command


def start_together(scene: Scene, *commands: Sequence[str]) -> list[Living]:
    return [scene.start(*words) for words in commands]


def find_adopter(commands: Sequence[Living]) -> int:
    """The index of the only command that is alive; every other one has ended."""
    deadline = time.monotonic() + 120
    while sum(command.alive for command in commands) > 1:
        assert time.monotonic() < deadline, "several commands carry the run out"
        time.sleep(0.1)
    return [command.alive for command in commands].index(True)


def check_completed(scene: Scene, run: str) -> None:
    status = scene.status(run)
    assert status["status"] == "completed"
    (attempt,) = status["tasks"][0]["attempts"]
    assert (attempt["attempt"], attempt["status"]) == (1, "completed")
    assert len(scene.commits("work", since=status["base"])) == 1
    events = scene.orchestrator("watch", run, "--json").events
    said = "\n".join(event["text"] for event in events if event["kind"] == "agent_text")
    assert said.splitlines() == ["first", "last"]
    (scene.folder / ".go").unlink()
    check_nothing_left(scene, run)


def the_run(scene: Scene) -> str:
    run: str = scene.status("plan.md")["run"]
    return run


def test_of_several_commands_one_adopts_the_agent(orphan: Scene) -> None:
    run = the_run(orphan)
    commands = start_together(
        orphan,
        ("resume", run, "--json"),
        ("resume", "--json"),
        ("run", "plan.md", "--json", *AGENT),
    )
    adopter = find_adopter(commands)
    refused = [command.finish() for index, command in enumerate(commands) if index != adopter]
    for done in refused:
        assert (done.exit_code, done.stdout) == (2, b""), done
        assert str(commands[adopter].pid) in done.err
    with commands[adopter] as command:
        command.until("attempt_adopted")
        orphan.write(".go", "")
        done = command.finish()
    assert done.exit_code == 0, done
    assert [event["kind"] for event in done.events].count("attempt_adopted") == 1
    check_completed(orphan, run)


@whole
@pytest.mark.parametrize("agent_ends_meanwhile", [False, True], ids=["at work", "ended"])
def test_a_frozen_owner_keeps_the_run_and_continues(new_scene: MakeScene, agent_ends_meanwhile: bool) -> None:
    scene = new_scene()
    (scene.area / "tmp").mkdir()
    scene.settings["TMPDIR"] = str(scene.area / "tmp")
    scene.write(".git/info/exclude", ".go\n")
    scene.commit(plan__md=plan(task("1", "grep -x whole made.txt")), agent__sh=WORKS)
    with begin(scene) as command:
        run = the_run(scene)
        (container,) = scene.containers()
        command.send(signal.SIGSTOP)
        second = scene.orchestrator("resume", run, "--json")
        assert (second.exit_code, second.stdout) == (2, b""), second
        assert str(command.pid) in second.err
        if agent_ends_meanwhile:
            scene.write(".go", "")
            docker("wait", container)
        command.send(signal.SIGCONT)
        scene.write(".go", "")
        done = command.finish()
    assert done.exit_code == 0, done
    check_completed(scene, run)


@whole
@pytest.mark.parametrize("words", ["cancel", "undo", "abandon"])
def test_a_command_that_ends_the_work_and_one_that_continues_it_do_not_mix(orphan: Scene, words: str) -> None:
    """One of the two goes first, and the other is refused or follows it.

    There is no commit to undo yet, so `undo` changes nothing, but it can have the folder for a moment.
    """
    run = the_run(orphan)
    ending = ("undo", run, "1") if words == "undo" else (words, run)
    first, second = start_together(orphan, ending, ("resume", run, "--json"))
    with first, second:
        ended = first.finish()
        if second.alive:
            orphan.write(".go", "")
        resumed = second.finish()
    assert ended.exit_code in (0, 2), ended
    check_agreement(orphan, run, ended, resumed, words)
    assert orphan.containers() == []
    assert "whole" in resumed.out or orphan.git("status", "--porcelain") in ("", "?? made.txt")


def check_agreement(scene: Scene, run: str, ended: Done, resumed: Done, words: str) -> None:
    status = scene.status(run)["status"]
    if words == "cancel" or ended.exit_code == 0:
        assert status == ("interrupted" if words == "undo" else "cancelled"), (ended, resumed)
        assert resumed.exit_code in (2, 130), resumed
    elif words == "undo" and resumed.exit_code == 2:
        assert (status, len(scene.containers())) == ("interrupted", 1)
        scene.write(".go", "")
        assert scene.run(*AGENT).exit_code == 0
    else:
        assert (status, resumed.exit_code) == ("completed", 0), (ended, resumed)


@whole
def test_nothing_else_begins_in_the_folder_of_an_agent_without_an_owner(orphan: Scene) -> None:
    run = the_run(orphan)
    orphan.write("other.md", plan(task("1", "true")))
    other = Scene(folder=orphan.folder, area=orphan.area / "other", caller=orphan.caller, owner=orphan.owner)
    for folder in ("home", "state"):
        (other.area / folder).mkdir(parents=True)
    for scene, words in (
        (orphan, ("run", "plan.md", "--new")),
        (orphan, ("run", "other.md")),
        (other, ("run", "plan.md")),
    ):
        done = scene.orchestrator(*words, "--json", *AGENT)
        assert (done.exit_code, done.stdout) == (2, b""), done
        assert run in done.err, done
    (orphan.folder / "other.md").unlink()
    orphan.write(".go", "")
    assert orphan.run(*AGENT).exit_code == 0
    check_completed(orphan, run)


@whole
def test_a_paused_agent_is_adopted_and_continues_once_it_is_unpaused(orphan: Scene) -> None:
    run = the_run(orphan)
    (container,) = orphan.containers()
    docker("pause", container)
    with orphan.start("resume", run, "--json") as command:
        command.until("attempt_adopted")
        time.sleep(1)
        docker("unpause", container)
        orphan.write(".go", "")
        done = command.finish()
    assert done.exit_code == 0, done
    check_completed(orphan, run)


@whole
def test_a_paused_agent_is_ended_by_cancel(orphan: Scene) -> None:
    run = the_run(orphan)
    (container,) = orphan.containers()
    docker("pause", container)
    done = orphan.orchestrator("cancel", run)
    assert done.exit_code == 0, done
    assert orphan.status(run)["status"] == "cancelled"
    assert orphan.containers() == []
