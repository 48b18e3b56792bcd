"""Files that git ignored before a run are not committed if an agent takes them out of `.gitignore`."""

import pytest
from e2e_kit import Scene, task
from mount_kit import IN_SANDBOX, begin, resume, run, status

pytestmark = IN_SANDBOX

SECRET = "TOKEN=sesame\n"


def secret(scene: Scene, *tasks: str, **scripts: str) -> None:
    """A file of the user's that git ignores, until the first task empties `.gitignore`."""
    scene.write(".gitignore", ".env\nkept/\n")
    scene.write(".env", SECRET)
    scene.write("kept/file", SECRET)
    begin(scene, *tasks, t1=": > .gitignore; echo a > a.txt", **scripts)


def check_never_committed(scene: Scene) -> None:
    objects = scene.git("rev-list", "--all", "--objects").split()
    assert ".env" not in objects and "kept/file" not in objects
    assert (scene.folder / ".env").read_text() == (scene.folder / "kept/file").read_text() == SECRET


def test_a_once_ignored_file_is_in_no_commit_of_a_later_task(scene: Scene) -> None:
    secret(scene, task("1", "test -s a.txt"), task("2", "test -s b.txt"), t2="echo b > b.txt")
    done = run(scene)
    assert done.exit_code == 0, done
    assert done.of("edits_committed") == []
    check_never_committed(scene)
    assert status(scene) == ["?? .env", "?? kept/file"]


def test_a_once_ignored_file_is_not_an_edit_of_the_user_at_resume(scene: Scene) -> None:
    secret(scene, task("1", "test -s a.txt"), task("2", "test -s b.txt"), t2="echo c > c.txt")
    assert run(scene).exit_code == 1
    scene.write("b.txt", "by hand\n")
    resumed = resume(scene)
    assert resumed.exit_code == 0, resumed
    assert [event["paths"] for event in resumed.of("edits_committed")] == [["b.txt"]]
    check_never_committed(scene)


@pytest.mark.parametrize("words", [("undo", "1"), ("abandon",)], ids=" ".join)
def test_a_once_ignored_file_stays_when_the_work_is_undone(scene: Scene, words: tuple[str, ...]) -> None:
    secret(scene)
    done = run(scene)
    assert done.exit_code == 0, done
    command, *rest = words
    taken = scene.orchestrator(command, done.run, *rest)
    assert taken.exit_code == 0, taken
    assert not (scene.folder / "a.txt").exists()
    check_never_committed(scene)
    assert status(scene) == []
