"""Tables align by the width that a terminal gives each letter, also wide and combining ones."""

from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from run_histories import (
    READY,
    Entry,
    asked,
    attempt,
    begun,
    candidate,
    ended,
    finished,
    gate_started,
    landing,
    numbered,
    run_ended,
    scenario,
    state_after,
)

from orchestrator.cli.screen import width
from orchestrator.cli.tables import View, run_table, runs_table, table
from orchestrator.events import Usage
from orchestrator.run.facts import (
    AttemptEnded,
    LimitWindow,
    RunEnded,
    RunWaiting,
    StillRunning,
    TaskFinished,
    WindowsSeen,
)
from orchestrator.run.progress import list_current_work
from orchestrator.run.report import Owner

WIDTHS = {
    "letters": ("abc", 3),
    "umlauts": ("äöü", 3),
    "combining marks": ("e\u0301a\u0308", 2),
    "wide letters": ("世界", 4),
    "fullwidth letters": ("ＡＢ", 4),
    "emoji": ("🎉", 2),
    "a variation selector": ("☀\ufe0f", 1),
    "zero-width space and joiner": ("a\u200bb\u200dc", 3),
    "an enclosing circle": ("a\u20dd", 1),
    "Hangul": ("한글", 4),
    "nothing": ("", 0),
}


@pytest.mark.parametrize(("text", "columns"), WIDTHS.values(), ids=WIDTHS)
def test_the_width_of_a_text(text: str, columns: int) -> None:
    assert width(text) == columns


def test_a_table() -> None:
    assert table(("id", "title"), [("1", "a"), ("1.10", "long title")]) == (
        "id    title\n────  ──────────\n1     a\n1.10  long title"
    )


def test_columns_begin_at_the_same_place() -> None:
    rows = [("世界", "x"), ("e\u0301", "x"), ("plain", "x"), ("🎉🎉🎉", "x")]
    lines = table(("a", "b"), rows).splitlines()
    assert {width(line[: line.rindex(line.split()[-1])]) for line in (lines[0], *lines[2:])} == {8}


def test_a_table_without_rows_is_its_header() -> None:
    assert table(("a", "bb"), []) == "a  bb\n─  ──"


HERE = View(here=Path("/code"), zone=timezone(timedelta(hours=1), "CET"))
DONE = (*READY, attempt(), ended("completed"), candidate(), finished())


def test_a_run_at_a_glance() -> None:
    history = (*DONE, scenario("passed"), run_ended("completed", 0))
    assert run_table(state_after(*history), HERE) == (
        "\n"
        "task  title       status     commit        attempts  time   evidence\n"
        "────  ──────────  ─────────  ────────────  ────────  ─────  ────────\n"
        "1     Title of 1  completed  candidate1.1  1         1.0 s  e1\n"
        "end to end: passed (e9)\n"
        "run trial-1 completed: because, branch milestone/greeting\n"
        "in total: 9.0 s since its start, 1 attempt\n"
        "To merge it, switch to the branch that should have it, then: git merge milestone/greeting\n"
        "next: git diff base0...milestone/greeting"
    )


def test_a_run_with_a_question_says_it_and_how_to_answer() -> None:
    history = (*READY, attempt(), ended("needs_human"), asked(), run_ended("waiting", 3))
    lines = run_table(state_after(*history), HERE).splitlines()
    assert lines[-9:] == [
        "question q1 of task 1:",
        "        Which?",
        "        1. a",
        "        2. b",
        "        recommended: a",
        "run trial-1 waiting: because, branch milestone/greeting",
        "in total: 7.0 s since its start, 1 attempt",
        "Replace TEXT by your answer:",
        "next: orchestrator resume trial-1 -g TEXT",
    ]


OWNER = Owner(pid=7, host="h", since="2025-01-01T00:00:01.000Z")


def living(*history: Entry, now: str = "2025-01-01T00:03:25.000Z") -> list[str]:
    """The lines below the table of a run that has an owner."""
    state = state_after(*history)
    view = structs.replace(HERE, owner=OWNER, now=now, doing=list_current_work(state, numbered(history)))
    return run_table(state, view).splitlines()[3:]


def test_a_living_run_says_what_it_does_and_since_when() -> None:
    assert living(*READY, attempt()) == [
        "1     Title of 1  running  -       1         3 min 20 s  -",
        "run trial-1 running since 2025-01-01 01:00 CET, task 1 of 1, process 7, branch milestone/greeting",
        "now: the agent is working on attempt 1/1, for 3 min 20 s (since 01:00:05)",
        "next: orchestrator watch trial-1",
    ]


def test_a_living_run_says_which_gate_runs_and_what_it_printed_last() -> None:
    printed = Entry(StillRunning(what="verify-1", seconds=5, text="\x1b[2J12 of 90"), "1", 1)
    _, _, now, _ = living(*READY, attempt(), ended("completed"), candidate(), gate_started(), printed)
    assert now == (
        "now: gate verify-1 of task 1, make check, for 3 min 17 s (since 01:00:08), last output: 12 of 90"
    )


@pytest.mark.parametrize(
    ("history", "now"),
    [
        ((begun(),), "now: checking the base commit, for 3 min 24 s (since 01:00:01)"),
        ((*READY, attempt(), ended("completed")), "now: between two steps, for 3 min 19 s (since 01:00:06)"),
        (
            (*DONE[:-1], landing()),
            "now: moving the branch to the commit of task 1, for 3 min 17 s (since 01:00:08)",
        ),
    ],
    ids=["base", "between", "landing"],
)
def test_a_living_run_between_attempts(history: tuple[Entry, ...], now: str) -> None:
    assert living(*history)[-2] == now


def test_a_living_run_that_waits_says_for_what_and_until_when() -> None:
    waiting = RunWaiting(
        cause="usage_limit", reason="task 1: a usage limit", until="2025-01-01T06:00:00.000Z"
    )
    *_, line, stays, step = living(*READY, attempt(), ended("parked"), Entry(waiting))
    assert line == (
        "run trial-1 parked: task 1: a usage limit (until 2025-01-01 07:00 CET), process 7, "
        "branch milestone/greeting"
    )
    assert stays.startswith("It continues by itself")
    assert step == "next: orchestrator watch trial-1"


def test_a_run_shows_how_much_of_the_subscription_is_used() -> None:
    windows = (
        LimitWindow(window="five_hour", utilization=0.93, resets="2026-11-27T12:30:00.000Z"),
        LimitWindow(window="seven_day", utilization=0.4, resets="2026-11-30T12:00:00.000Z"),
        LimitWindow(window="seven_day_x", utilization=0.2),
    )
    state = state_after(begun(), Entry(WindowsSeen(windows=windows)))
    shown = run_table(state, View(now="2026-11-27T12:00:00.000Z", zone=UTC))
    assert "used: 93% of the five hour window, until 2026-11-27 12:30 UTC; 40% of the seven day" in shown
    later = run_table(state, View(now="2026-11-27T13:00:00.000Z", zone=UTC))
    assert "five hour" not in later and "seven day" in later


def test_a_run_without_an_owner_is_interrupted_and_so_is_its_task() -> None:
    *_, row, line, step = run_table(state_after(*READY, attempt()), HERE).splitlines()
    assert row.split()[4] == "interrupted"
    assert line == "run trial-1 interrupted, branch milestone/greeting"
    assert step == "next: orchestrator resume trial-1"


def test_the_number_of_unverified_tasks_stands_before_the_next_step() -> None:
    unchecked = TaskFinished(status="completed", commit="c", verification="unverified")
    state = state_after(*READY, attempt(), Entry(unchecked, "1", 1), run_ended("completed", 0))
    *_, line, _, _ = run_table(state, HERE).splitlines()
    assert line == "1 finished task is unverified, no check has shown that it is done: 1"
    assert "completed, unverified" in run_table(state, HERE)
    assert "completed, 1 unverified" in runs_table([(state, None)])


def test_a_limit_ends_at_a_local_time() -> None:
    end = RunEnded(status="parked", exit_code=4, reason="usage limit", until="2025-01-01T22:30:00.000Z")
    text = run_table(state_after(*READY, Entry(end)), HERE)
    assert "run trial-1 parked: usage limit (until 2025-01-01 23:30 CET), branch" in text


def test_runs_show_their_start_in_local_time() -> None:
    text = runs_table([(state_after(*READY), None)], HERE.zone)
    assert "2025-01-01 01:00 CET" in text and "interrupted" in text


def test_a_long_path_keeps_its_end_on_a_screen_and_is_whole_elsewhere() -> None:
    state = state_after(*READY)
    far = structs.replace(state, start=structs.replace(state.start, folder="/x" * 50 + "/code"))
    assert runs_table([(far, None)], HERE.zone).splitlines()[-1].endswith("  " + "/x" * 50 + "/code")
    line = runs_table([(far, None)], HERE.zone, screen=100).splitlines()[-1]
    assert width(line) == 100 and line.endswith("/x/x/code") and "  …" in line


@given(st.text(min_size=1, max_size=200), st.integers(20, 300))
def test_on_a_screen_titles_give_way_and_ids_do_not(title: str, screen: int) -> None:
    state = state_after(*DONE)
    titled = structs.replace(state, start=structs.replace(state.start, plan_title=title))
    task = structs.replace(state.tasks["1"], entry=structs.replace(state.tasks["1"].entry, title=title))
    view = structs.replace(HERE, screen=screen)
    rows = run_table(structs.replace(state, tasks={"1": task}), view).strip("\n").splitlines()[:-2]
    assert max(map(width, rows[:3])) <= screen and "candidate1.1" in "\n".join(rows)
    lines = runs_table([(titled, None)], HERE.zone, screen=screen).splitlines()
    assert max(map(width, lines)) <= max(screen, 22) and any("trial-1" in line for line in lines)


def test_on_a_screen_that_is_too_narrow_each_row_is_a_block() -> None:
    table_ = run_table(state_after(*DONE), structs.replace(HERE, screen=20)).splitlines()
    assert table_[1:9] == [
        "task      1",
        "title     Title of 1",
        "status    completed",
        "commit",
        "  candidate1.1",
        "attempts  1",
        "time      1.0 s",
        "evidence  e1",
    ]
    state = state_after(*DONE)
    two = runs_table([(state, None), (state, None)], HERE.zone, screen=20)
    assert two.split("\n\n") == ["\n".join(RUN_IN_20_COLUMNS)] * 2


RUN_IN_20_COLUMNS = (
    "run      trial-1",
    "status   interrupted",
    "started",
    "  2025-01-01 01:00 CET",
    "plan     A greeting",
    "folder   /code",
)


def test_later_a_run_says_when_it_ended() -> None:
    later = structs.replace(HERE, now="2025-01-02T00:00:00.000Z")
    line = run_table(state_after(*DONE, run_ended("parked")), later).splitlines()[-3]
    assert line == "run trial-1 parked: because, branch milestone/greeting, ended 2025-01-01 01:00 CET"


def test_a_run_that_has_ended_says_what_it_took_in_all() -> None:
    usage = Usage(input_tokens=100, cache_read_tokens=1_400, output_tokens=20, cost_usd=0.5)
    done = Entry(AttemptEnded(status="completed", reason=None, exit_code=0, usage=usage), "1", 1)
    state = state_after(*READY, attempt(), done, finished(), run_ended("completed", 0))
    shown = run_table(state, View())
    assert "\nin total: 7.0 s since its start, 1 attempt, 1,500 tokens in, 20 out, 0.50 USD\n" in shown
    assert "in total" not in run_table(state_after(*READY, attempt()), View())
