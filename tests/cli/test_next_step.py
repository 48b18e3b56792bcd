"""The last line of a run: one command for each state. `test_sessions` runs the commands."""

from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace
from run_histories import (
    READY,
    RUN,
    Entry,
    asked,
    attempt,
    begun,
    candidate,
    ended,
    finished,
    gate,
    run_ended,
    scenario,
    state_after,
    task_started,
)

from orchestrator.cli.next_step import WAITS_FOR, next_step
from orchestrator.run.facts import GateEnded, QuestionAsked, RunCause, RunEnded, RunStatus

HERE = Path("/code")
RED = (*READY, attempt(), ended("completed"), candidate(), gate("fail"))
DIED = (*READY, attempt(), ended("failed"), candidate(evidence=()))
DIED_RED = (*READY, attempt(), ended("failed"), candidate(), gate("fail"))
FIXED = (*READY, attempt(), ended("failed"), candidate(by_hand=True), gate("fail"))
DONE = (*READY, attempt(), ended("completed"), candidate(), finished())
RED_SCENARIO = gate("fail", None, None, evidence="e7")

STATES: dict[str, tuple[tuple[Entry, ...], RunStatus, str]] = {
    "running": (READY, "running", f"orchestrator watch {RUN}"),
    "completed": (DONE, "completed", "git diff base0...milestone/greeting"),
    "a question": ((*READY, attempt(), asked()), "waiting", f"orchestrator resume {RUN} -g TEXT"),
    "a red gate": ((*RED, finished("failed")), "failed", f"orchestrator logs {RUN} --evidence e1"),
    "an agent that failed, and a red gate": (
        (*DIED_RED, finished("failed")),
        "failed",
        f"orchestrator logs {RUN} --evidence e1",
    ),
    "fixed by hand, and a red gate": (
        (*FIXED, finished("failed")),
        "failed",
        f"orchestrator logs {RUN} --evidence e1",
    ),
    "nothing changed, without a check": (
        (*READY, attempt(), ended("completed"), candidate(evidence=(), changed=False), finished("failed")),
        "failed",
        f"orchestrator resume {RUN} --accept 1",
    ),
    "done already": (
        (*READY, attempt(), ended("completed"), candidate(changed=False), gate("pass"), finished("failed")),
        "failed",
        f"orchestrator resume {RUN} --accept 1",
    ),
    "no outcome": ((*DIED, finished("failed")), "failed", f"orchestrator logs {RUN} --task 1 --attempt 1"),
    "a red scenario": (
        (*DONE, RED_SCENARIO, scenario("failed")),
        "failed",
        f"orchestrator logs {RUN} --evidence e7",
    ),
    "failed without an attempt": (READY, "failed", f"orchestrator resume {RUN}"),
    "not begun": (
        (begun(), Entry(RunEnded(status="failed", exit_code=2, reason="setup"))),
        "failed",
        "orchestrator run plans/greeting.md",
    ),
    "parked": ((*READY, attempt(), ended("parked")), "parked", f"orchestrator resume {RUN}"),
    "interrupted": ((*READY, attempt()), "interrupted", f"orchestrator resume {RUN}"),
    "cancelled": (READY, "cancelled", "orchestrator run plans/greeting.md"),
}


@pytest.mark.parametrize(("history", "status", "command"), STATES.values(), ids=STATES)
def test_the_command_of_a_state(history: tuple[Entry, ...], status: RunStatus, command: str) -> None:
    state = state_after(*history) if status == "running" else state_after(*history, *_end_of(status, history))
    assert next_step(state, status, HERE).command == command


def _end_of(status: RunStatus, history: tuple[Entry, ...]) -> tuple[Entry, ...]:
    has_end = status == "interrupted" or isinstance(history[-1].body, RunEnded)
    return () if has_end else (run_ended(status),)


@pytest.mark.parametrize("status", ["completed", "parked", "cancelled"])
@pytest.mark.parametrize("here", [Path("/elsewhere"), None], ids=["another folder", "no folder"])
def test_in_another_folder_the_command_begins_with_cd(status: RunStatus, here: Path | None) -> None:
    step = next_step(state_after(*DONE), status, here)
    assert step.command.startswith("cd /code && ")


def test_odd_names_are_quoted_for_the_shell() -> None:
    state = state_after(*DONE)
    start = replace(state.start, plan="-my plan's.md", branch="a;b", folder="/my code")
    odd = replace(state, start=start)
    assert next_step(odd, "completed", HERE).command == "cd '/my code' && git diff base0...'a;b'"
    assert next_step(odd, "cancelled", Path("/my code")).command == (
        """orchestrator run './-my plan'"'"'s.md'"""
    )


def test_with_a_tag_of_the_branchs_name_the_full_name_is_shown() -> None:
    state = state_after(*DONE)
    step = next_step(replace(state, start=replace(state.start, branch_has_namesake=True)), "completed", HERE)
    full = f"refs/heads/{state.start.branch}"
    assert step.command.endswith(f"...{full}")
    assert step.before[-1].endswith(f"git merge {full}")


def test_a_parked_run_says_what_it_waits_for() -> None:
    end = RunEnded(status="parked", exit_code=4, reason="r", cause="disk_full")
    step = next_step(state_after(*READY, Entry(end)), "parked", HERE)
    assert step.before == ("It waits for space on the disk.",)


def test_a_guard_that_fails_as_before_names_its_evidence() -> None:
    end = RunEnded(status="parked", exit_code=4, reason="r", cause="base_red")
    red = gate("fail", evidence="e9")
    assert isinstance(red.body, GateEnded)
    as_before = red._replace(body=replace(red.body, fails_as_before=True, before="red"))
    state = state_after(*READY, attempt(), ended("completed"), candidate(), as_before, Entry(end))
    step = next_step(state, "parked", HERE)
    assert step.before[-1] == f"To see its output: orchestrator logs {RUN} --evidence e9"


def test_a_red_gate_after_an_agent_that_failed_also_names_the_agents_output() -> None:
    step = next_step(state_after(*DIED_RED, finished("failed"), run_ended("failed")), "failed", HERE)
    assert step.before[0] == f"To see the output of the agent: orchestrator logs {RUN} --task 1 --attempt 1"


TWO_FAILED = (
    *(begun("1", "2", "3"), *READY[1:3]),
    *(task_started("1"), attempt(), ended("completed"), candidate(), gate("fail"), finished("failed")),
    *(task_started("2"), attempt(1, "2"), ended("failed", 1, "2"), finished("failed", 1, "2")),
)
ASKED = (*TWO_FAILED, task_started("3"), attempt(1, "3"), ended("needs_human", 1, "3"), asked(1, "3"))
FAILED_LINES = (
    f"Task 1 has failed; orchestrator resume {RUN} tries it again. "
    f"To see its output: orchestrator logs {RUN} --evidence e1",
    f"Task 2 has failed; orchestrator resume {RUN} tries it again. "
    f"To see its output: orchestrator logs {RUN} --task 2 --attempt 1",
)
ASKS_LINE = f"Task 3 has a question; to answer it: orchestrator answer {RUN} TEXT --question q1"


def test_of_several_failed_tasks_each_names_what_it_printed() -> None:
    step = next_step(state_after(*TWO_FAILED, run_ended("failed")), "failed", HERE)
    assert step.command == f"orchestrator logs {RUN} --evidence e1"
    assert step.before[0] == f"To see the output of task 2: orchestrator logs {RUN} --task 2 --attempt 1"


def test_however_a_run_ends_each_open_task_has_its_command() -> None:
    asks = next_step(state_after(*ASKED, run_ended("waiting", 3)), "waiting", HERE)
    assert asks.before == (*FAILED_LINES, "Replace TEXT by your answer:")
    assert asks.command == f"orchestrator resume {RUN} -g TEXT"
    parked = next_step(state_after(*ASKED, run_ended("parked", 4)), "parked", HERE)
    assert (parked.before, parked.command) == ((*FAILED_LINES, ASKS_LINE), f"orchestrator resume {RUN}")
    stopped = next_step(state_after(*ASKED), "interrupted", HERE)
    assert (stopped.before, stopped.command) == (parked.before, parked.command)
    running = next_step(state_after(*ASKED), "running", HERE, has_owner=True)
    assert running.before == (ASKS_LINE,)


def test_a_run_that_waits_needs_nothing_but_its_answer() -> None:
    limited = next_step(state_after(*READY, attempt(), ended("parked")), "parked", HERE, has_owner=True)
    assert limited.command == f"orchestrator watch {RUN}"
    assert limited.before[-1].startswith("It continues by itself")
    asks = next_step(state_after(*READY, attempt(), asked()), "waiting", HERE, has_owner=True)
    assert asks.command == f"orchestrator answer {RUN} --recommended"
    body = asked().body
    assert isinstance(body, QuestionAsked)
    open_one = Entry(replace(body, recommendation=None), "1", 1)
    plain = next_step(state_after(*READY, attempt(), open_one), "waiting", HERE, has_owner=True)
    assert plain.command == f"orchestrator answer {RUN} TEXT"


def test_every_cause_that_can_park_a_run_has_a_sentence() -> None:
    never_park = {"question", "task_failed", "e2e_failed"}
    assert set(WAITS_FOR) == set(get_args(RunCause)) - never_park
