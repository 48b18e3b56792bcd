"""Tasks that a command carries out: all, some, from one on, one, or everything again."""

import pytest
from e2e_kit import AGENT, Done, Scene, task
from mount_kit import IN_SANDBOX, ONCE, begin, resume, run, subjects

pytestmark = IN_SANDBOX

MAKES = {f"t{n}": f"echo {n} >> {n}.txt" for n in (1, 2, 3)}


def started(done: Done) -> list[str]:
    return [event["task"] for event in done.of("attempt_started")]


def statuses(scene: Scene) -> list[str]:
    return [shown["status"] for shown in scene.status("plan.md")["tasks"]]


def test_some_tasks_then_one_then_the_rest(scene: Scene) -> None:
    begin(scene, task("1"), task("2", depends="1"), task("3", depends="2"), **MAKES)
    first = run(scene, "--only", "1")
    assert (first.exit_code, started(first), statuses(scene)) == (
        0,
        ["1"],
        ["completed", "skipped", "skipped"],
    )
    second = scene.orchestrator("task", "plan.md", "2", "--json", *AGENT)
    assert (second.exit_code, started(second), statuses(scene)) == (
        0,
        ["2"],
        ["imported", "completed", "skipped"],
    )
    rest = run(scene)
    assert (rest.exit_code, started(rest), statuses(scene)) == (
        0,
        ["3"],
        ["imported", "imported", "completed"],
    )
    assert subjects(scene, "main") == ["1: Do it", "2: Do it", "3: Do it"]


REFUSED = {
    "--only": ("run", "plan.md", "--only", "2"),
    "--from": ("run", "plan.md", "--from", "2"),
    "task": ("task", "plan.md", "2"),
    "none at all": ("run", "plan.md", "--from", "2", "--only", "1"),
    "an unknown one": ("task", "plan.md", "9"),
}


@pytest.mark.parametrize("words", REFUSED.values(), ids=REFUSED)
def test_a_task_whose_dependencies_are_neither_finished_nor_included_is_refused(
    scene: Scene, words: tuple[str, ...]
) -> None:
    begin(scene, task("1"), task("2", depends="1"), **MAKES)
    done = scene.orchestrator(*words, "--json", *AGENT)
    assert (done.exit_code, done.stdout) == (2, b""), done
    assert any(said in done.err for said in ("task 1", "tasks: 1, 2", "no task is selected")), done
    assert not scene.ever_started()


def test_from_leaves_out_what_comes_before_and_an_unfinished_run_with_other_tasks_is_named(
    scene: Scene,
) -> None:
    begin(scene, task("1"), task("2", "test -e never", depends="none"), task("3"), **MAKES)
    done = run(scene, "--from", "2")
    assert (done.exit_code, started(done), statuses(scene)) == (1, ["2"], ["skipped", "failed", "pending"])
    other = run(scene, "--only", "3")
    assert (other.exit_code, other.stdout) == (2, b""), other
    assert f"orchestrator resume {done.run}" in other.err and "run --new" in other.err


def test_new_starts_over_and_the_unfinished_run_is_cancelled(scene: Scene) -> None:
    begin(scene, task("1"), task("2", "test -e allowed"), **MAKES)
    first = run(scene)
    assert first.exit_code == 1
    scene.git("add", "-A")
    scene.git("commit", "-q", "-m", "by the user, what the attempt left too")
    scene.commit(allowed="yes\n")
    second = run(scene, "--new")
    assert second.exit_code == 0, second
    assert started(second) == ["1", "2"]
    assert second.run != first.run
    assert scene.status(first.run)["status"] == "cancelled"
    assert scene.orchestrator("resume", first.run).exit_code == 2
    assert run(scene).of("attempt_started") == []


def test_resume_continues_the_only_unfinished_run_and_lists_several(scene: Scene) -> None:
    begin(scene, task("1", "test -e allowed"), **MAKES)
    scene.write("other.md", (scene.folder / "plan.md").read_text().replace("`work`", "`main`"))
    scene.git("add", "-A")
    scene.git("commit", "-q", "-m", "another plan")
    assert resume(scene).exit_code == 2
    first = run(scene, plan="other.md")
    assert first.exit_code == 1, first
    scene.git("stash", "-q", "-u")
    second = run(scene)
    assert second.exit_code == 1, second
    done = resume(scene)
    assert (done.exit_code, done.stdout) == (2, b""), done
    assert first.run in done.err and second.run in done.err
    scene.write("allowed", "yes\n")
    assert scene.orchestrator("resume", "plan.md", "--json", *ONCE).exit_code == 0


def test_changes_that_cannot_be_committed_are_refused_before_an_unfinished_run_is_cancelled(
    scene: Scene,
) -> None:
    begin(scene, task("1", "test -e never"), **MAKES)
    unfinished = run(scene)
    scene.write("s/git~1", "x\n")
    refused = run(scene, "--new", "--allow-dirty")
    assert (refused.exit_code, refused.stdout) == (2, b""), refused
    assert "cannot be committed" in refused.err and "git~1" in refused.err
    assert scene.status(unfinished.run)["status"] == "failed"
    (scene.folder / "s" / "git~1").unlink()
    assert resume(scene).run == unfinished.run
