"""Branch, index and objects that move while a run is at work, or between its attempts."""

import pytest
from e2e_kit import AGENT, Scene, task, waiting_for
from mount_kit import IN_SANDBOX, begin, resume, run, status, subjects

pytestmark = IN_SANDBOX


def test_a_commit_of_the_users_during_an_attempt_parks_and_resume_lands_on_top(scene: Scene) -> None:
    begin(scene, task("1", "test -e made.txt"), t1=f"{waiting_for('.go')}; echo made > made.txt")
    scene.write(".git/info/exclude", ".go\n")
    with scene.start("run", "plan.md", "--json", *AGENT) as living:
        living.until("attempt_started")
        scene.write("user.txt", "edited\n")
        scene.git("commit", "-q", "-a", "-m", "by the user")
        users = scene.git("rev-parse", "HEAD")
        scene.write(".go", "")
        done = living.finish()
    assert (done.exit_code, done.end["status"]) == (4, "parked"), done
    (candidate,) = [event["commit"] for event in done.of("candidate_made")]
    assert users[:12] in done.end["reason"] and candidate[:12] in done.end["reason"]
    assert scene.git("rev-parse", "work") == users
    again = resume(scene)
    assert again.exit_code == 0, again
    assert again.of("attempt_started") == []
    assert subjects(scene, "main") == ["by the user", "1: Do it"]
    assert (scene.folder / "user.txt").read_text() == "edited\n"
    assert status(scene) == []


def test_what_was_staged_during_an_attempt_parks_and_resume_lands(scene: Scene) -> None:
    begin(scene, task("1"), t1=f"{waiting_for('.go')}; echo made > made.txt")
    scene.write(".git/info/exclude", ".go\n")
    with scene.start("run", "plan.md", "--json", *AGENT) as living:
        living.until("attempt_started")
        scene.write("user.txt", "edited\n")
        scene.git("add", "user.txt")
        scene.write(".go", "")
        done = living.finish()
    assert (done.exit_code, done.end["status"]) == (4, "parked"), done
    assert "staged" in done.end["reason"]
    again = resume(scene)
    assert again.exit_code == 0, again
    assert scene.git("show", "work:user.txt") == "edited"
    assert status(scene) == []


def test_an_index_lock_of_another_program_is_named_before_anything_starts(scene: Scene) -> None:
    begin(scene, t1="echo made > made.txt")
    lock = scene.write(".git/index.lock", "")
    done = run(scene)
    assert (done.exit_code, done.stdout) == (2, b""), done
    assert str(lock) in done.err
    lock.unlink()


def test_an_index_lock_left_during_an_attempt_parks_and_resume_lands(scene: Scene) -> None:
    begin(scene, t1=f"{waiting_for('.go')}; echo made > made.txt")
    scene.write(".git/info/exclude", ".go\n")
    with scene.start("run", "plan.md", "--json", *AGENT) as living:
        living.until("attempt_started")
        lock = scene.write(".git/index.lock", "")
        scene.write(".go", "")
        done = living.finish()
    assert (done.exit_code, done.end["status"]) == (4, "parked"), done
    assert str(lock) in done.end["reason"]
    assert resume(scene).exit_code == 2
    lock.unlink()
    again = resume(scene)
    assert again.exit_code == 0, again
    assert status(scene) == []


def test_git_gc_between_attempts_removes_nothing_that_is_needed(scene: Scene) -> None:
    begin(scene, task("1"), task("2", "test -e allowed"), t1="echo 1 > 1.txt", t2="echo 2 > 2.txt")
    assert run(scene).exit_code == 1
    assert scene.orchestrator("undo", "plan.md", "1").exit_code == 0
    scene.git("reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    scene.git("gc", "-q", "--prune=now")
    scene.write("allowed", "yes\n")
    done = resume(scene)
    assert done.exit_code == 0, done
    assert subjects(scene, "main") == ["Changes by hand before task 1", "1: Do it", "2: Do it"]
    (own,) = (scene.state / "repositories").iterdir()
    # With the user's objects lent, every commit that we kept is whole.
    objects = scene.folder / ".git" / "objects"
    kept = scene.git(f"--git-dir={own}", "for-each-ref", "--format=%(objectname)").split()
    (own / "objects" / "info").mkdir(exist_ok=True)
    (own / "objects" / "info" / "alternates").write_text(f"{objects}\n")
    scene.git(f"--git-dir={own}", "fsck", "--no-dangling", *kept)


def test_a_missing_branch_is_reported_and_new_starts_over(scene: Scene) -> None:
    begin(scene, task("1", "test -e never"), t1="echo 1 > 1.txt")
    first = run(scene)
    assert first.exit_code == 1
    scene.git("switch", "-q", "main")
    scene.git("branch", "-q", "-D", "work")
    (scene.folder / "1.txt").unlink()
    done = resume(scene)
    assert (done.exit_code, done.stdout) == (2, b""), done
    assert "work" in done.err and "run --new plan.md" in done.err
    assert run(scene, "--new").exit_code == 1


def one_of_two(scene: Scene) -> str:
    """The first task has landed, the second one failed and would pass now; the commit of the first."""
    scene.write(".git/info/exclude", ".go\n")
    tasks = (task("1", "grep -q good a.txt"), task("2", "test -s b.txt"))
    begin(scene, *tasks, t1="echo good > a.txt", t2="test ! -e .go || echo b > b.txt")
    failed = run(scene)
    assert failed.exit_code == 1, failed
    scene.write(".go", "")
    (landed,) = [event["commit"] for event in failed.of("task_finished") if event["task"] == "1"]
    return str(landed)


def test_a_task_whose_commit_was_removed_from_the_branch_is_done_again(scene: Scene) -> None:
    landed = one_of_two(scene)
    scene.git("reset", "-q", "--hard", "HEAD~1")
    again = resume(scene)
    assert again.exit_code == 0, again
    assert any(landed in event["text"] and "task 1" in event["text"] for event in again.of("notice"))
    made = scene.commits("work", since=f"{landed}~1")
    assert {commit.trailers["Orchestrator-Task"] for commit in made} == {"1", "2"}
    assert (scene.git("show", "work:a.txt"), scene.git("show", "work:b.txt")) == ("good", "b")


@pytest.mark.parametrize("how", ["amended", "squashed"])
def test_a_task_whose_commit_the_user_rewrote_stays_done(scene: Scene, how: str) -> None:
    message = scene.git("show", "-s", "--format=%B", one_of_two(scene))
    words = {"amended": f"Mine\n\n{message}", "squashed": f"Two as one\n\n{message}\n\nMine too"}
    scene.git("commit", "-q", "--amend", "-m", words[how])
    mine = scene.git("rev-parse", "HEAD")
    again = resume(scene)
    assert again.exit_code == 0, again
    assert [event["task"] for event in again.of("task_finished")] == ["2"]
    assert subjects(scene, mine) == ["2: Do it"]
