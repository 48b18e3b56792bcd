"""Progress of a run: the task's number, the number of tasks, and the current step."""

import pytest
from run_histories import (
    BASE_CHECKED,
    READY,
    Entry,
    attempt,
    begun,
    candidate,
    ended,
    finished,
    gate,
    gate_started,
    landing,
    numbered,
    resumed,
    run_ended,
    state_after,
)

from orchestrator.run.facts import SetupEnded, SetupStarted, StillRunning, TaskFinished
from orchestrator.run.progress import Doing, Position, count_done, list_current_work, position

SETUP = Entry(SetupStarted(commands=("make",), found=(), commit="c"))
SET_UP = Entry(SetupEnded(status="done", image="i", seconds=1))
STILL = Entry(StillRunning(what="verify-1", seconds=5, text="12 of 90"), "1", 1)
LEFT_OUT = Entry(TaskFinished(status="skipped", reason="left out"), "1")
AT_GATE = (*READY, attempt(), ended("completed"), candidate(), gate_started())

NOW = {
    "just begun": ((begun(),), ("base", None, 1, "")),
    "setup before the base run": ((begun(), SETUP), ("setup", None, 2, "")),
    "after it": ((begun(), SETUP, SET_UP), ("base", None, 3, "")),
    "the agent": ((*READY, attempt()), ("attempt", "1", 5, "")),
    "between": ((*READY, attempt(), ended("completed")), ("step", None, 6, "")),
    "a gate": (AT_GATE, ("gate", "1", 8, "")),
    "a gate that prints": ((*AT_GATE, STILL), ("gate", "1", 8, "12 of 90")),
    "after it, too": ((*AT_GATE, gate("pass")), ("step", None, 9, "")),
    "a landing": ((*AT_GATE, gate("pass"), landing()), ("landing", "1", 10, "")),
    "the next task": ((*AT_GATE, gate("pass"), landing(), finished()), ("step", None, 11, "")),
    "resumed": ((*READY, attempt(), run_ended("interrupted"), resumed()), ("step", None, 7, "")),
}


@pytest.mark.parametrize(("history", "expected"), NOW.values(), ids=NOW)
def test_what_a_run_does_and_since_when(
    history: tuple[Entry, ...], expected: tuple[str, str | None, int, str]
) -> None:
    (found,) = list_current_work(state_after(*history), numbered(history))
    at = f"2025-01-01T00:00:{expected[2]:02}.000Z"
    assert (found.what, found.task, found.since, found.last_output) == (*expected[:2], at, expected[3])


def test_a_gate_has_its_name_and_command() -> None:
    (found,) = list_current_work(state_after(*AT_GATE), numbered(AT_GATE))
    since = "2025-01-01T00:00:08.000Z"
    assert found == Doing(
        what="gate", task="1", attempt=1, since=since, name="verify-1", command="make check"
    )


def test_tasks_that_are_left_out_do_not_count() -> None:
    state = state_after(begun("1", "2", "3"), LEFT_OUT, BASE_CHECKED)
    assert position(state, "3") == Position(number=2, total=2)
    assert position(state, "1") is None and position(state, None) is None
    assert count_done(state) == (0, 2)
    assert count_done(state_after(*AT_GATE, gate("pass"), finished())) == (1, 1)
