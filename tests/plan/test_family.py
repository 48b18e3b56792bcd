"""Tasks and their subtasks: what is done, left out or a group, and the order that follows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.graph import find_cycles, order_tasks, without_groups
from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan


def read(text: str) -> Plan:
    return read_plan(text, path="tasks.md")


def tasks_json(*tasks: dict[str, object]) -> str:
    return json.dumps({"tasks": list(tasks)}, indent=1)


def order(plan: Plan) -> list[str]:
    return [task.id for task in order_tasks(plan)]


def test_a_dependency_on_a_task_waits_for_its_subtasks() -> None:
    plan = read(
        tasks_json(
            {"id": 1, "title": "Page", "dependencies": [2]},
            {"id": 2, "title": "Data", "subtasks": [{"id": 1, "title": "a"}, {"id": 2, "title": "b"}]},
        )
    )
    assert order(plan) == ["2", "2.1", "2.2", "1"]
    assert order(without_groups(plan)) == ["2.1", "2.2", "1"]
    native = read(
        "## Task 1: A\n\n**Depends on:** 2\n\nText.\n\n"
        "## Task 2: B\n\n### Task 2.1: C\n\nText.\n\n### Task 2.2: D\n"
    )
    assert order(native) == ["2", "2.1", "2.2", "1"]


def test_the_default_order_makes_no_cycle() -> None:
    plan = read(
        "- [ ] 1. Page\n  - _Depends on: 2_\n- [ ] 2. Data\n  - [ ] 2.1 a\n  - [ ] 2.2 b\n- [ ] 3. c\n"
    )
    assert plan.errors == ()
    assert order(plan) == ["2", "2.1", "2.2", "1", "3"]


def test_a_cycle_that_is_written_is_an_error() -> None:
    plan = read("- [ ] 1. A\n  - _Depends on: 2_\n- [ ] 2. B\n  - _Depends on: 1_\n")
    assert [entry.code for entry in plan.errors] == ["dependency-cycle"]


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("- [ ] 1. A\n  - [x] 1.1 a\n  - [x] 1.2 b\n", "1 1.1 1.2"),
        ("- [ ] 1. A\n  - [x] 1.1 a\n  - [ ] 1.2 b\n", "1.1"),
        ("- [x] 1. A\n  - [ ] 1.1 a\n", ""),
        ("- [x] 1. A\n  - its text\n  - [ ] 1.1 a\n", "1"),
        ("- [ ] 1. A\n  - its text\n  - [x] 1.1 a\n", "1 1.1"),
        ("- [ ] 1. A\n- [x] 1.1 a\n- [x] 1.2 b\n", "1 1.1 1.2"),
        ("- [ ] 1. A\n  - [ ] 1.1 a\n    - [x] 1.1.1 c\n  - [x] 1.2 b\n", "1 1.1 1.1.1 1.2"),
        ("- [ ] 1. A\n  - [x] 1.1 a\n  - [ ] 1.2 b (cancelled)\n", "1 1.1"),
        ("- [ ] 1. A\n  - [ ] 1.1 b (cancelled)\n", ""),
    ],
)
def test_a_task_is_done_when_its_subtasks_are(text: str, done: str) -> None:
    assert [task.id for task in read(text).tasks if task.done] == done.split()


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("- [ ] 1. A\n  - [ ] 1.1 a\n", "1"),
        ("- [ ] 1. A\n  - _Requirements: 1.1_\n  - [ ] 1.1 a\n", "1"),
        ("- [ ] 1. A\n  - its text\n  - [ ] 1.1 a\n", ""),
        ("- [ ] 1. A\n  - [ ] a box\n  - [ ] 1.1 a\n", ""),
        ("- [ ] 1. A\n- [ ] 2. B\n", ""),
        ("## Task 3: A\n\n### Task 3.1: B\n\nText.\n", "3"),
        ("## Task 3: A\n\n## Task 3.1: B\n\nText.\n", ""),
        (tasks_json({"id": 1, "title": "A", "subtasks": [{"id": 1, "title": "a"}]}), "1"),
        (tasks_json({"id": 1, "title": "A", "details": "x", "subtasks": [{"id": 1, "title": "a"}]}), ""),
    ],
)
def test_a_task_that_is_only_a_title_over_subtasks_is_a_group(text: str, groups: str) -> None:
    assert [task.id for task in read(text).tasks if task.is_group] == groups.split()


def test_subtasks_of_what_is_left_out_are_left_out() -> None:
    plan = read(
        tasks_json(
            {"id": 1, "title": "A"},
            {
                "id": 2,
                "title": "B",
                "status": "deferred",
                "subtasks": [{"id": 1, "title": "b", "status": "done"}],
            },
            {"id": 3, "title": "C", "status": "cancelled", "dependencies": [2]},
            {"id": 4, "title": "D", "dependencies": [1, "2.1"]},
        )
    )
    assert [task.id for task in plan.tasks] == ["1", "4"]
    found = [entry for entry in plan.diagnostics if entry.code == "left-out-task"]
    assert ["2.1" in entry.message for entry in found] == [True, False]
    assert plan.errors == ()


def test_parts_of_a_group_wait_for_what_the_group_waits_for() -> None:
    plan = read(
        tasks_json(
            {"id": 1, "title": "A"},
            {"id": 2, "title": "B", "dependencies": [1], "subtasks": [
                {"id": 1, "title": "a", "dependencies": []}, {"id": 2, "title": "b", "dependencies": [1]},
            ]},
        )
    )  # fmt: skip
    assert [(task.id, task.depends_on) for task in without_groups(plan).tasks] == [
        ("1", ()), ("2.1", ("1",)), ("2.2", ("1", "2.1")),
    ]  # fmt: skip


NODES = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(0, 11), max_size=2)), min_size=1, max_size=12
)


@given(NODES)
def test_only_written_dependencies_make_cycles(nodes: list[tuple[int, list[int]]]) -> None:
    """Without a forward reference among named dependencies there is no cycle, however tasks are nested."""
    lines: list[str] = []
    ids: list[str] = []
    counters: list[int] = []
    for depth, references in nodes:
        depth = min(depth, len(counters))
        counters = [*counters[:depth], (counters[depth] if depth < len(counters) else 0) + 1]
        name = ".".join(map(str, counters))
        earlier = [ids[number] for number in references if number < len(ids)]
        lines.append(f"{'  ' * depth}- [ ] {name}{'.' if depth == 0 else ''} x")
        if earlier:
            lines.append(f"{'  ' * (depth + 1)}- _Depends on: {', '.join(earlier)}_")
        ids.append(name)
    plan = read("\n".join(lines))
    assert find_cycles(plan.tasks) == ()
    work = without_groups(plan)
    assert find_cycles(work.tasks) == ()
    names = {task.id for task in work.tasks}
    assert all(names.issuperset(task.depends_on) for task in work.tasks)
