"""Lines that are printed before a run is certain to start, and the table of `run --base`."""

import io
import os
from pathlib import Path

import pytest
from run_histories import (
    BASE_CHECKED,
    ON_BRANCH,
    RUN,
    Entry,
    begun,
    finished,
    numbered,
    resumed,
    state_after,
    task_started,
)

from orchestrator.cli.base_progress import HeldEvents, is_progress
from orchestrator.cli.run_command import have_one_reader, print_line
from orchestrator.cli.tables import base_table
from orchestrator.run.facts import BaseChecked, Before, Fact, RunEnded, SetupStarted

SETUP = Entry(SetupStarted(commands=("make deps",), found=(), commit="c"))
SETUP_OF_AN_ATTEMPT = Entry(SetupStarted(commands=("make deps",), found=(), commit="c"), "1", 1)
REFUSED = Entry(RunEnded(status="failed", exit_code=2, reason="r", cause="base_red"))
NO_SETUP = Entry(RunEnded(status="failed", exit_code=2, reason="setup failed"))
STOPPED = Entry(RunEnded(status="interrupted", exit_code=130, reason="SIGINT"))


def checked(command: str = "suite", before: Before = "red", task: str | None = None, **more: object) -> Entry:
    given = {"gate": "guard-1", "exit_code": 1, "evidence": "e1", "seconds": 1.25, "is_guard": True}
    return Entry(BaseChecked(command=command, before=before, **{**given, **more}), task)  # type: ignore[arg-type]


BEFORE = (begun(), finished("imported", None, "2"), SETUP, checked())
HISTORIES = {
    "refused": ((*BEFORE, BASE_CHECKED, REFUSED), [], ["setup_started", "base_checked"]),
    "setup failed": (
        (begun(), SETUP, NO_SETUP),
        [],
        ["setup_started"],
    ),
    "passed": (
        (*BEFORE, BASE_CHECKED, ON_BRANCH, task_started()),
        [
            *("run_started", "task_finished", "setup_started", "base_checked"),
            *("base_run_ended", "branch_ready", "task_started"),
        ],
        ["setup_started", "base_checked"],
    ),
    "under way": (BEFORE, [], ["setup_started", "base_checked"]),
    "stopped": (
        (begun(), SETUP, STOPPED),
        ["run_started", "setup_started", "run_ended"],
        ["setup_started"],
    ),
    "resumed after its base run": (
        (resumed(), SETUP_OF_AN_ATTEMPT),
        ["run_resumed", "setup_started"],
        [],
    ),
    "resumed in its base run": (
        (resumed(), SETUP, checked(), REFUSED),
        [],
        ["setup_started", "base_checked"],
    ),
    "the end of a run that was done before": ((STOPPED,), ["run_ended"], []),
}


def receive(entries: tuple[Entry, ...], *, repeats: bool) -> tuple[list[Fact], list[Fact]]:
    shown: list[Fact] = []
    progress: list[Fact] = []
    held = HeldEvents(
        shown.append, lambda fact: progress.append(fact) if is_progress(fact) else None, repeats=repeats
    )
    for fact in numbered(entries):
        held(fact)
    return shown, progress


@pytest.mark.parametrize(("entries", "shown", "progress"), HISTORIES.values(), ids=HISTORIES)
def test_events_are_held_until_the_run_begins(
    entries: tuple[Entry, ...], shown: list[str], progress: list[str]
) -> None:
    facts, early = receive(entries, repeats=True)
    assert [fact.body.kind for fact in facts] == shown
    assert [fact.body.kind for fact in early] == progress


def test_on_one_screen_nothing_is_shown_twice() -> None:
    facts, early = receive(HISTORIES["passed"][0], repeats=False)
    assert {fact.body.kind for fact in facts}.isdisjoint(fact.body.kind for fact in early)


def test_the_table_of_the_base() -> None:
    state = state_after(
        begun(),
        checked("uv run pytest -q\nmore", "already_green", exit_code=0, reused="other/e1", age_seconds=754.0),
        checked("make check", "red", "1", gate="verify-1", evidence="e2", is_guard=False),
    )
    assert base_table(state) == (
        "task  command                       before the work                    exit  time   evidence\n"
        "────  ────────────────────────────  ─────────────────────────────────  ────  ─────  ────────\n"
        "all   uv run pytest -q … (2 lines)  passes, as it did 12 min 34 s ago  0     1.2 s  e1\n"
        "1     make check                    fails                              1     1.2 s  e2\n"
        f"run {RUN}"
    )


def test_streams_in_the_same_file_have_one_reader(tmp_path: Path) -> None:
    """As in `nohup orchestrator run plan.md >night.log 2>&1`."""
    with (tmp_path / "log").open("w") as log, (tmp_path / "other").open("w") as other:
        with os.fdopen(os.dup(log.fileno()), "w") as same:
            assert have_one_reader(log, same)
        assert not have_one_reader(log, other)
        assert not have_one_reader(log, io.StringIO())


def test_a_run_continues_without_the_reader_of_its_output() -> None:
    """As under `nohup` in a terminal that is closed: later lines, and the last flush, lead nowhere."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        for line in ("one", "two"):
            print_line(line, stream)
