"""The block of the live view: what it says in each state, and that it fits every screen."""

from collections.abc import Iterable
from datetime import UTC
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from run_histories import (
    READY,
    Entry,
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
    resumed,
    run_ended,
    task_started,
)

from orchestrator.cli.block import FEWEST_ROWS, MOST_ROWS, Preparation, Screen, draw_block
from orchestrator.cli.live_view import fit_line, prompt_rows
from orchestrator.cli.screen import Row, find_most_width, fold, shorten_end, width
from orchestrator.events import Usage
from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptEnded,
    AttemptStarted,
    QuestionAsked,
    RunStarted,
    RunWaiting,
    SetupEnded,
    SetupStarted,
    StillRunning,
    TaskEntry,
    WaitEnded,
)
from orchestrator.run.view import RunView, follow
from orchestrator.text import plain

HOSTILE = "\x1b[2J\x1b]0;x\x07[bold]\x9b1A\u202e日本語 👩\u200d👩\u200d👧 ❤\ufe0f " + "x" * 300
NOW = "2025-01-01T00:01:00.000Z"
WIDE = Screen(columns=100, rows=40, now=NOW, zone=UTC, hint="^C stops the run")
SETUP = Entry(SetupStarted(commands=("make deps",), found=(), commit="c"))
STILL = Entry(StillRunning(what="setup", seconds=5, text="Collecting \x1b[92mnumpy"))


def view_after(*entries: Entry) -> RunView:
    return reduce(follow, numbered(entries), RunView(attempts_limit=3))


def drawn(view: RunView, screen: Screen = WIDE, preparation: Preparation | None = None) -> list[str]:
    return [row.text for row in draw_block(view, screen, preparation)]


def says(text: str) -> Entry:
    return Entry(AgentText(text=text), "1", 1)


def does(summary: str) -> Entry:
    return Entry(AgentTool(name="Bash", summary=summary), "1", 1)


def limited(seconds: float) -> Entry:
    body = attempt().body
    assert isinstance(body, AttemptStarted)
    return Entry(replace(body, limit_seconds=seconds), "1", 1)


WAITING = Entry(RunWaiting(cause="question", reason="task 1 asks", until=None))
PARKED = Entry(RunWaiting(cause="usage_limit", reason="the limit", until="2025-01-01T00:31:00.000Z"))
ASKED = (*READY, attempt(), ended("needs_human"), asked())
HEAD = ["── run trial-1, 0 of 1 tasks done, 59 s"]

STATES: dict[str, tuple[tuple[Entry, ...], list[str]]] = {
    "base run": ((begun(),), [*HEAD, "tasks   · 1", "now     checking the base commit, 59 s"]),
    "setup": (
        (begun(), SETUP, STILL),
        [
            *HEAD,
            "tasks   · 1",
            "now     installing dependencies, 58 s",
            "        | Collecting numpy",
        ],
    ),
    "tool call": (
        (*READY, limited(3600), says("I read it."), does("make")),
        [
            *HEAD,
            "tasks   ▶ 1",
            "now     attempt 1/1 (1 of 3), 55 s, at most 59 min 5 s more: Title of 1",
            "  says  I read it.",
            "  does  Bash (53 s): make",
        ],
    ),
    "gate": (
        (*READY, attempt(), ended("completed"), candidate(), gate_started()),
        [*HEAD, "tasks   ▶ 1", "now     gate verify-1 of task 1, make check, 52 s: Title of 1"],
    ),
    "landing": (
        (*READY, attempt(), ended("completed"), candidate(), gate("pass"), landing()),
        [*HEAD, "tasks   ▶ 1", "now     moving the branch to the commit of task 1, 51 s: Title of 1"],
    ),
    "a limit is waited for": (
        (*READY, attempt(), ended("parked"), PARKED),
        [
            *HEAD,
            "tasks   · 1",
            "waits   until 2025-01-01 00:31 UTC, 30 min left",
            "        the limit",
        ],
    ),
    "a question while something happens": (
        (*ASKED, resumed()),
        [
            "── run trial-1, 0 of 1 tasks done, 52 s",
            "tasks   ? 1",
            "now     between two steps, 52 s",
            "asks    task 1: Which?",
        ],
    ),
}


@pytest.mark.parametrize(("history", "expected"), STATES.values(), ids=STATES)
def test_what_the_block_says(history: tuple[Entry, ...], expected: list[str]) -> None:
    assert drawn(view_after(*history)) == [*expected, "^C stops the run"]


def test_a_question_takes_the_place_of_the_work() -> None:
    assert drawn(view_after(*ASKED, WAITING)) == [
        *HEAD,
        "tasks   ? 1",
        "asks    task 1: Which?",
        "        1. a (recommended)",
        "        2. b",
    ]


def test_a_question_with_twenty_options_and_a_long_text_fits() -> None:
    body = QuestionAsked(
        question="q1",
        text="Which of these? " * 60,
        options=tuple(f"option {n} " * 9 for n in range(20)),
        recommendation="none of them",
    )
    rows = drawn(view_after(*READY, attempt(), ended("needs_human"), Entry(body, "1", 1), WAITING))
    assert len(rows) + len(prompt_rows(100)) == MOST_ROWS
    assert rows[-1] == "        recommended: none of them" and "other options are above" in rows[-2]
    assert "        1. option 0" in rows[5]


def test_before_the_first_fact_the_step_and_its_last_output_are_shown() -> None:
    step = Preparation(
        what="building the image", since="2025-01-01T00:00:48.000Z", last_output="Step 3/9\x1b[0m"
    )
    assert drawn(RunView(), WIDE, step) == [
        "now     building the image, 12 s",
        "        | Step 3/9",
        "^C stops the run",
    ]


def test_tokens_and_cost_of_the_attempts_that_have_ended() -> None:
    usage = Usage(input_tokens=1000, cache_read_tokens=11_000, output_tokens=345, cost_usd=0.1234)
    done = Entry(AttemptEnded(status="completed", reason=None, exit_code=0, usage=usage), "1", 1)
    (head, *_) = drawn(view_after(*READY, attempt(), done))
    assert head == f"{HEAD[0]}, 12,000 tokens in, 345 out, 0.12 USD"


def test_many_tasks_are_counted_where_their_signs_do_not_fit() -> None:
    ids = [f"{n // 10 + 1}.{n % 10}" for n in range(300)]
    history = [begun(*ids), task_started(ids[0]), attempt(1, ids[0]), finished("failed", 1, ids[0])]
    history += [finished("completed", 1, id) for id in ids[1:120]]
    history += [task_started(ids[120]), attempt(1, ids[120])]
    assert drawn(view_after(*history))[1] == "tasks   ✓ 119 done  ✗ 1 failed  ▶ 13.0  · 179 to come"


@pytest.mark.parametrize("rows", range(1, FEWEST_ROWS))
def test_on_a_low_screen_the_block_is_one_row(rows: int) -> None:
    view = view_after(*READY, attempt(), does("make all"))
    assert drawn(view, replace(WIDE, rows=rows)) == ["0/1 1 54 s make all"]


def test_every_state_fits_twenty_by_five() -> None:
    small = replace(WIDE, columns=20, rows=5)
    for history, _ in STATES.values():
        (row,) = drawn(view_after(*history), small)
        assert row and width(row) <= 20


def one_line_of(text: str) -> str:
    return plain(text).replace("\n", "").replace("\t", "")


ENTRIES = st.sampled_from(
    [
        task_started(),
        *(attempt(), limited(5), says("a\nb"), says(HOSTILE), does(HOSTILE), does("ls")),
        *(ended("completed"), ended("failed", reason=HOSTILE), ended("needs_human"), asked()),
        *(candidate(), gate_started(), gate("fail", tail=HOSTILE), gate("pass"), landing(), finished()),
        *(SETUP, STILL, Entry(SetupEnded(status="done", image="i", seconds=1)), WAITING, PARKED),
        *(run_ended("parked"), resumed(), Entry(WaitEnded())),
    ]
)


def hostile_start() -> Entry:
    body = begun().body
    assert isinstance(body, RunStarted)
    tasks = tuple(TaskEntry(id=id, title=HOSTILE * 2, type=None, hash="h") for id in ("1", "2.1", "x-y"))
    return Entry(replace(body, tasks=tasks, plan_title=HOSTILE, plan=HOSTILE))


def possible(entries: Iterable[Entry]) -> Iterable[RunView]:
    """The views after each fact of a history, without facts that cannot follow."""
    view, n = follow(RunView(), numbered([hostile_start()])[0]), 1
    yield view
    for entry in entries:
        try:
            view = follow(view, numbered([entry], first=n + 1)[0])
        except ValueError:
            continue
        n += 1
        yield view


@given(
    entries=st.lists(ENTRIES, max_size=30),
    columns=st.integers(20, 220),
    rows=st.integers(1, 60),
    preparing=st.booleans(),
)
def test_any_history_gives_a_block_that_fits(
    entries: list[Entry], columns: int, rows: int, preparing: bool
) -> None:
    screen = replace(WIDE, columns=columns, rows=rows, hint="x" * 50)
    step = Preparation(what="building", since=NOW, last_output=HOSTILE) if preparing else None
    for view in possible(entries):
        block = draw_block(view, screen, step)
        assert len(block) <= (1 if rows < FEWEST_ROWS else MOST_ROWS)
        for row in block:
            assert find_most_width(row.text) <= columns and row.text == one_line_of(row.text)


@given(text=st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs"))), size=st.integers(2, 60))
def test_a_shortened_text_fits(text: str, size: int) -> None:
    assert find_most_width(shorten_end(text, size)) <= size


@given(words=st.lists(st.text("abc日", min_size=1, max_size=12)), size=st.integers(20, 60))
def test_a_folded_line_fits_and_loses_nothing(words: list[str], size: int) -> None:
    text = " ".join(words)
    rows = list(fold(text, size, 8))
    assert all(width(row) <= size for row in rows)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")


def test_agent_output_is_shortened_and_everything_else_is_folded() -> None:
    line = "12:00:00  note    " + "a word " * 20
    assert len(fit_line(Row(line, "quiet"), 60)) == 1
    rows = [row.text for row in fit_line(Row(line, "attention"), 60)]
    assert len(rows) > 2 and rows[1].startswith(" " * 18 + "a word")
    assert all(width(row.text) <= 20 for row in fit_line(Row(line, "attention"), 20))
