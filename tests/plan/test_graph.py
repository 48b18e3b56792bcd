"""Dependencies and the order of work."""

from collections.abc import Iterable

import pytest

from orchestrator.plan.graph import find_cycles, order_tasks
from orchestrator.plan.model import Plan, Task
from orchestrator.plan.reader import read_plan


def plan(*depends: str | None) -> Plan:
    """Tasks 1, 2, … with these values of **Depends on:**; None says nothing."""
    text = ""
    for number, value in enumerate(depends, 1):
        text += f"## Task {number}: T\n\n" + (f"**Depends on:** {value}\n\n" if value is not None else "")
    return read_plan(text, path="plan.md")


def ids(tasks: Iterable[Task]) -> list[str]:
    return [task.id for task in tasks]


def dependency_codes(found: Plan) -> list[str]:
    return [entry.code for entry in found.diagnostics if "dependency" in entry.code]


@pytest.mark.parametrize(
    "value",
    ["nothing", "None", "none.", "-", "–", "—", "N/A", "n/a", "`none`", "None (first)", "No dependencies"],
)
def test_words_for_no_dependency(value: str) -> None:
    found = plan(None, value)
    assert found.tasks[1].depends_on == ()
    assert dependency_codes(found) == []


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("1", "1"), ("Task 1", "1"), ("Task 1 (greeter)", "1"), ("Tasks 1–3", "1 2 3"), ("Tasks 1-3",
        "1 2 3"),
        ("Task 1 to Task 3", "1 2 3"), ("1 through 3", "1 2 3"), ("1..3", "1 2 3"), ("1, 2 and 3", "1 2 3"),
        ("1, 2, and 3", "1 2 3"), ("1 & 2", "1 2"), ("1; 2", "1 2"), ("1/2", "1 2"), ("**1**, `2`", "1 2"),
        ("[Task 1](#t), [2](#t2)", "1 2"), ("\n- 1\n- Task 3: the last\n", "1 3"), ("1 - the greeter", "1"),
        ("after Task 2 is done", "2"), ("3, 1", "3 1"), ("1, 1", "1"), ("TASK-2 (for its API)", "2"),
        ("Complete TASK-3 first", "3"),
    ],
)  # fmt: skip
def test_ways_to_name_tasks(value: str, wanted: str) -> None:
    found = plan(None, None, None, value)
    assert list(found.tasks[3].depends_on) == wanted.split()
    assert dependency_codes(found) == []


def test_without_a_word_the_task_before_is_meant() -> None:
    found = plan(None, None, "2", "none")
    assert [task.depends_on for task in found.tasks] == [(), ("1",), ("2",), ()]
    assert [task.names_dependencies for task in found.tasks] == [False, False, True, True]


def test_an_unknown_dependency_counts_as_met() -> None:
    found = plan(None, "2.4")
    assert found.tasks[1].depends_on == ()
    assert [entry.severity for entry in found.diagnostics if entry.code == "unknown-dependency"] == [
        "warning"
    ]


PHASE = "# Milestone 3: M\n\n"
UNKNOWN = {
    "own number": ("## Task 1.1: T\n\n", "1.2", "1.9", "error"),
    "own number, then words": ("## Task 1.1: T\n\n", "1.2", "1.9, the parser", "error"),
    "own number, letter after it": ("## Task 1.1: T\n\n", "1.2", "1.2b", "error"),
    "own number, deeper": ("## Task 1.1: T\n\n", "1.2", "1.1.4", "error"),
    "own letter and number": ("## Task M2.1: T\n\n", "M2.2", "m2.9", "error"),
    "end of a range": ("## Task 1.1: T\n\n", "1.2", "1.1 to 1.9", "error"),
    "another number": ("## Task 1.1: T\n\n", "1.2", "2.9", "warning"),
    "another letter": ("## Task M2.1: T\n\n", "M2.2", "M1.9", "warning"),
    "another milestone that begins alike": ("## Task 1.1: T\n\n", "1.2", "12.1", "warning"),
    "number of the title": (f"{PHASE}## Task 1: T\n\n", "2", "3.9", "error"),
    "not the number of the title": (f"{PHASE}## Task 1: T\n\n", "2", "2.9", "warning"),
    "plain number": ("## Task 1: T\n\n", "2", "9", "error"),
    "plain number, then a title": ("## Task 1: T\n\n", "2", "9 - the parser", "error"),
    "plain number, called a task": ("## Task 1: T\n\n", "2", "Task 9 for its API", "error"),
    "plain number of something": ("## Task 1: T\n\n", "2", "9 services", "warning"),
    "plain number where ids have dots": ("## Task 1.1: T\n\n", "1.2", "9", "warning"),
    "letters": ("## Task T01: T\n\n", "T02", "T99", "error"),
}


@pytest.mark.parametrize(("before", "id", "value", "severity"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_id_of_the_own_milestone_is_an_error(
    before: str, id: str, value: str, severity: str
) -> None:
    text = f"{before}## Task {id}: T\n\n**Depends on:** {value}\n"
    found = [e for e in read_plan(text, path="plan.md").diagnostics if e.code == "unknown-dependency"]
    assert [(entry.severity, entry.line) for entry in found] == [(severity, len(text.splitlines()))]


def test_what_names_no_task_leaves_document_order() -> None:
    found = plan(None, "the database being up")
    assert found.tasks[1].depends_on == ("1",)
    assert dependency_codes(found) == ["unreadable-dependency"]


def test_another_case_of_an_id_is_that_id() -> None:
    found = read_plan("## Task A.1: x\n\n## Task B.1: y\n\n**Depends on:** a.1\n", path="plan.md")
    assert found.tasks[1].depends_on == ("A.1",)


def test_order_keeps_the_document_where_it_may() -> None:
    assert ids(order_tasks(plan("3", "none", "none", "1"))) == ["2", "3", "1", "4"]


@pytest.mark.parametrize(
    ("depends", "path"),
    [
        pytest.param(["1"], ("1", "1"), id="itself"),
        pytest.param(["2", "1"], ("1", "2", "1"), id="two"),
        pytest.param(["none", "4", "2", "3"], ("2", "4", "3", "2"), id="three-behind-one"),
    ],
)
def test_cycles_have_their_path(depends: list[str], path: tuple[str, ...]) -> None:
    found = plan(*depends)
    assert find_cycles(found.tasks) == (path,)
    (error,) = found.errors
    assert error.code == "dependency-cycle"
    assert " → ".join(path) in error.message
    assert sorted(ids(order_tasks(found))) == sorted(ids(found.tasks))


def test_long_chains_need_no_recursion() -> None:
    found = read_plan("".join(f"## Task {n}: x\n" for n in range(5000)), path="plan.md")
    assert find_cycles(found.tasks) == ()
    assert [int(task.id) for task in order_tasks(found)] == list(range(5000))
