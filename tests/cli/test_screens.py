"""Whole screens of the live view, in each state and four sizes, as an emulator of a terminal shows them.

The files in `screens/` are what a user sees: read them as one when they change. `KTRDR_WRITE_SCREENS=1`
writes them again.
"""

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from emulator import Screen
from msgspec.structs import replace
from run_histories import (
    BASE_CHECKED,
    READY,
    Entry,
    answered,
    asked,
    attempt,
    begun,
    candidate,
    ended,
    finished,
    gate,
    gate_started,
    landing,
    numbered,
    run_ended,
    state_after,
    task_started,
)

from orchestrator.cli.live_view import LiveView
from orchestrator.cli.tables import View, run_table
from orchestrator.cli.terminal import ASCII_SIGNS, Keyboard
from orchestrator.clock import SystemClock
from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptStarted,
    BaseChecked,
    Notice,
    RunWaiting,
    SetupEnded,
    SetupStarted,
    StillRunning,
)

STORED = Path(__file__).parent / "screens"
WRITE = "KTRDR_WRITE_SCREENS" in os.environ
SIZES = ((60, 20), (100, 24), (200, 24), (20, 5))
CET = timezone(timedelta(hours=1), "CET")


class Stopped(SystemClock):
    """It is always one minute after the start of the run."""

    def now(self) -> datetime:
        return datetime(2025, 1, 1, 0, 1, tzinfo=UTC)


class Keys(Keyboard):
    def __init__(self) -> None:
        super().__init__(-1)

    def silence(self) -> None:
        pass

    def restore(self) -> None:
        pass

    def forget_typed(self) -> None:
        pass


def limited() -> Entry:
    body = attempt().body
    assert isinstance(body, AttemptStarted)
    return Entry(replace(body, limit_seconds=3600), "1", 1)


def says(text: str) -> Entry:
    return Entry(AgentText(text=text), "1", 1)


START = (begun("1", "2", "3"), *READY[1:])
SETUP = Entry(SetupStarted(commands=("uv sync",), found=("uv.lock",), commit="c"))
CHECKED = BaseChecked(
    gate="verify-1", command="make check", before="red", exit_code=1, evidence="e1", seconds=2
)
AT_WORK = (
    *(START),
    limited(),
    says("I read the plan, and then every file that the task names, from the first line to the last."),
    Entry(
        AgentTool(name="Bash", summary="python -m pytest tests/test_greeting.py -x -q --no-header"), "1", 1
    ),
)
PASSED = (ended("completed"), candidate(), gate_started(), gate("pass"), landing(), finished())
WAITING = Entry(RunWaiting(cause="question", reason="task 1 asks: Which?", until=None))
PARKED = Entry(RunWaiting(cause="usage_limit", reason="the limit", until="2025-01-01T02:31:00.000Z"))
NOTE = Entry(Notice(text="the plan is not tracked by git, so its file is in no candidate and in no gate"))

STATES: dict[str, tuple[Entry, ...]] = {
    "the image is built": (),
    "setup": (begun("1", "2", "3"), SETUP, Entry(StillRunning(what="setup", seconds=9, text="numpy 2.4"))),
    "base run": (
        *(begun("1", "2", "3"), NOTE, SETUP),
        Entry(SetupEnded(status="done", image="sha256:1234567890abcdef", seconds=3)),
        Entry(CHECKED, "1"),
    ),
    "tool call": AT_WORK,
    "gate": (*AT_WORK, ended("completed"), candidate(), gate_started()),
    "question": (*AT_WORK, ended("needs_human"), asked(), WAITING),
    "answered": (*AT_WORK, ended("needs_human"), asked(), WAITING, answered()),
    "waiting": (*AT_WORK, ended("parked"), PARKED),
    "parked": (*AT_WORK, ended("parked"), run_ended("parked", 4)),
    "failed": (*AT_WORK, ended("failed"), finished("failed"), run_ended("failed", 1)),
    "completed": (
        *(begun(), BASE_CHECKED, *READY[2:3], task_started(), attempt(), *PASSED),
        run_ended("completed", 0),
    ),
    "interrupted": (*AT_WORK, run_ended("interrupted", 130)),
    "owner gone": AT_WORK,
}


async def answer(*_: object) -> None:
    """The answer is stored by another test."""


def draw(name: str, columns: int, rows: int) -> str:
    screen = Screen(columns, rows)
    view = LiveView(
        screen,
        Stopped(),
        view_of=lambda run: None,
        keyboard=Keys(),
        answer=answer,
        hint="^C stops the run, so that it can be resumed",
        zone=CET,
    )
    view._enter()
    history = STATES[name]
    if not history:
        view.show_progress("Step 3/9 : RUN apt-get install --yes git")
    for fact in numbered(history):
        view(fact)
    view.draw()
    state = state_after(*history) if history else None
    if state is not None and (state.end is not None or name == "owner gone"):
        view.leave()
        screen.stream.feed(run_table(state, View(here=Path("/code"), zone=CET, screen=columns)) + "\n")
    return "\n".join(row.rstrip() for row in screen.screen.display).rstrip()


@pytest.mark.parametrize(("columns", "rows"), SIZES, ids=str)
def test_the_screens(columns: int, rows: int) -> None:
    shown = "\n".join(f"{f' {name} ':=^{columns}}\n{draw(name, columns, rows)}\n" for name in STATES)
    path = STORED / f"{columns}x{rows}.txt"
    if WRITE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown)
    assert shown == path.read_text()


def test_each_of_our_signs_has_one_in_ascii() -> None:
    """Then a screen in ASCII has the same rows, and no test of its own is needed for each."""
    ours = {sign for path in STORED.iterdir() for sign in path.read_text() if not sign.isascii()}
    assert ours <= set(ASCII_SIGNS) and all(len(sign) == 1 for sign in ASCII_SIGNS.values())
