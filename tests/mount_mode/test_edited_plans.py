"""A plan that was edited while its run was not finished: the user's edit counts, an attempt's does not."""

import signal

import pytest
from e2e_kit import AGENT, Done, Scene, bash, outcome, plan, script, task
from mount_kit import agent, begin, check_sound, resume, run, status, subjects

pytestmark = pytest.mark.docker

MAKES = {f"t{n}": f"echo {n} >> {n}.txt" for n in (1, 2, 3)}


def edit(scene: Scene, old: str, new: str) -> None:
    plan = scene.folder / "plan.md"
    text = plan.read_text()
    assert old in text
    plan.write_text(text.replace(old, new))


def started(done: Done) -> list[tuple[str, int]]:
    return [(event["task"], event["attempt"]) for event in done.of("attempt_started")]


def statuses(scene: Scene) -> dict[str, str]:
    return {shown["task"]: shown["status"] for shown in scene.status("plan.md")["tasks"]}


def begin_with_a_wrong_command(scene: Scene) -> Done:
    begin(scene, task("1"), task("2", "test -e wrong.txt"), **MAKES)
    failed = run(scene)
    assert (failed.exit_code, started(failed)) == (1, [("1", 1), ("2", 1)])
    return failed


@pytest.mark.parametrize("words", [("resume", "--json"), ("run", "plan.md", "--json")], ids=["resume", "run"])
def test_a_corrected_command_runs_on_the_present_tree(scene: Scene, words: tuple[str, ...]) -> None:
    failed = begin_with_a_wrong_command(scene)
    edit(scene, "test -e wrong.txt", "test -s 2.txt")
    done = scene.orchestrator(*words)
    assert (done.exit_code, done.run, started(done)) == (0, failed.run, []), done
    (taken,) = done.of("plan_taken")
    assert [entry["id"] for entry in taken["tasks"]] == ["1", "2"]
    assert [(each["task"], each["before"]) for each in done.of("base_checked")] == [("2", "red")]
    assert subjects(scene, "main")[-1] == "2: Do it"
    assert status(scene) == []
    check_sound(scene)
    again = run(scene)
    assert (again.exit_code, again.events) == (0, again.of("run_ended"))


def test_tasks_are_added_and_removed_and_the_plan_is_edited_again(scene: Scene) -> None:
    begin(scene, task("1"), task("2", "test -e wrong.txt"), task("3"), **MAKES)
    scene.write(
        "agent.sh", agent({**{k.removeprefix("t"): v for k, v in MAKES.items()}, "4": "echo > 4.txt"})
    )
    scene.commit()
    run(scene)
    edit(scene, task("3"), task("4", "test -e 5.txt"))
    first = resume(scene)
    assert (first.exit_code, statuses(scene)) == (1, {"1": "completed", "2": "failed", "4": "pending"})
    edit(scene, "test -e wrong.txt", "true")
    edit(scene, "test -e 5.txt", "test -e 4.txt")
    second = resume(scene)
    assert (second.exit_code, statuses(scene)) == (0, dict.fromkeys(("1", "2", "4"), "completed")), second
    assert started(second) == [("4", 1)]


def test_a_finished_task_that_was_edited_is_kept_or_done_again(scene: Scene) -> None:
    failed = begin_with_a_wrong_command(scene)
    edit(scene, "Task 1: Do it", "Task 1: Do it well")
    before = scene.picture()
    doubt = resume(scene)
    assert (doubt.exit_code, doubt.stdout) == (2, b"")
    assert f"resume {failed.run} --keep 1" in doubt.err and "--redo 1" in doubt.err
    assert scene.picture() == before
    kept = resume(scene, "--keep", "1")
    assert (kept.exit_code, started(kept)) == (1, [("2", 2)])
    assert statuses(scene) == {"1": "completed", "2": "failed"}
    scene.git("stash", "-u")
    edit(scene, "test -e wrong.txt", "true")
    redone = resume(scene, "--redo", "1")
    # The stash took what the failed task had left, so its agent has to do it again.
    assert (redone.exit_code, started(redone)) == (0, [("1", 2), ("2", 3)]), redone
    assert subjects(scene, "main").count("1: Do it well") == 1


def test_undo_of_a_redone_task_removes_its_earlier_commit_too(scene: Scene) -> None:
    begin_with_a_wrong_command(scene)
    scene.git("stash", "-u")
    redone = resume(scene, "--redo", "1")
    assert (redone.exit_code, started(redone)) == (1, [("1", 2), ("2", 2)]), redone
    assert subjects(scene, "main") == ["1: Do it", "1: Do it"]
    undone = scene.orchestrator("undo", "plan.md", "1")
    assert (undone.exit_code, subjects(scene, "main")) == (0, ["1: Do it"]), undone
    abandoned = scene.orchestrator("abandon", "plan.md")
    assert (abandoned.exit_code, subjects(scene, "main")) == (0, []), abandoned
    check_sound(scene)


def test_the_agent_reads_an_edited_task_in_a_new_session(scene: Scene) -> None:
    steps = [bash("echo again >> made.txt"), outcome()]
    check = "test $(wc -l < made.txt) -ge 2"
    scene.commit(plan__md=plan(task("1", check)), model__json=script(t1=steps))
    first = scene.run("-c", "gateway.scripted=model.json", "-c", "limits.attempts=1")
    assert first.exit_code == 1, first
    edit(scene, "Do it", "Do it twice")
    done = resume(scene)
    assert done.exit_code == 0, done
    (before,), (after,) = first.of("attempt_started"), done.of("attempt_started")
    assert before["session"] != after["session"]
    prompt = (scene.attempt(done.run, "1", 2) / "in" / "prompt.md").read_text()
    assert "Task 1: Do it twice" in prompt
    assert check in prompt


def test_a_ticked_task_is_accepted_as_done_and_not_started(scene: Scene) -> None:
    begin(scene, task("1"), task("2", "test -e wrong.txt"), task("3"), **MAKES)
    run(scene)
    edit(scene, "- [ ] done", "- [x] done")
    edit(scene, "## Task 3: Do it", "## Task 3: Do it ✅")
    edit(scene, "test -e wrong.txt", "true")
    done = resume(scene)
    assert (done.exit_code, started(done)) == (0, []), done
    assert statuses(scene) == {"1": "completed", "2": "completed", "3": "imported"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--keep", "9"), "task 9 of run"),
        (("--redo", "2"), "task 2 of run"),
        (("--keep", "1", "--redo", "1"), "both kept and redone"),
    ],
)
def test_keep_and_redo_refuse_tasks_that_they_do_not_fit(
    scene: Scene, words: tuple[str, ...], says: str
) -> None:
    begin_with_a_wrong_command(scene)
    refused = resume(scene, *words)
    assert (refused.exit_code, refused.stdout) == (2, b"")
    assert says in refused.err


def test_a_plan_without_a_started_task_and_an_unreadable_plan_are_refused(scene: Scene) -> None:
    begin_with_a_wrong_command(scene)
    edit(scene, "## Task 2", "## Task 3")
    gone = resume(scene)
    assert (gone.exit_code, gone.stdout) == (2, b"")
    assert "task 2 was started, but is no longer in the plan" in gone.err
    edit(scene, "## Task 3", "## Task 1")
    twice = resume(scene)
    assert (twice.exit_code, twice.stdout) == (2, b"")
    assert "plan.md:" in twice.err


def test_a_plan_that_an_attempt_changed_is_not_used_and_reported(scene: Scene) -> None:
    easy = "sed -i 's/test -e wrong.txt/true/' plan.md; echo 2 > 2.txt"
    begin(scene, task("1"), task("2", "test -e wrong.txt"), t1="echo 1 > 1.txt", t2=easy)
    assert run(scene).exit_code == 1
    done = resume(scene)
    assert done.exit_code == 1
    assert done.of("plan_taken") == []
    assert any("plan.md differs from this run's plan" in event["text"] for event in done.of("notice"))
    edit(scene, "# Milestone 1", "# Milestone 2")
    mine = resume(scene)
    assert (mine.exit_code, len(mine.of("plan_taken"))) == (0, 1), mine


def test_an_edit_during_an_interrupted_attempt_waits_for_the_next_resume(scene: Scene) -> None:
    begin(scene, task("1", "test -e wrong.txt"), t1="echo 1 > 1.txt; until test -e go; do sleep 0.1; done")
    with scene.start("run", "plan.md", "--json", *AGENT, "-c", "limits.attempts=1") as command:
        command.until("attempt_started")
        command.send(signal.SIGKILL)
        command.finish()
    edit(scene, "test -e wrong.txt", "test -s 1.txt")
    scene.write("go", "")
    first = resume(scene)
    assert (first.exit_code, first.of("plan_taken")) == (1, []), first
    edit(scene, "# Milestone 1", "# Milestone 2")
    assert resume(scene).exit_code == 0


@pytest.mark.parametrize("first", ["redone", "new"])
def test_files_that_a_failed_attempt_left_are_neither_the_next_tasks_nor_the_users(
    scene: Scene, first: str
) -> None:
    begin_with_a_wrong_command(scene)
    if first == "new":
        edit(scene, "## Task 2", task("3") + "## Task 2")
    done = resume(scene, *(["--redo", "1"] if first == "redone" else []))
    assert started(done) == [("1", 2) if first == "redone" else ("3", 1), ("2", 2)], done
    assert [event["task"] for event in done.of("notice") if "set aside" in event["text"]] == ["2"]
    assert "2.txt" not in scene.git("log", "--name-only", "--format=", "work")
    assert (scene.folder / "2.txt").exists()


def test_redo_is_refused_while_an_attempt_has_no_end(scene: Scene) -> None:
    begin(
        scene,
        task("1"),
        task("2"),
        t1="echo 1 >> 1.txt",
        t2="echo 2 > 2.txt; until test -e go; do sleep 0.1; done",
    )
    with scene.start("run", "plan.md", "--json", *AGENT) as command:
        command.until("attempt_started", task="2")
        command.send(signal.SIGKILL)
        command.finish()
    refused = resume(scene, "--redo", "1")
    assert (refused.exit_code, refused.stdout) == (2, b"")
    assert "was interrupted in the middle of a task" in refused.err
    scene.write("go", "")
    assert resume(scene).exit_code == 0


def test_a_redone_commit_that_the_user_removes_is_not_replaced_by_the_earlier_one(scene: Scene) -> None:
    begin(scene, task("1"), task("2", "test -e wrong.txt"), t1="echo 1 >> 1.txt", t2="true")
    run(scene)
    redone = resume(scene, "--redo", "1")
    assert subjects(scene, "main") == ["1: Do it", "1: Do it"], redone
    scene.git("reset", "--hard", "-q", "HEAD~1")
    again = resume(scene)
    assert any("task 1 is pending again" in event["text"] for event in again.of("notice")), again
    assert ("1", 3) in started(again)


def test_a_new_run_reports_that_its_plan_was_left_by_an_attempt(scene: Scene) -> None:
    begin(scene, task("1", "test -s 1.txt"), t1="echo 1 > 1.txt; sed -i 's/test -s 1.txt/true/' plan.md")
    assert run(scene).exit_code == 0
    again = run(scene)
    assert any("was last changed by an attempt of run" in event["text"] for event in again.of("notice")), (
        again
    )
