"""Properties of every plan: it reads back in any style, and no text at all makes the reader fail."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from plan_writer import FRAGMENTS, Style, Written, plans, styles, write

from orchestrator.errors import PlanError
from orchestrator.plan.graph import find_cycles, order_tasks
from orchestrator.plan.model import FORMATS, Plan, Task
from orchestrator.plan.reader import read_plan


def as_written(task: Task) -> Written:
    return Written(
        id=task.id,
        title=task.title,
        type=task.type,
        files=task.files,
        depends=task.depends_on,
        acceptance=tuple((entry.text, entry.done) for entry in task.acceptance),
        verify=task.verify,
        minutes=task.estimate_minutes,
    )


@given(plans, styles, st.data())
def test_a_plan_reads_back_equal_in_any_style(
    tasks: list[Written], style: Style, data: st.DataObject
) -> None:
    text = write(tasks, style)
    plan = read_plan(text, path="plan.md")
    assert [as_written(task) for task in plan.tasks] == tasks
    assert not plan.errors
    sections = [task.section for task in plan.tasks]
    lines = text.split("\n")
    assert sections == ["\n".join(lines[task.lines.first - 1 : task.lines.last]) for task in plan.tasks]


@given(plans, styles)
def test_the_order_of_a_plan_respects_its_dependencies(tasks: list[Written], style: Style) -> None:
    plan = read_plan(write(tasks, style), path="plan.md")
    assert find_cycles(plan.tasks) == ()
    finished: set[str] = set()
    for task in order_tasks(plan):
        assert finished.issuperset(task.depends_on)
        finished.add(task.id)
    assert finished == {task.id for task in plan.tasks}


def sample(depth: int) -> str:
    """A sample plan in a fence, with fences of the same length inside."""
    inner = sample(depth - 1) if depth else "```bash\nmake\n```"
    return f"```markdown\n## Task 99.1: A sample\n\n{inner}\n\n## Task 99.2: A sample\n```"


@given(plans, styles, st.integers(0, 3), st.data())
def test_a_sample_in_a_fence_at_any_place_changes_no_task(
    tasks: list[Written], style: Style, depth: int, data: st.DataObject
) -> None:
    lines = write(tasks, style).split("\n")
    places = [n for n in range(1, len(lines) + 1) if not inside_a_fence(lines, n)]
    at = data.draw(st.sampled_from(places))
    mixed = [*lines[:at], sample(depth), *lines[at:]]
    plan = read_plan("\n".join(mixed), path="plan.md")
    assert [task.id for task in plan.tasks] == [task.id for task in tasks]
    assert "ambiguous-fence" in {entry.code for entry in plan.diagnostics}


def inside_a_fence(lines: list[str], before: int) -> bool:
    return sum(line.lstrip().startswith(("```", "~~~")) for line in lines[:before]) % 2 == 1


def read_or_refuse(data: bytes | str, format: str | None = None) -> Plan | None:
    try:
        return read_plan(data, path="plan.md", format=format)
    except PlanError as error:
        assert error.hint is not None and error.where is not None
        return None


@given(st.text() | st.binary(), st.sampled_from([None, *FORMATS]))
def test_any_bytes_give_a_plan_or_a_plan_error(data: bytes | str, format: str | None) -> None:
    read_or_refuse(data, format)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25), st.sampled_from([None, *FORMATS]))
def test_any_mixture_of_markdown_gives_a_plan_or_a_plan_error(pieces: list[str], format: str | None) -> None:
    plan = read_or_refuse("\n".join(pieces), format)
    if plan is None:
        return
    count = len(pieces) + 1
    assert all(1 <= entry.line <= count for entry in plan.diagnostics)
    assert all(1 <= task.lines.first <= task.lines.last <= count for task in plan.tasks)
    assert len(order_tasks(plan)) == len(plan.tasks)
    assert read_or_refuse("\r\n".join(pieces), format) == plan


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "title", "tasks", "subtasks",
    "dependencies", "status", "x"]), inner),
)  # fmt: skip


@given(JSON)
def test_any_json_gives_a_plan_or_a_plan_error(value: object) -> None:

    read_or_refuse(json.dumps(value), "task-master")
    read_or_refuse(json.dumps({"tasks": value}))
    read_or_refuse(json.dumps({"tasks": [value, {"id": 1, "subtasks": [value]}]}))
