"""Changes that the user makes before and between attempts keep their author, and none of them is lost."""

import re

import pytest
from e2e_kit import Scene, task
from mount_kit import IN_SANDBOX, begin, names, resume, run, status, subjects

pytestmark = IN_SANDBOX

WRONG = "echo wrong > made.txt; echo more > more.txt; rm -f gone.txt"
RIGHT = ("grep -qx right made.txt",)
BY_HAND = "Changes by hand before task 1"


@pytest.fixture
def failed(scene: Scene) -> Scene:
    """A run whose one task failed its gate; the agent's files are in the folder."""
    scene.write("gone.txt", "goes\n")
    begin(scene, task("1", *RIGHT), t1=WRONG)
    assert run(scene).exit_code == 1
    return scene


def test_the_files_of_a_failed_attempt_stay_in_the_folder(failed: Scene) -> None:
    assert status(failed) == [" D gone.txt", "?? made.txt", "?? more.txt"]
    assert failed.git("rev-parse", "work") == failed.git("rev-parse", "main")


def test_work_that_the_user_fixed_needs_no_agent(failed: Scene) -> None:
    failed.write("made.txt", "right\n")
    done = resume(failed)
    assert done.exit_code == 0, done
    assert done.of("attempt_started") == []
    assert subjects(failed, "main") == ["1: Do it"]
    assert "With changes by hand to: made.txt\n" in failed.git("log", "-1", "--format=%B")
    assert status(failed) == []


def test_all_kinds_of_edits_become_a_commit_of_the_users_own(failed: Scene) -> None:
    failed.write("made.txt", "right\n")
    failed.write("user.txt", "edited\n")
    failed.write("new/file.txt", "new\n")
    failed.git("mv", "old.txt", "renamed.txt")
    failed.write("staged.txt", "staged\n")
    failed.git("add", "staged.txt", "made.txt")
    (failed.folder / "agent.sh").chmod(0o755)
    failed.write("plan.md", (failed.folder / "plan.md").read_text() + "\nA note of the user's.\n")
    done = resume(failed)
    assert done.exit_code == 0, done
    assert done.of("attempt_started") == []
    assert subjects(failed, "main") == [BY_HAND, "1: Do it"]
    assert names(failed, "work^") == {
        "user.txt": "M",
        "new/file.txt": "A",
        "old.txt": "D",
        "renamed.txt": "A",
        "staged.txt": "A",
        "agent.sh": "M",
        "plan.md": "M",
    }
    assert "Orchestrator-" not in failed.git("log", "-1", "--format=%B", "work^")
    assert "With changes by hand to: made.txt\n" in failed.git("log", "-1", "--format=%B")
    assert status(failed) == []


def test_staged_content_that_was_changed_again_is_saved_and_named(failed: Scene) -> None:
    failed.write("user.txt", "staged words\n")
    failed.git("add", "user.txt")
    failed.write("user.txt", "later words\n")
    failed.write("made.txt", "right\n")
    done = resume(failed)
    assert done.exit_code == 0, done
    assert failed.git("show", "work^:user.txt") == "later words"
    texts = [each["text"] for each in done.of("notice")]
    assert any("staged changes are kept" in text and "user.txt" in text for text in texts)
    assert b"staged words\n" in staged_versions(failed)


def staged_versions(scene: Scene) -> list[bytes]:
    """`user.txt` in every commit of staged content that our own repository keeps."""
    (own,) = (scene.state / "repositories").iterdir()
    where = f"--git-dir={own}"
    kept = scene.git(where, "for-each-ref", "--format=%(objectname)", "refs/ktrdr/staged").split()
    return [scene.try_git(where, "cat-file", "blob", f"{commit}:user.txt").stdout for commit in kept]


def test_edits_that_the_user_committed_are_not_committed_again(failed: Scene) -> None:
    failed.write("user.txt", "edited\n")
    failed.write("made.txt", "right\n")
    failed.git("add", "user.txt", "made.txt")
    failed.git("commit", "-q", "-m", "by the user")
    done = resume(failed)
    assert done.exit_code == 0, done
    assert subjects(failed, "main") == ["by the user", "1: Do it"]
    assert status(failed) == []


def test_a_folder_that_became_a_file_and_a_folder_again_is_committed(scene: Scene) -> None:
    scene.write("shape/one.txt", "1\n")
    scene.write("flat", "2\n")
    begin(scene, task("1", *RIGHT), t1=WRONG)
    run(scene)
    scene.git("rm", "-q", "-r", "shape", "flat")
    scene.write("shape", "a file now\n")
    scene.write("flat/two.txt", "a folder now\n")
    scene.write("made.txt", "right\n")
    done = resume(scene)
    assert done.exit_code == 0, done
    assert names(scene, "work^") == {"flat": "D", "flat/two.txt": "A", "shape": "A", "shape/one.txt": "D"}
    assert status(scene) == []


def test_edits_to_files_of_an_attempt_are_named_even_after_another_attempt(scene: Scene) -> None:
    begin(scene, task("1", *RIGHT), t1="test -e made.txt && echo right > made.txt; echo x >> made.txt")
    run(scene)
    scene.write("made.txt", "half right\n")
    scene.write("agent.sh", (scene.folder / "agent.sh").read_text().replace("echo x >> made.txt", "true"))
    done = resume(scene)
    assert done.exit_code == 0, done
    assert len(done.of("attempt_started")) == 1
    (kept,) = [re.search(r"git --git-dir=(\S+) show (\w+):FILE", each["text"]) for each in done.of("notice")]
    assert kept is not None
    assert scene.git(f"--git-dir={kept[1]}", "show", f"{kept[2]}:made.txt") == "half right"
    assert subjects(scene, "main") == [BY_HAND, "1: Do it"]
    assert "With changes by hand to: made.txt\n" in scene.git("log", "-1", "--format=%B")


def test_the_users_edits_of_the_hand_off_document_stay(scene: Scene) -> None:
    begin(scene, task("1"), task("2", "test -e allowed.txt"), t1="echo 1 > one.txt", t2="echo 2 > two.txt")
    assert run(scene).exit_code == 1
    text = (scene.folder / "HANDOFF_plan.md").read_text()
    scene.write("HANDOFF_plan.md", text + "\nBeware of the dog.\n")
    scene.write("allowed.txt", "yes\n")
    done = resume(scene)
    assert done.exit_code == 0, done
    assert "Beware of the dog." in (scene.folder / "HANDOFF_plan.md").read_text()
    assert status(scene) == []


def test_a_run_is_refused_over_uncommitted_changes(scene: Scene) -> None:
    begin(scene, t1="echo made > made.txt")
    scene.write("user.txt", "edited\n")
    scene.write("notes.txt", "loose\n")
    before = scene.picture()
    done = run(scene)
    assert (done.exit_code, done.stdout) == (2, b""), done
    assert "notes.txt, user.txt" in done.err and "--allow-dirty" in done.err
    assert scene.picture() == before


def test_allow_dirty_commits_changes_first_and_abandon_keeps_them(scene: Scene) -> None:
    base = begin(scene, t1="echo made > made.txt")
    scene.write("user.txt", "edited\n")
    scene.write("notes.txt", "loose\n")
    scene.git("add", "notes.txt")
    done = run(scene, "--allow-dirty")
    assert done.exit_code == 0, done
    assert subjects(scene, base) == [f"Changes before run {done.run}", "1: Do it"]
    assert names(scene, "work^") == {"user.txt": "M", "notes.txt": "A"}
    abandoned = scene.orchestrator("abandon", done.run)
    assert abandoned.exit_code == 0, abandoned
    assert subjects(scene, base) == [f"Changes before run {done.run}"]
    assert (scene.folder / "user.txt").read_text() == "edited\n"
    assert not (scene.folder / "made.txt").exists()
    assert status(scene) == []


def test_guidance_reaches_the_agent_of_a_resumed_run(scene: Scene) -> None:
    begin(scene, task("1", "grep -q 'Mind the ga[p]' prompt.txt"), t1="cat > prompt.txt")
    assert run(scene).exit_code == 1
    done = resume(scene, "-g", "Mind the gap, please.")
    assert done.exit_code == 0, done
    assert len(done.of("attempt_started")) == 1


def test_a_fix_that_was_staged_lands(failed: Scene) -> None:
    failed.write("made.txt", "right\n")
    failed.git("add", "-A")
    done = resume(failed)
    assert done.exit_code == 0, done
    assert subjects(failed, "main") == ["1: Do it"]
    assert status(failed) == []


def test_the_users_fix_for_the_scenario_is_committed_before_it_runs_again(scene: Scene) -> None:
    begin(scene, t1="echo made > made.txt")
    scene.write(
        "plan.md", (scene.folder / "plan.md").read_text() + "\n## E2E Test\n```bash\ntest -s e2e.txt\n```\n"
    )
    scene.git("commit", "-q", "-a", "-m", "a scenario")
    assert run(scene).exit_code == 1
    scene.write("e2e.txt", "by hand\n")
    done = resume(scene)
    assert done.exit_code == 0, done
    assert [event["paths"] for event in done.of("edits_committed")] == [["e2e.txt"]]
    assert subjects(scene, "main")[-1] == "Changes by hand before the end-to-end scenario"
    assert status(scene) == []


def test_an_attempt_that_replaces_the_plan_is_reported(scene: Scene) -> None:
    begin(scene, t1="rm plan.md; ln -s /etc/passwd plan.md; echo made > made.txt")
    done = run(scene)
    assert done.exit_code == 0, done
    assert any("the attempt changed plan.md" in event["text"] for event in done.of("notice"))


def test_a_configuration_that_an_attempt_makes_is_part_of_its_work_and_reported(scene: Scene) -> None:
    makes = "printf '[verify]\\nbuild = [\"true\"]\\n' > orchestrator.toml"
    begin(scene, t1=makes)
    done = run(scene)
    assert done.exit_code == 0, done
    assert any("the attempt changed orchestrator.toml" in event["text"] for event in done.of("notice"))
    assert "orchestrator.toml" in scene.git("ls-tree", "--name-only", "work").splitlines()
    assert status(scene) == []


@pytest.mark.parametrize("content", ["gar[bage", "[environment]\nrequired_files = ['nope']\n"])
def test_a_configuration_that_an_attempt_broke_stops_neither_resume_nor_abandon(
    scene: Scene, content: str
) -> None:
    spoils = f'echo 2 > 2.txt; printf "%s" "{content}" > orchestrator.toml; test -e ../fixed && exit 1'
    begin(scene, task("1"), task("2", "test -e wrong.txt"), t1="echo 1 > 1.txt", t2=spoils)
    scene.write("orchestrator.toml", "[limits]\nattempts = 1\n")
    scene.commit()
    assert run(scene).exit_code == 1
    resumed = resume(scene)
    assert (resumed.exit_code, len(resumed.of("attempt_started"))) == (1, 1), resumed
    abandoned = scene.orchestrator("abandon", "plan.md")
    assert abandoned.exit_code == 0, abandoned
    assert (scene.folder / "orchestrator.toml").read_text() == "[limits]\nattempts = 1\n"


MAKES = "mkdir kit; echo 1 > kit/one.txt; echo junk > junk.txt; seq 90 > long.txt; echo more >> user.txt"
FIXED = ("test -f kit && test -f named.txt/long && ! test -e junk.txt && test -x tool.sh",)


def test_what_the_user_renames_removes_or_turns_into_a_folder_stays_with_the_task(scene: Scene) -> None:
    """The agent's work under another name is still the agent's, and nothing of it is lost."""
    begin(scene, task("1", *FIXED), t1=f"{MAKES}; echo tool > tool.sh")
    assert run(scene).exit_code == 1
    (scene.folder / "kit" / "one.txt").unlink()
    (scene.folder / "kit").rmdir()
    scene.write("kit", "a file now\n")
    (scene.folder / "junk.txt").unlink()
    (scene.folder / "named.txt").mkdir()
    (scene.folder / "long.txt").rename(scene.folder / "named.txt" / "long")
    scene.git("checkout", "user.txt")
    (scene.folder / "tool.sh").chmod(0o755)
    scene.write("notes.txt", "the user's alone\n")
    done = resume(scene)
    assert done.exit_code == 0, done
    assert names(scene, "work^") == {"notes.txt": "A"}
    theirs = {path: letter for path, letter in names(scene, "work").items() if "HANDOFF" not in path}
    assert theirs == {"kit": "A", "named.txt/long": "A", "tool.sh": "A"}
    (says,) = (
        line for line in scene.git("log", "-1", "--format=%B").splitlines() if line.startswith("With changes")
    )
    named = says.removeprefix("With changes by hand to: ").split(", ")
    assert named == [
        "junk.txt", "kit", "kit/one.txt", "long.txt", "named.txt/long", "tool.sh", "user.txt",
    ]  # fmt: skip
    (saved,) = (each["text"] for each in done.of("notice") if "the same files" in each["text"])
    assert "named.txt/long" in saved
    assert status(scene) == []
