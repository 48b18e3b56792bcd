"""Two terminals, two state folders, an owner that was killed, and containers that no process follows."""

import json
import signal

import pytest
from e2e_kit import AGENT, Living, Scene, docker, task, waiting_for
from mount_kit import begin, resume, run, status, subjects

pytestmark = pytest.mark.docker

WAITS = f"echo half > half.txt; {waiting_for('.go')}; echo made > made.txt"


@pytest.fixture
def living(scene: Scene) -> Living:
    """A run whose agent is at work."""
    begin(scene, t1=WAITS)
    scene.write(".git/info/exclude", ".go\n")
    started = scene.start("run", "plan.md", "--json", *AGENT)
    started.until_exists(scene.folder / "half.txt")
    return started


def holder(scene: Scene) -> str:
    (run,) = json.loads(scene.orchestrator("status", "--json").stdout)["runs"]
    return str(run["run"])


def test_a_second_command_is_refused_by_run_and_process_and_cancel_stops_the_first(
    scene: Scene, living: Living
) -> None:
    with living:
        run_id = holder(scene)
        for words in (
            ("run", "plan.md", "--json"),
            ("resume", "--json"),
            ("undo", run_id, "1"),
            ("abandon", run_id),
        ):
            done = scene.orchestrator(*words)
            assert (done.exit_code, done.stdout) == (2, b""), done
            assert run_id in done.err and str(living.pid) in done.err
        other = Scene(folder=scene.folder, area=scene.area / "other", caller=scene.caller, owner=scene.owner)
        for folder in ("home", "state"):
            (other.area / folder).mkdir(parents=True)
        done = other.run(*AGENT)
        assert (done.exit_code, done.stdout) == (2, b""), done
        assert f"process {living.pid}" in done.err and "another state folder" in done.err
        cancelled = scene.orchestrator("cancel", run_id)
        assert cancelled.exit_code == 0, cancelled
        ended = living.finish()
    assert (ended.exit_code, ended.end["status"]) == (130, "cancelled"), ended
    assert scene.containers() == []
    assert status(scene) == ["?? half.txt"]
    assert scene.status(run_id)["status"] == "cancelled"
    again = scene.orchestrator("cancel", run_id)
    assert (again.exit_code, resume(scene).exit_code) == (0, 2), again


@pytest.fixture
def orphan(scene: Scene, living: Living) -> str:
    """The run of an owner that was killed; its container works on."""
    run_id = holder(scene)
    with living:
        living.send(signal.SIGKILL)
        living.finish()
    assert len(scene.containers()) == 1
    return run_id


def test_cancel_works_without_a_living_owner(scene: Scene, orphan: str) -> None:
    cancelled = scene.orchestrator("cancel", orphan)
    assert cancelled.exit_code == 0, cancelled
    assert scene.containers() == []
    assert scene.status(orphan)["status"] == "cancelled"
    assert (scene.folder / "half.txt").exists()
    scene.write(".go", "")
    again = run(scene, "--allow-dirty")
    assert again.exit_code == 0, again
    assert subjects(scene, "main")[-1] == "1: Do it"


def test_undo_stops_the_agent_of_a_killed_owner_before_it_changes_files(scene: Scene) -> None:
    begin(scene, task("1"), task("2"), t1="echo 1 > 1.txt", t2=WAITS)
    scene.write(".git/info/exclude", ".go\n")
    with scene.start("run", "plan.md", "--json", *AGENT) as living:
        living.until("attempt_started", task="2")
        living.until_exists(scene.folder / "half.txt")
        living.send(signal.SIGKILL)
        living.finish()
    undone = scene.orchestrator("undo", "plan.md", "1")
    assert undone.exit_code == 0, undone
    assert (scene.containers(), status(scene), subjects(scene, "main")) == ([], [], [])
    scene.write(".go", "")
    done = resume(scene)
    assert done.exit_code == 0, done
    assert subjects(scene, "main") == ["1: Do it", "2: Do it"]
    assert "changes by hand" not in scene.git("log", "-2", "--format=%B")


def test_cancel_frees_the_index_that_a_killed_landing_had_locked(scene: Scene) -> None:
    begin(scene, task("1", "test -e never"), t1="echo made > made.txt")
    assert run(scene).exit_code == 1
    ours = scene.write(".git/orchestrator-index", "")
    (scene.folder / ".git" / "index.lock").hardlink_to(ours)
    assert scene.orchestrator("cancel", "plan.md").exit_code == 0
    scene.git("add", "made.txt")


def test_clean_keeps_the_container_of_a_run_that_only_lost_its_owner(scene: Scene, orphan: str) -> None:
    (container,) = scene.containers()
    cleaned = scene.orchestrator("clean")
    assert cleaned.exit_code == 0, cleaned
    assert f"kept the container {container}" in cleaned.out
    assert scene.containers() == [container]
    scene.write(".go", "")
    done = resume(scene)
    assert done.exit_code == 0, done
    assert status(scene) == []


def test_a_container_of_another_state_folder_stops_the_run_and_is_never_removed(
    scene: Scene, orphan: str
) -> None:
    (container,) = scene.containers()
    other = Scene(folder=scene.folder, area=scene.area / "other", caller=scene.caller, owner=scene.owner)
    for folder in ("home", "state"):
        (other.area / folder).mkdir(parents=True)
    listed = other.orchestrator("clean")
    # No command is printed that would end what another user runs.
    assert f"kept the container {container}: it belongs to another state folder\n" in listed.out
    # What the agent has written so far is not called a change of the user's, to be stashed.
    for refused in (other.run(*AGENT), run(scene, "--new")):
        assert (refused.exit_code, refused.stdout) == (2, b""), refused
        assert container in refused.err and orphan in refused.err
    assert scene.containers() == [container]
    scene.orchestrator("cancel", orphan)


def test_containers_of_ended_attempts_are_removed_at_start_and_by_clean(scene: Scene) -> None:
    begin(scene, task("1"), t1="echo made > made.txt")
    done = run(scene)
    assert done.exit_code == 0, done

    def leave(name: str, **labels: str) -> str:
        words = [word for key, value in labels.items() for word in ("--label", f"ktrdr.{key}={value}")]
        image = "ktrdr-coding-agent:latest"
        docker("create", "--name", name, *words, image, "sleep", "600")
        return name

    state = scene.state_id or ""
    over = leave(f"over-{done.run}", state=state, kind="attempt", run=done.run, task="1", attempt="1")
    foreign = leave(
        f"foreign-{done.run}", state="0" * 32, kind="attempt", run=done.run, task="1", attempt="1"
    )
    by_hand = leave(f"hand-{done.run}", state=state, kind="shell")
    try:
        dry = scene.orchestrator("clean", "--dry-run")
        assert f"would remove the container {over}" in dry.out
        assert f"docker rm {foreign}" in dry.out
        assert set(scene.containers()) == {over, by_hand}
        cleaned = scene.orchestrator("clean")
        assert f"removed the container {over}" in cleaned.out
        assert scene.containers() == [by_hand]
        assert foreign in docker("ps", "-a", "--format", "{{.Names}}").split()
    finally:
        docker("rm", "-f", foreign, by_hand)


def test_clean_removes_the_work_of_old_runs_only_on_request(scene: Scene) -> None:
    begin(scene, task("1"), t1="echo made > made.txt")
    done = run(scene)
    pinned = f"refs/ktrdr/{done.run}"
    (own,) = (scene.state / "repositories").iterdir()
    git_dir = scene.attempt(done.run, "1", 1) / "git"

    def kept() -> list[bool]:
        refs = scene.git(f"--git-dir={own}", "for-each-ref", "--format=%(refname)", "refs/ktrdr")
        return [done.run in refs, scene.git("for-each-ref", pinned) != "", git_dir.exists()]

    for words in ((), ("--older-than", "1d"), ("--dry-run", "--older-than", "0m")):
        assert scene.orchestrator("clean", *words).exit_code == 0
        assert kept() == [True, True, True], words
    assert scene.orchestrator("clean", "--older-than", "a while").exit_code == 2
    assert scene.orchestrator("clean", "--older-than", "0m").exit_code == 0
    assert kept() == [False, False, False]
    assert scene.orchestrator("logs", done.run).exit_code == 0
