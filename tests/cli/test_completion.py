"""Completion: what shells are offered, and that nothing broken ever shows."""

import os
import shutil
import subprocess  # noqa: TID251 - a shell reads the script
from pathlib import Path

import pytest
from cli_kit import environment, orchestrate, remember
from docs_kit import write_command
from run_histories import BASE_CHECKED, READY, begun, run_ended
from shell_kit import press_tab, require_shell

from orchestrator.cli.completion_command import SHELLS, render_script
from orchestrator.cli.main import COMMANDS
from orchestrator.cli.reference import commands
from orchestrator.state_folder import open_state_folder

PLAN = "# A plan\n\n## Task 7.7: Greet\n\nSay hello.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a plan, and a state folder with two runs."""
    remember((*READY, run_ended("failed")))
    remember((begun("1.2", "1.3"), BASE_CHECKED), run="other-2")
    (tmp_path / "plan.md").write_text(PLAN)
    return tmp_path


def offered(*words: str, cwd: Path) -> list[str]:
    done = orchestrate("_complete", *words, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def test_runs_are_offered_newest_first_with_plan_and_state(folder: Path) -> None:
    assert offered("runs", "status", cwd=folder) == [
        "other-2\tplans/greeting.md interrupted",
        "trial-1\tplans/greeting.md failed",
    ]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (("undo", "plan.md"), ["7.7"]),
        (("undo", "other-2"), ["1.2", "1.3"]),
        (("logs", "other", "--task"), ["1.2", "1.3"]),
        (("logs", "--task"), []),
        (("logs", "no-such-run", "--task"), []),
    ],
    ids=" ".join,
)
def test_tasks_are_those_of_the_plan_or_run_that_is_typed(
    folder: Path, words: tuple[str, ...], ids: list[str]
) -> None:
    assert [line.split("\t")[0] for line in offered("tasks", *words, cwd=folder)] == ids


@pytest.mark.parametrize("damage", ["no state folder", "no journal", "broken journal", "state is a file"])
@pytest.mark.parametrize("words", [("runs", "status"), ("tasks", "undo", "trial-1"), ("no-such-kind",), ()])
def test_a_broken_journal_offers_nothing_and_prints_nothing(
    tmp_path: Path, damage: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if damage == "broken journal":
        (open_state_folder(os.environ).path / "journal.sqlite").write_bytes(b"no database" * 100)
    elif damage == "no journal":
        open_state_folder(os.environ)
    elif damage == "state is a file":
        (tmp_path / "state").write_text("a file")
    before = sorted(map(str, tmp_path.rglob("*")))
    assert offered(*words, cwd=tmp_path) == []
    assert sorted(map(str, tmp_path.rglob("*"))) == before


@pytest.mark.parametrize("removed", ["the folder", "the code"])
def test_a_run_that_is_being_removed_is_offered_or_not_and_disturbs_nothing(
    folder: Path, removed: str
) -> None:
    runs = open_state_folder(os.environ).path / "runs"
    if removed == "the folder":
        shutil.rmtree(runs)
    else:
        (folder / "plan.md").unlink()
    assert [line.split("\t")[0] for line in offered("runs", "undo", cwd=folder)] == ["other-2", "trial-1"]
    assert [line.split("\t")[0] for line in offered("tasks", "undo", "other-2", cwd=folder)] == ["1.2", "1.3"]
    assert offered("tasks", "undo", "gone-3", cwd=folder) == []


def test_an_id_that_a_shell_would_expand_is_not_offered(tmp_path: Path) -> None:
    remember((begun("1.2", "$(touch x)", "`x`", "a b", "-x"), BASE_CHECKED), run="other-2")
    assert [line.split("\t")[0] for line in offered("tasks", "undo", "other-2", cwd=tmp_path)] == ["1.2"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_has_every_command_and_option(shell: str) -> None:
    script = render_script(shell)
    for name, _, parser in commands():
        assert name.split()[-1] in script
        for action in parser._actions:
            for option in action.option_strings:
                shown = option.lstrip("-") if shell == "fish" else option
                assert shown in script, (name, option)
    assert all(command in script for command in COMMANDS)
    assert "agent.max_turns=" in script and "git_settings" in script
    assert "_complete" in script


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_can_read_its_script(shell: str, tmp_path: Path) -> None:
    require_shell(shell)
    script = tmp_path / "script"
    script.write_text(render_script(shell))
    done = subprocess.run([shell, "-n", script], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_unknown_shell_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    done = orchestrate("completion", "tcsh", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert all(word in done.stderr.decode() for word in ("tcsh", *SHELLS))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("orchestrator resume --take", "--take-config"),
        ("orchestrator status ", "trial-1"),
        ("orchestrator undo plan.md ", "7.7"),
    ],
    ids=["option", "run", "task"],
)
def test_a_real_shell_completes(shell: str, typed: str, expected: str, folder: Path) -> None:
    require_shell(shell)
    write_command(folder / "bin")
    script = folder / "script"
    script.write_text(render_script(shell))
    environ = environment(PATH=f"{folder / 'bin'}:{os.environ['PATH']}")
    screen = press_tab(shell, script, typed, expected, cwd=folder, environ=environ)
    assert expected in screen, screen
