"""Values after a label: files, minutes, criteria, several labels on one line, dependencies in sentences."""

import pytest

from orchestrator.plan.fields import Line
from orchestrator.plan.model import Task
from orchestrator.plan.reader import read_plan
from orchestrator.plan.values import file_names, minutes


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("- Modify: `b.py`, `c.py`", "b.py c.py"),
        ("- `a.py` and `b.py`", "a.py b.py"),
        ("- `a.py` (new) and `b.py`", "a.py b.py"),
        ("- [ ] `a.py`", "a.py"),
        ("- `a.py` (uses `foo`)", "a.py"),
        ("- `a.py` — adds `Class`", "a.py"),
        ("| `a.py` | new |", "a.py"),
        ("Makefile", "Makefile"),
        ("Dockerfile, .gitignore and a.py", "Dockerfile .gitignore a.py"),
        ("`app/(group)/page.tsx`", "app/(group)/page.tsx"),
        ("[greet.py](greet.py)", "greet.py"),
        ("`func()` in `a.py`", "a.py"),
        ("src/x.py: new", "src/x.py"),
        ("N/A (validation task)", ""),
        ("some modules, etc.", ""),
    ],
)
def test_files(value: str, wanted: str) -> None:
    assert list(file_names([Line(1, value)])) == wanted.split()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("30 min - 1 hour", 60),
        ("30 min to 2 hours", 120),
        ("1 hour - 2 days", 960),
        ("1h30", 90),
        ("1h + 30m", 90),
        ("1/2 day", 240),
        ("1,000 min", 1000),
        ("an hour", 60),
        ("½ day", 240),
        ("1½ hours", 90),
        ("-5 min", None),
        ("2h (was 3h)", 120),
        ("soon", None),
    ],
)
def test_minutes(value: str, wanted: int | None) -> None:
    assert minutes(value) == wanted


def last_task(body: str) -> Task:
    before = "".join(f"## Task 3.{n}: Before\n\nText.\n\n" for n in (1, 2))
    return read_plan(f"# P\n\n{before}## Task 3.3: Last\n\n{body}", path="p.md").tasks[-1]


@pytest.mark.parametrize(
    "value",
    [
        "Tasks: 3.1, 3.2",
        "both 3.1 and 3.2",
        "Task IDs 3.1, 3.2",
        "Requires 3.1, 3.2",
        "3.1 plus 3.2",
        "3.1 as well as 3.2",
        "3.1 3.2",
        "3.1 → 3.2",
        "3.1 then 3.2",
        "Task 3.1 and\nTask 3.2",
        "Task 3.1 (which writes\nthe greeter), Task 3.2",
        "\n\nThis task depends on Task 3.1 and Task 3.2.",
    ],
)
def test_dependencies_in_a_sentence(value: str) -> None:
    label = "### Dependencies" if value.startswith("\n") else "**Depends on:** "
    assert last_task(f"{label}{value}\n\nText.\n").depends_on == ("3.1", "3.2")


def test_numbers_that_do_not_name_tasks_are_not_dependencies() -> None:
    plan = read_plan(
        "# P\n\n## Task 1.1: A\n\nText.\n\n## Task 1.2: B\n\n**Depends on:** `typer>=0.9`\n", path="p.md"
    )
    assert plan.tasks[1].depends_on == ("1.1",)
    assert [d.code for d in plan.diagnostics if "depend" in d.code] == ["unreadable-dependency"]


def test_none_is_none_beside_other_dependencies() -> None:
    assert last_task("**Depends on:** None\n**Prerequisites:** Docker running\n").depends_on == ()


def test_several_labels_on_a_line() -> None:
    task = last_task("**Type:** CODING | **Effort:** 2h | **Depends on:** 3.1\n")
    assert (task.type, task.estimate_minutes, task.depends_on) == ("CODING", 120, ("3.1",))


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("**Acceptance Criteria:**\n\n**Fast:**\n- [ ] A\n\n**Safe:**\n- [ ] B\n\n**Notes:**\n- no\n", "A B"),
        ("### Acceptance Criteria\n\n#### Fast\n- [ ] A\n\n#### Safe\n- [ ] B\n\n### Notes\n- no\n", "A B"),
        ("**Acceptance Criteria:**\n*Fast:*\n- [ ] A\n*Safe:*\n- [ ] B\n", "A B"),
        ("**Acceptance Criteria:**\n- [ ] A\n- [ ] B\n\nSome notes after the list.\n", "A B"),
        ("**Acceptance Criteria:**\n- [ ] A\n\n**Tests:**\n- [ ] no\n", "A"),
    ],
)  # fmt: skip
def test_criteria_in_groups_and_what_follows_them(body: str, wanted: str) -> None:
    assert [entry.text for entry in last_task(body).acceptance] == wanted.split()
