"""Plans in the shapes that authors write, each read whole and compared with a reviewed result."""

import json
from pathlib import Path

import pytest
from naive_reader import (
    dependencies_by_regex,
    headings_by_commonmark,
    headings_by_regex,
    mentions_by_regex,
    scenario_by_regex,
)

from orchestrator.cli.plan_command import as_json
from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan

CORPUS = Path(__file__).parent / "corpus"
PLANS = sorted(path for path in CORPUS.iterdir() if not path.name.endswith(".golden.json"))


def read(name: str) -> Plan:
    return read_plan((CORPUS / name).read_bytes(), path=name)


def ids(name: str) -> list[str]:
    return [task.id for task in read(name).tasks]


def text(name: str) -> str:
    return (CORPUS / name).read_bytes().decode()


def test_the_corpus_is_large_enough() -> None:
    assert len(PLANS) >= 40


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_golden(path: Path) -> None:
    golden = json.loads((CORPUS / f"{path.name}.golden.json").read_text("utf-8"))
    assert as_json(read(path.name)) == golden


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_forcing_the_recognised_format_changes_nothing(path: Path) -> None:
    plan = read(path.name)
    assert read_plan(path.read_bytes(), path=path.name, format=plan.format) == plan


@pytest.mark.parametrize("name", ["trap-1-sample-plan.md", "trap-2-same-length.md", "trap-2-three-deep.md"])
def test_a_sample_plan_in_a_fence_is_not_read(name: str) -> None:
    assert ids(name) == ["1.1", "1.2"]
    assert headings_by_regex(text(name)) != ["1.1", "1.2"]


@pytest.mark.parametrize("name", ["trap-2-same-length.md", "trap-2-twice.md", "trap-2-three-deep.md"])
def test_commonmark_alone_loses_tasks_or_invents_some(name: str) -> None:
    assert headings_by_commonmark(text(name)) != ids(name)


def test_the_strict_reading_is_taken_where_it_keeps_the_tasks() -> None:
    assert ids("trap-2-strict-is-right.md") == ["1.1", "1.2", "1.3"]
    codes = [entry.code for entry in read("trap-2-strict-is-right.md").diagnostics]
    assert "ambiguous-fence" in codes


def test_a_heading_in_a_block_does_not_end_the_scenario() -> None:
    scenario = read("trap-3-e2e-with-headings.md").end_to_end
    assert scenario is not None
    assert [command.splitlines()[-1] for command in scenario.commands] == ["make demo", "make more"]
    assert scenario_by_regex(text("trap-3-e2e-with-headings.md")) != list(scenario.commands)


def test_a_heading_in_a_heredoc_is_none() -> None:
    assert ids("trap-3-heredoc.md") == ["1.1", "1.2", "1.3"]
    assert headings_by_regex(text("trap-3-heredoc.md")) != ["1.1", "1.2", "1.3"]
    assert headings_by_commonmark(text("trap-3-heredoc.md")) != ["1.1", "1.2", "1.3"]


def test_mentions_do_not_become_tasks() -> None:
    assert ids("trap-4-mentions.md") == ["1.1", "1.2", "1.3"]
    assert mentions_by_regex(text("trap-4-mentions.md")) != ["1.1", "1.2", "1.3"]
    assert headings_by_regex(text("trap-4-mentions.md")) != ["1.1", "1.2", "1.3"]


def test_dependencies_are_ids() -> None:
    wanted = [[], [], [], ["3.1", "3.2", "3.3"]]
    assert [list(task.depends_on) for task in read("trap-5-dependencies.md").tasks] == wanted
    assert dependencies_by_regex(text("trap-5-dependencies.md")) != wanted


# Structures of plans that other authors have published, in our words: what a plain list does not have.
STRUCTURES = {
    # a second numbered list, under a heading of its own; an id with a letter; optional parts
    "kiro-two-lists.md": (["1", "1.1", "1.2", "2", "2a", "3", "B.1", "B.2"], ["numbers-begin-again"]),
    # ids in code, bold and links; struck-out and removed items; a phase that is deferred; a legend
    "spec-kit-decorated.md": (["T001", "T002", "T005", "T007", "T008"], ["left-out-task", "unread-checkbox"]),
    # tasks in one section of several with boxes
    "story.md": (["1", "2", "3"], ["unread-checkbox", "unread-command"]),
    # the list of tasks is in a fenced block
    "tasks-in-a-fence.md": (["1"], ["task-in-fence", "unread-checkbox", "unread-command"]),
    # steps whose numbers begin again in each phase; sections and phases that are left out; a table with boxes
    "sections-left-out.md": (["1.2", "1.3"], ["left-out-task", "unread-checkbox"]),
}


@pytest.mark.parametrize(("name", "found"), STRUCTURES.items(), ids=STRUCTURES)
def test_structures_of_published_plans(name: str, found: tuple[list[str], list[str]]) -> None:
    wanted, codes = found
    assert ids(name) == wanted
    assert set(codes) <= {entry.code for entry in read(name).diagnostics}
