"""`status` and `history` list runs, say what to do next, and fit the terminal."""

import os
import pty
import subprocess  # noqa: TID251 - the command gets a terminal of its own
import sys
from pathlib import Path

import pytest
from cli_kit import environment, orchestrate, remember
from msgspec.structs import replace
from run_histories import (
    BASE_CHECKED,
    ON_BRANCH,
    Entry,
    asked,
    attempt,
    begun,
    ended,
    finished,
    run_ended,
    state_after,
)

from orchestrator.cli.next_step import choose_run_to_continue
from orchestrator.cli.screen import width
from orchestrator.run.facts import RunStarted, RunStatus


def begun_in(folder: Path) -> tuple[Entry, ...]:
    started = begun().body
    assert isinstance(started, RunStarted)
    return (Entry(replace(started, folder=str(folder))), BASE_CHECKED, ON_BRANCH)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with a completed run, one that waits, and a newer completed one."""
    (tmp_path / ".git").mkdir()
    done = (*begun_in(tmp_path), attempt(), ended("completed"), finished(), run_ended("completed", 0))
    remember(done, run="oldest-1")
    remember((*begun_in(tmp_path), attempt(), asked(), run_ended("waiting", 3)), run="asks-2")
    remember(done, run="newest-3")
    return tmp_path


@pytest.mark.parametrize("command", ["status", "history"])
def test_a_list_ends_with_the_next_step_of_the_run_that_needs_the_user(folder: Path, command: str) -> None:
    done = orchestrate(command, cwd=folder)
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["newest-3", "asks-2", "oldest-1"]
    assert done.stderr.decode() == "next: orchestrator resume asks-2 -g TEXT\n"


def test_a_limit_says_how_many_are_not_shown(folder: Path) -> None:
    done = orchestrate("history", "--limit", "1", cwd=folder)
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 3 and lines[2].startswith("newest-3")
    assert done.stderr.decode() == (
        "2 older runs not shown (--limit 1)\nnext: git diff base0...milestone/greeting\n"
    )


@pytest.mark.parametrize(
    ("words", "printed", "hint"),
    [
        (("status",), "no runs yet\n", "To start one: orchestrator run PLAN\n"),
        (("history",), "no runs\n", "To start one: orchestrator run PLAN\n"),
        (("history", "--name", "x"), "no runs with x\n", "To list all runs: orchestrator history\n"),
    ],
)
def test_an_empty_list_says_what_to_do(
    tmp_path: Path, words: tuple[str, ...], printed: str, hint: str
) -> None:
    done = orchestrate(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, printed, hint)


ORDER: list[tuple[list[RunStatus], int | None]] = [
    (["completed", "failed", "waiting", "parked"], 2),
    (["completed", "running", "interrupted"], 2),
    (["cancelled", "running", "completed"], 1),
    (["cancelled", "completed"], 0),
    ([], None),
]


@pytest.mark.parametrize(("statuses", "chosen"), ORDER)
def test_which_run_a_list_is_about(statuses: list[RunStatus], chosen: int | None) -> None:
    runs = [(replace(state_after(begun()), run=str(n)), status) for n, status in enumerate(statuses)]
    assert choose_run_to_continue(runs) == (None if chosen is None else str(chosen))


@pytest.mark.parametrize("words", [("status",), ("history",), ("status", "asks-2")])
@pytest.mark.parametrize("columns", [20, 80])
def test_on_a_terminal_tables_fit(folder: Path, words: tuple[str, ...], columns: int) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "orchestrator.cli.main", *words]
    environ = environment(COLUMNS=str(columns))
    done = subprocess.run(argv, cwd=folder, env=environ, stdin=theirs, stdout=theirs, timeout=60)
    os.close(theirs)
    screen = b""
    try:
        while piece := os.read(ours, 65536):
            screen += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    lines = screen.decode().splitlines()
    rows = [
        line for line in lines if not line.startswith(("next: ", "run asks-2 ", "Replace ", "in total: "))
    ]
    assert done.returncode == 0 and len(rows) > 3
    assert max(map(width, rows)) <= max(columns, len("  2025-01-01 01:00 CET")), rows
