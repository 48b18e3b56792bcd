"""Tables align by what a terminal shows, whatever the letters."""

import pytest
from run_histories import READY, asked, attempt, candidate, ended, finished, run_ended, scenario, state_after

from orchestrator.cli.tables import run_table, table, width

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


def test_a_run_at_a_glance() -> None:
    history = (*READY, attempt(), ended("completed"), candidate(), finished(), scenario("passed"))
    assert run_table(state_after(*history, run_ended("completed", 0))) == (
        "\n"
        "task  title       status     commit        attempts  evidence\n"
        "────  ──────────  ─────────  ────────────  ────────  ────────\n"
        "1     Title of 1  completed  candidate1.1  1         e1\n"
        "end to end: passed (e9)\n"
        "run trial-1 completed: because, branch milestone/greeting"
    )


def test_an_unfinished_run_says_the_question_and_what_to_do_next() -> None:
    text = run_table(state_after(*READY, attempt(), ended("needs_human"), asked(), run_ended("waiting", 3)))
    assert "question q1 (1): Which?" in text
    assert text.endswith("next: orchestrator logs trial-1, then orchestrator resume trial-1")
