"""The quick list of tasks is the reader's list, or none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_writer import FRAGMENTS, Style, Written, plans, styles, write

from orchestrator.errors import PlanError
from orchestrator.plan.quick_tasks import list_tasks_quickly
from orchestrator.plan.reader import read_plan

CORPUS = Path(__file__).parent / "corpus"
PLANS = sorted(path for path in CORPUS.iterdir() if not path.name.endswith(".golden.json"))
SIMPLE = [
    "## Task 1.1: Write it",
    "### Task 1.2: Read it",
    "## Task 2: Test it, too",
    "# A plan",
    "Words.",
    "",
]


def list_slowly(text: str) -> tuple[tuple[str, str], ...] | None:
    try:
        return tuple((task.id, task.title) for task in read_plan(text, path="plan.md").tasks)
    except PlanError:
        return None


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_on_every_plan_of_the_corpus(path: Path) -> None:
    text = path.read_bytes().decode()
    assert list_tasks_quickly(text) in (None, list_slowly(text))


def test_it_knows_the_usual_plans() -> None:
    known = [path.name for path in PLANS if list_tasks_quickly(path.read_bytes().decode())]
    assert len(known) >= 20, known


@given(st.lists(st.sampled_from(SIMPLE + FRAGMENTS), max_size=12))
def test_on_any_lines(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert list_tasks_quickly(text) in (None, list_slowly(text))


@given(plans, styles)
def test_on_plans_in_any_style(tasks: list[Written], style: Style) -> None:
    text = write(tasks, style)
    assert list_tasks_quickly(text) in (None, list_slowly(text))
