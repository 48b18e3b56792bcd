"""`undo`, `abandon` and `cancel`: work is taken off the branch, and every bit of it can be had again."""

import re
import signal
import subprocess  # noqa: TID251 - types what the documentation shows
import time

import pytest
from e2e_kit import AGENT, ROOT, MakeScene, Scene, task
from mount_kit import begin, resume, run, status, subjects

pytestmark = pytest.mark.docker

ONE_TWO = {f"t{n}": f"echo {n} > {n}.txt; echo {n} >> all.txt" for n in (1, 2)}


@pytest.fixture
def done(scene: Scene) -> Scene:
    """Two tasks, both landed."""
    begin(scene, **ONE_TWO)
    assert run(scene).exit_code == 0
    return scene


def saved_by(output: str) -> str:
    """The commit that holds the folder from before."""
    found = re.search(r"git show ([0-9a-f]{40,64})", output)
    assert found is not None, output
    return found[1]


def test_staged_content_that_is_nowhere_else_is_saved_by_undo(done: Scene) -> None:
    done.write("mine.txt", "staged\n")
    done.git("add", "mine.txt")
    done.write("mine.txt", "newer\n")
    taken = done.orchestrator("undo", "plan.md", "2")
    assert taken.exit_code == 0, taken
    staged = re.search(r"Your staged changes: git show ([0-9a-f]{40})", taken.out)
    assert staged is not None, taken
    assert done.git("show", f"{staged[1]}:mine.txt") == "staged"
    assert done.git("show", f"{saved_by(taken.out)}:mine.txt") == "newer"
    assert done.git("for-each-ref", "--contains", staged[1]) != ""


def test_undo_removes_a_task_and_all_later_ones_and_resume_repeats_them(done: Scene) -> None:
    before = done.git("rev-parse", "work")
    done.write(".git/info/exclude", "ignored/\n")
    done.write("ignored/mine.txt", "kept\n")
    taken = done.orchestrator("undo", "plan.md", "1")
    assert taken.exit_code == 0, taken
    assert (subjects(done, "main"), status(done)) == ([], [])
    assert not (done.folder / "all.txt").exists()
    assert (done.folder / "ignored/mine.txt").read_text() == "kept\n"
    assert [t["status"] for t in done.status("plan.md")["tasks"]] == ["pending", "pending"]
    commits = re.findall(r"git cherry-pick ([0-9a-f]+)", taken.out)
    assert [done.git("log", "-1", "--format=%s", commit) for commit in commits] == ["2: Do it", "1: Do it"]
    again = resume(done)
    assert again.exit_code == 0, again
    started = [(event["task"], event["attempt"]) for event in again.of("attempt_started")]
    assert started == [("1", 2), ("2", 2)]
    assert done.git("rev-parse", "work^{tree}") == done.git("rev-parse", f"{before}^{{tree}}")


def test_the_folder_from_before_can_be_restored_as_the_command_says(done: Scene) -> None:
    done.write("user.txt", "edited and not committed\n")
    done.write("notes.txt", "loose\n")
    taken = done.orchestrator("undo", "plan.md", "2")
    assert taken.exit_code == 0, taken
    assert (subjects(done, "main"), status(done)) == (["1: Do it"], [" M user.txt", "?? notes.txt"])
    assert (done.folder / "all.txt").read_text() == "1\n"
    commit = saved_by(taken.out)
    done.git("checkout", "-q", "user.txt")
    done.git("gc", "-q", "--prune=now")
    assert done.git("show", f"{commit}:user.txt") == "edited and not committed"
    assert done.git("show", f"{commit}:notes.txt") == "loose"
    assert done.git("show", f"{commit}:2.txt") == "2"


def test_a_candidate_that_never_landed_can_be_fetched_as_the_documentation_says(scene: Scene) -> None:
    begin(scene, task("1", "test -e never"), t1="echo made > made.txt")
    assert run(scene).exit_code == 1
    assert scene.orchestrator("abandon", "plan.md").exit_code == 0
    page = (ROOT / "docs" / "repository.md").read_text()
    (block,) = [text for text in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "git fetch" in text]
    shell = subprocess.run(
        ["bash", "-c", block], cwd=scene.folder, env=scene.environment({}), capture_output=True
    )
    assert (shell.returncode, shell.stderr) == (0, b""), shell
    (candidate,) = scene.git("for-each-ref", "--format=%(refname)", "refs/kept/candidates").splitlines()
    assert scene.git("show", f"{candidate}:made.txt") == "made"


@pytest.mark.parametrize("words", [("undo", "plan.md", "1"), ("abandon", "plan.md")], ids=["undo", "abandon"])
def test_undo_is_refused_below_commits_of_the_user(done: Scene, words: tuple[str, ...]) -> None:
    done.git("commit", "-q", "--allow-empty", "-m", "by the user")
    before = done.picture()
    refused = done.orchestrator(*words)
    assert refused.exit_code == 2, refused
    assert done.git("rev-parse", "--short=12", "HEAD") in refused.err
    assert done.picture() == before


def test_abandon_returns_to_the_base_and_ends_the_run(done: Scene) -> None:
    abandoned = done.orchestrator("abandon", "plan.md")
    assert abandoned.exit_code == 0, abandoned
    assert (subjects(done, "main"), status(done)) == ([], [])
    assert done.git("symbolic-ref", "HEAD") == "refs/heads/work"
    assert done.status("plan.md")["status"] == "cancelled"
    assert done.orchestrator("resume").exit_code == 2
    again = run(done)
    assert again.exit_code == 0, again
    assert subjects(done, "main") == ["1: Do it", "2: Do it"]


def test_abandon_removes_the_files_of_a_failed_attempt(scene: Scene) -> None:
    begin(scene, task("1", "test -e never"), t1="echo wrong > made.txt; rm user.txt")
    assert run(scene).exit_code == 1
    abandoned = scene.orchestrator("abandon", "plan.md")
    assert abandoned.exit_code == 0, abandoned
    assert status(scene) == []
    assert (scene.folder / "user.txt").read_text() == "the user's\n"


def test_a_run_that_was_undone_after_its_cancellation_stays_cancelled(scene: Scene) -> None:
    begin(scene, task("1"), task("2", "test -e never"), t1="echo 1 > 1.txt", t2="echo 2 > 2.txt")
    assert run(scene).exit_code == 1
    assert scene.orchestrator("cancel", "plan.md").exit_code == 0
    undone = scene.orchestrator("undo", "plan.md", "1")
    assert undone.exit_code == 0, undone
    assert scene.status("plan.md")["status"] == "cancelled"
    assert subjects(scene, "main") == []


def test_a_run_that_was_killed_before_its_branch_can_be_abandoned_or_resumed(new_scene: MakeScene) -> None:
    """Killed while the base was checked, with the user's own changes allowed."""
    for last_word in ("abandon", "resume"):
        scene = new_scene()
        begin(scene, task("1", "sleep 2; test -e made.txt"), t1="echo made > made.txt")
        scene.write("user.txt", "edited\n")
        with scene.start("run", "plan.md", "--json", "--allow-dirty", *AGENT) as living:
            living.until_containers_of_base(scene.state)
            living.send(signal.SIGKILL)
        over = scene.orchestrator(last_word, "plan.md")
        assert over.exit_code == 0, over
        assert (scene.folder / "user.txt").read_text() == "edited\n"
        assert (
            scene.git("rev-parse", "--abbrev-ref", "HEAD") == {"abandon": "main", "resume": "work"}[last_word]
        )


@pytest.fixture
def halfway(scene: Scene) -> Scene:
    """An undo of a task that changed many files, killed after the branch had moved."""
    (scene.folder / "many").mkdir()
    for number in range(300):
        scene.write(f"many/{number}.txt", "before\n")
    begin(scene, t1="for file in many/*; do echo after > $file; done")
    assert run(scene).exit_code == 0
    first = scene.folder / "many" / "0.txt"
    with scene.start("undo", "plan.md", "1") as living:
        while first.read_text() == "after\n":
            time.sleep(0.001)
        living.send(signal.SIGKILL)
        assert living.finish().exit_code == -signal.SIGKILL
    contents = {path.read_text() for path in (scene.folder / "many").iterdir()}
    assert contents == {"before\n", "after\n"}
    return scene


@pytest.mark.parametrize("words", [("undo", "plan.md", "1"), ("resume", "--json")], ids=["undo", "resume"])
def test_a_killed_undo_is_finished_and_edits_since_are_saved(halfway: Scene, words: tuple[str, ...]) -> None:
    halfway.write("many/299.txt", "edited after the kill\n")
    done = halfway.orchestrator(*words)
    if words[0] == "resume":
        assert done.exit_code == 0, done
        assert [event["task"] for event in done.of("attempt_started")] == ["1"]
    else:
        assert done.exit_code == 0, done
        assert status(halfway) == []
        assert {path.read_text() for path in (halfway.folder / "many").iterdir()} == {"before\n"}
    assert halfway.git("show", f"{saved_by(done.out)}:many/299.txt") == "edited after the kill"


def test_a_killed_undo_is_cancelled_when_the_user_has_committed_since(halfway: Scene) -> None:
    (halfway.folder / ".git" / "index.lock").unlink()  # as git advises
    halfway.git("commit", "-q", "-a", "-m", "by the user")
    before = halfway.git("rev-parse", "HEAD^{tree}")
    done = halfway.orchestrator("undo", "plan.md", "1")
    assert done.exit_code == 2, done
    assert halfway.git("show", f"{saved_by(done.err)}:many/0.txt") == "after"
    assert halfway.git("rev-parse", "HEAD^{tree}") == before
    assert [t["status"] for t in halfway.status("plan.md")["tasks"]] == ["pending"]
    again = resume(halfway)
    assert again.exit_code == 0, again
    assert subjects(halfway, "main") == ["by the user", "1: Do it"]
