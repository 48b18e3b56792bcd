"""`undo`: what it lists, what it spares, and the user's changes that the run had committed."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.cli.undo_command import print_result
from orchestrator.commands.undo import UndoRequest, UndoResult, undo
from orchestrator.testing.agent import ScriptedAgent, reports, writes
from orchestrator.testing.project import PLAN, TemporaryProject

ONE = "[limits]\nattempts = 1\n"
FAILS = (writes("wrong.txt", "wrong\n"), writes("both.txt", "wrong\n"), reports("failed", summary="Hard."))


@contextmanager
def stopped_at_task_2(folder: Path) -> Iterator[TemporaryProject]:
    """Task 1 has landed, and the files of a failed attempt at task 2 are in the folder."""
    agent = ScriptedAgent({("2", 1): FAILS})
    with TemporaryProject(folder, agent=agent, tasks=("1", "2"), settings=ONE) as project:
        for name in ("user.txt", "both.txt"):
            (project.folder / name).write_text("first\n")
        project.git("add", "-A")
        project.git("commit", "-q", "-m", "files")
        assert project.run().exit_code == 1
        yield project


def undo_1(project: TemporaryProject) -> tuple[UndoResult, list[str]]:
    said: list[str] = []
    request = UndoRequest(run=PLAN, task="1")
    return project.do(undo(project.host, request, say=said.append)), said


def test_edits_after_a_failed_attempt_are_spared_and_every_other_file_is_listed(tmp_path: Path) -> None:
    with stopped_at_task_2(tmp_path) as project:
        (project.folder / "user.txt").write_text("edited\n")
        (project.folder / "both.txt").write_text("edited too\n")
        (project.folder / "loose.txt").write_text("mine\n")
        result, said = undo_1(project)
        assert (project.folder / "user.txt").read_text() == "edited\n"
        assert (project.folder / "loose.txt").read_text() == "mine\n"
        assert (project.folder / "both.txt").read_text() == "first\n", "an attempt had changed it"
        assert not (project.folder / "wrong.txt").exists()
        assert project.git("show", f"{result.saved[0]}:both.txt") == "edited too"
        changed = [f"  {line}" for line in ("remove task-1.txt", "remove wrong.txt", "change both.txt")]
        spared = said.index("Files that stay as you left them:")
        assert said[0] == f"Files that go back to {result.target[:12]}:"
        assert {*changed, "  remove HANDOFF_plan.md"} == set(said[1:spared])
        assert said[spared + 1 :] == ["  loose.txt", "  user.txt"]
        assert result.uncommitted == ("both.txt", "wrong.txt")


def test_an_edit_of_a_file_of_the_task_is_named_with_the_command_that_restores_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stopped_at_task_2(tmp_path) as project:
        (project.folder / "task-1.txt").write_text("reviewed\n")
        result, _ = undo_1(project)
        assert not (project.folder / "task-1.txt").exists()
        print_result(result)
        lines = capsys.readouterr().out.splitlines()
        (restore,) = [line.partition(": ")[2] for line in lines if line.startswith("task-1.txt had changes")]
        project.git(*shlex.split(restore)[1:])
        assert (project.folder / "task-1.txt").read_text() == "reviewed\n"


def test_changes_by_hand_that_the_run_committed_are_part_of_the_stack(tmp_path: Path) -> None:
    with stopped_at_task_2(tmp_path) as project:
        (project.folder / "user.txt").write_text("edited\n")
        assert project.resume().exit_code == 0
        assert "Changes by hand before task 2" in project.git("log", "--format=%s").splitlines()
        result, _ = undo_1(project)
        (edit,) = result.edits
        assert project.git("log", "-1", "--format=%s", edit).strip() == "Changes by hand before task 2"
        assert (project.folder / "user.txt").read_text() == "first\n"
        project.git("cherry-pick", edit)
        assert (project.folder / "user.txt").read_text() == "edited\n"
