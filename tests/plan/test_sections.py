"""Formats are recognised by all they hold: sections, labels in items, ids, branches, commands."""

import pytest

from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan


def read(text: str) -> Plan:
    return read_plan(text, path="plan.md")


def lines_of(plan: Plan, code: str) -> list[int]:
    return [entry.line for entry in plan.diagnostics if entry.code == code]


@pytest.mark.parametrize(
    ("headings", "ids"),
    [
        (("### Iteration 1: a", "### Iteration 2: b"), "1 2"),
        (("## Step 1: a", "## Step 2 - b"), "1 2"),
        (("### US-001: a", "### US-002: b"), "US-001 US-002"),
        (("### T001: a", "### T002: b"), "T001 T002"),
        (("### Story 1.1: a", "### User Story 1.2: b"), "1.1 1.2"),
        (("### ✅ Iteration 1: a", "### **Iteration 2:** b"), "1 2"),
        (("### TASK-001: a", "### TASK-002: b"), "001 002"),
    ],
)
def test_headings_over_lists_are_tasks(headings: tuple[str, str], ids: str) -> None:
    plan = read(f"# Plan\n\n{headings[0]}\n\n- [x] one\n- [x] two\n\n{headings[1]}\n- [ ] one\n- [ ] two\n")
    assert [(task.id, task.title, task.done, len(task.acceptance)) for task in plan.tasks] == [
        (ids.split(maxsplit=1)[0], "a", True, 2),
        (ids.split()[1], "b", False, 2),
    ]


def test_ids_that_begin_again_in_each_phase_get_its_number() -> None:
    step = "### Step {}: x\n- [ ] y\n"
    plan = read("# P\n## A\n" + step.format(1) + step.format(2) + "## B\n" + step.format(1))
    assert [task.id for task in plan.tasks][1:] == [f"{plan.tasks[0].id[:-1]}2", plan.tasks[2].id]
    assert plan.errors == ()


def test_steps_inside_a_task_belong_to_it() -> None:
    plan = read("## Task 1: a\n\n### Step 1: b\n- [ ] c\n\n### Step 2: d\n- [x] e\n")
    assert [(task.id, len(task.acceptance)) for task in plan.tasks] == [("1", 2)]


def test_a_heading_like_a_step_over_few_of_the_boxes_is_only_a_heading() -> None:
    plan = read("# Todo\n\n### Step 1: a\n- [ ] b\n\n## More\n- [ ] c\n- [ ] d\n")
    assert [task.title for task in plan.tasks] == ["b", "c", "d"]


@pytest.mark.parametrize(
    "tasks",
    [
        "## Task 1: a\n\n- [ ] b\n",
        "### Iteration 1: a\n- [ ] b\n",
        "- [ ] T001 a\n",
        "- [ ] 1. a\n",
        "- [ ] a\n",
    ],
)
def test_validation_commands_and_branch_count_in_every_format(tasks: str) -> None:
    plan = read(
        "# Plan\n\n**Branch:** `feature/x`\n\n## Validation Commands\n\n- `make test`\n- [ ] `make lint`\n"
        f"- and look\n\n## Tasks\n\n{tasks}"
    )
    assert plan.branch == "feature/x"
    assert [task.verify for task in plan.tasks] == [("make test", "make lint")]
    assert plan.end_to_end is not None and plan.end_to_end.commands == ("make test", "make lint")
    assert lines_of(plan, "unread-command") == [9]


@pytest.mark.parametrize("tasks", ["## Task 1: a\n\nText.\n", "- [ ] T001 a\n", "- [ ] 1. a\n", "- [ ] a\n"])
@pytest.mark.parametrize(
    "value",
    ["to be decided", "feature/my branch", "<your-branch>", "TBD", "`a` or `b`", "a..b", "[###-name]"],
)
def test_a_branch_that_is_not_one_name_is_an_error(value: str, tasks: str) -> None:
    plan = read(f"# Plan\n\n**Branch:** {value}\n\n{tasks}")
    assert (plan.branch, [(entry.code, entry.line) for entry in plan.errors]) == (None, [("bad-branch", 3)])


@pytest.mark.parametrize("tasks", ["## Task 1: a\n\nText.\n", "- [ ] 1. a\n", "- [ ] a\n"])
@pytest.mark.parametrize("value", ["none", "-", "N/A"])
def test_no_branch(value: str, tasks: str) -> None:
    plan = read(f"# Plan\n\n**Branch:** {value}\n\n{tasks}")
    assert (plan.branch, plan.errors) == (None, ())


@pytest.mark.parametrize("item", ["- [ ] 1. a", "- [ ] T001 a", "- [ ] a"])
@pytest.mark.parametrize(
    "verify",
    [
        "  - Verify: `make`",
        "  - **Verify**: `make`",
        "  - **Verify:** `make`",
        "  **Verify:** `make`",
        "  - **Verify:**\n    ```bash\n    make\n    ```",
        "  - **Verify:**\n    - `make`",
        "  - **Verify:** `make`\n    ```bash\n    make\n    ```",
        "  - Do: write\n  - Verify: `make`\n  - Done when: x",
    ],
)
def test_verify_in_a_list_item(item: str, verify: str) -> None:
    (task,) = read(f"# Plan\n\n{item}\n{verify}\n").tasks
    assert [command.strip() for command in task.verify] == ["make"]


def test_prose_under_verify_in_a_list_item_is_reported() -> None:
    plan = read("# Plan\n\n- [ ] a\n  - Verify: the tests pass\n")
    assert (plan.tasks[0].verify, lines_of(plan, "unread-command")) == ((), [4])


@pytest.mark.parametrize(
    ("value", "commands", "unread"),
    [
        ("\n- `make a`\n- `make b` is green\n- review it\n", ["make a"], [5, 6]),
        (" `make a`, `make b`\n", [], [3]),
        (" a document\nwith all parts\n", [], [3]),
        ("\nRun these:\n```bash\nmake\n```\n", ["make"], []),
        (" none\n", [], []),
    ],
)
def test_lines_under_verify_that_are_not_run(value: str, commands: list[str], unread: list[int]) -> None:
    plan = read(f"## Task 1: a\n\n**Verify:**{value}")
    assert list(plan.tasks[0].verify) == commands
    assert lines_of(plan, "unread-command") == unread


def test_a_section_for_commands_outside_of_the_tasks_is_reported() -> None:
    plan = read(
        "# S\n\n## Verification\n\n- `make`\n\n## Tasks\n\n- [ ] **T01: Count** `est:30m`\n- [ ] **T02: x**\n"
    )
    assert lines_of(plan, "unread-command") == [3]
    assert [(task.id, task.title, task.estimate_minutes) for task in plan.tasks] == [
        ("T01", "Count `est:30m`", 30),
        ("T02", "x", None),
    ]


@pytest.mark.parametrize(
    "id",
    ["T031", "T031.1", "T031.12", "T003-1", "[T004]", "T-031", "TASK-001", "US1-T003", "T012a", "**T013**"],
)
def test_ids_of_spec_kit_lists(id: str) -> None:
    plan = read(
        f"# Tasks\n\n- [ ] T001 First\n- [ ] {id} [P] [US1] Write it\n- [ ] T099 Last (depends on {id})\n"
    )
    name = id.strip("[]*")
    assert [(task.id, task.title) for task in plan.tasks][1] == (name, "Write it")
    assert name in plan.tasks[2].depends_on and plan.errors == ()


@pytest.mark.parametrize(
    "text", ["4.1–4.3", "4.1~4.3", "4.1-4.3", "4.1 to 4.3", "4.1…4.3", "4.1, 4.2 and 4.3"]
)
def test_ranges_and_lists_of_dependencies(text: str) -> None:
    before = "".join(f"## Task 4.{n}: x\n\nText.\n\n" for n in (1, 2, 3))
    plan = read(f"{before}## Task 4.4: y\n\n**Depends on:** {text}\n")
    assert plan.tasks[-1].depends_on == ("4.1", "4.2", "4.3")


def test_headings_with_a_line_below_them() -> None:
    plan = read(
        "My plan\n=======\n\nTask 1.1: A\n---\nText.\n---\n\nTask 1.2: B\n-----------\nText\n\n"
        "Goals here\n----------\n- x\n"
    )
    assert (plan.title, [(task.id, task.title, task.lines.last) for task in plan.tasks]) == (
        "My plan",
        [("1.1", "A", 6), ("1.2", "B", 11)],
    )


STEPS = (
    "**Files:**\n- Create: `a.sh`\n\n**Interfaces:**\n- Produces: `a.sh`\n\n"
    "- [{}] **Step 1: Write**\n\nRun: `x`\n"
)


def test_boxes_after_an_unknown_label_are_criteria() -> None:
    plan = read(f"# P\n\n### Task 1: A\n\n{STEPS.format('x')}\n### Task 2: B\n\n{STEPS.format(' ')}")
    assert [(len(task.acceptance), task.done) for task in plan.tasks] == [(1, True), (1, False)]
    assert {entry.code for entry in plan.diagnostics} == {"counts-as-done", "no-verify"}


def test_ticked_criteria_of_a_milestone_plan_do_not_finish_a_task() -> None:
    plan = read("## Task 1: A\n\nText.\n\n**Acceptance Criteria:**\n- [x] b\n\n## Task 2: B\n\n- [x] c\n")
    assert [task.done for task in plan.tasks] == [False, False]


@pytest.mark.parametrize("word", ["Step ", "Iteration ", "Story ", "US-00", "T00"])
@pytest.mark.parametrize(
    "heading",
    ["~~{}2: B~~", "~~{}2~~: B", "[REMOVED] {}2: B", "{}2: B [on hold]", "{}2: ~~B~~", "{}~~2~~: B"],
)
def test_a_section_that_is_struck_out_or_removed_is_left_out(word: str, heading: str) -> None:
    if "~~2" in heading and word[-1] == "0":
        heading = "~~{}2~~: B"
    text = f"### {word}1: A\n- [x] a\n### {heading.format(word)}\n- [ ] b\n### {word}3: C\n- [ ] c\n"
    plan = read_plan(text, path="plan.md")
    assert [task.title for task in plan.tasks] == ["A", "C"]
    assert [(entry.code, entry.line) for entry in plan.diagnostics if entry.code != "no-verify"] == [
        ("counts-as-done", 1),
        ("left-out-task", 3),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        "**Test:** `make test`",
        "**Tests:**\n```bash\nmake test\n```",
        "- **Test:** `make test`",
        "- Test: `make test`",
        "**Unit Tests:**\n- `make test`",
        "**Commands:**\n```sh\nmake test\n```",
        "**Validation:** `make test`",
        "**How to test:** `make test`",
    ],
)
@pytest.mark.parametrize(
    "start", ["## Task 1.1: A\na\n\n{}", "### Step 1: A\n- [ ] a\n\n{}", "- [ ] 1. A\n{}"]
)
def test_a_command_under_another_label_is_reported(start: str, lines: str) -> None:
    if start.startswith("- "):
        lines = "\n".join(f"  {line}" for line in lines.split("\n"))
    plan = read_plan(start.format(lines), path="plan.md")
    line = start.count("\n") + 1
    assert [entry.line for entry in plan.diagnostics if entry.code == "unread-command"] == [line]
    assert plan.tasks[0].verify == ()


@pytest.mark.parametrize("heading", ["Validation", "Validation Loop", "Tests", "E2E Test", "Verification"])
def test_a_section_of_commands_that_is_not_read_is_reported(heading: str) -> None:
    text = f"- [ ] 1. A\n\n## {heading}\n\n### Level 1\n\n```bash\nmake\n```\n"
    plan = read_plan(text, path="plan.md")
    assert [entry.line for entry in plan.diagnostics if entry.code == "unread-command"] == [3]


def test_a_label_without_a_command_is_text() -> None:
    text = "## Task 1.1: A\n\nRun: `make`\n\n**Test:** read the page\n\n**Tests:** in `a.py` and `b.py`\n"
    plan = read_plan(text, path="plan.md")
    assert "unread-command" not in {entry.code for entry in plan.diagnostics}


def test_a_box_that_is_struck_out_keeps_no_section_open() -> None:
    text = "### Step 1: A\n- [x] a\n- [ ] ~~b~~\n\n### Step 2: B\n- [ ] ~~c~~\n- [ ] d\n"
    assert [task.done for task in read_plan(text, path="plan.md").tasks] == [True, False]


def test_the_title_of_a_plan_is_not_a_phase() -> None:
    text = "# P\n\n## One\n### Step 1: A\n- [ ] a\n## Two\n### Step 1: B\n- [ ] b\n"
    assert [task.id for task in read_plan(text, path="plan.md").tasks] == ["1.1", "2.1"]


@pytest.mark.parametrize(
    "line",
    ["- _Verify: `make`_", "- **Verify** — `make`", "**Verify:**\n  - `make`", "- **Verify:**\n    - `make`"],
)
def test_more_forms_of_verify_in_an_item(line: str) -> None:
    plan = read_plan(f"- [ ] 1. A\n  {line}\n- [ ] 2. B\n", path="plan.md")
    assert [task.verify for task in plan.tasks] == [("make",), ()]


@pytest.mark.parametrize("value", ["feature/x, based on main", "feature/x, from `main`"])
def test_the_origin_of_a_branch_may_follow_a_comma(value: str) -> None:
    plan = read_plan(f"# P\n\n**Branch:** {value}\n\n- [ ] 1. A\n", path="plan.md")
    assert plan.branch == "feature/x"
