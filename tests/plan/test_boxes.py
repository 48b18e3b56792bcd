"""No item with a box disappears: it is a task, a criterion or a diagnostic with its line."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.errors import PlanError
from orchestrator.plan.boxes import read_box
from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan


def read(text: str) -> Plan:
    return read_plan(text, path="TODO.md")


def lines_of(plan: Plan, code: str) -> list[int]:
    return [entry.line for entry in plan.diagnostics if entry.code == code]


@pytest.mark.parametrize(
    "item",
    [
        "- [ ] a",
        "* [ ] a",
        "+ [ ] a",
        "1. [ ] a",
        "2) [ ] a",
        "• [ ] a",
        "-[ ] a",
        "*[ ] a",
        "- [] a",
        "- [ ]a",
        " - [ ] a",
        "  - [ ] a",
        "   - [ ] a",
        "-\t[ ] a",
        "- [  ] a",
        "-   [ ] a",
        "[ ] a",
        "- [\t] a",
    ],
)
def test_forms_of_an_open_box(item: str) -> None:
    plan = read(f"# Todo\n\n- [x] first\n{item}\n")
    assert [task.done for task in plan.tasks] == [True, False] or plan.tasks[0].acceptance
    assert all(not task.done for task in plan.tasks if "a" in task.title.split())
    assert lines_of(plan, "unread-checkbox") == []


@pytest.mark.parametrize("item", ["- [x] a", "- [X] a", "-[x] a", "- [ X ] a", "- [x]a", " - [x] a", "[x] a"])
def test_forms_of_a_ticked_box(item: str) -> None:
    assert [task.done for task in read(f"# Todo\n\n{item}\n").tasks] == [True]


@pytest.mark.parametrize(
    "mark", ["v", "✓", "✔", "✔️", "✅", "/", ">", "!", "?", "~", "-", "*", "o", "done", "TODO", "--"]
)
def test_an_unknown_mark_is_open_and_reported(mark: str) -> None:
    plan = read(f"# Todo\n\n- [x] first\n- [{mark}] second\n- [ ] third\n")
    assert [(task.title, task.done) for task in plan.tasks] == [
        ("first", True),
        ("second", False),
        ("third", False),
    ]
    assert lines_of(plan, "unread-checkbox") == [4]


@pytest.mark.parametrize("item", ["- [1] a source", "- [x](page.md) a link", "- [v][ref] a link"])
def test_what_only_looks_like_a_box_is_not_a_task(item: str) -> None:
    plan = read(f"# Todo\n\n- [ ] first\n\n## See\n\n{item}\n")
    assert [task.title for task in plan.tasks] == ["first"]
    assert lines_of(plan, "unread-checkbox") == [7]


@pytest.mark.parametrize(
    "item", ["- [text](page.md)", "- [US1] a story", "- a[0] = 1", "- `[ ]` in code", "- [12] x"]
)
def test_other_brackets_are_text(item: str) -> None:
    assert read_box(1, item) is None


@pytest.mark.parametrize("indent", [" ", "  ", "   "])
def test_a_list_that_is_indented_as_a_whole_is_a_list(indent: str) -> None:
    text = f"# Todo\n\n## Bugs\n{indent}- [ ] a\n{indent}- [x] b\n\n## Ideas\n{indent}- [ ] c\n\n- [ ] d\n"
    assert [(task.title, task.done) for task in read(text).tasks] == [
        ("a", False),
        ("b", True),
        ("c", False),
        ("d", False),
    ]


def test_a_heading_in_a_plain_item_does_not_hide_its_boxes() -> None:
    plan = read("# Todo\n\n- Bugs\n  - [ ] a\n  - [ ] b\n- Ideas\n\n  - [ ] c\n")
    assert [task.title for task in plan.tasks] == ["a", "b", "c"]


def test_an_open_box_inside_a_ticked_one_is_open() -> None:
    plan = read("# Todo\n\n- [x] a\n  - [ ] part\n- [x] b\n  - [x] part\n- [x] c\n\n  - [?] part\n")
    assert [task.done for task in plan.tasks] == [False, True, False]
    assert lines_of(plan, "unread-state") == [3, 7]
    (task,) = read("# Tasks\n\n- [x] T001 a\n  - [ ] part\n").tasks
    assert not task.done


def test_lines_between_items_belong_to_the_item_that_contains_them() -> None:
    plan = read("# Todo\n\n- [ ] a\n  text\n\n  more\n  ```bash\n  make\n  ```\n- plain\n- [ ] b\n")
    assert [task.section for task in plan.tasks] == [
        "- [ ] a\n  text\n\n  more\n  ```bash\n  make\n  ```",
        "- [ ] b",
    ]


def test_boxes_in_quotes_code_and_html_are_reported_and_those_in_comments_are_not() -> None:
    text = "# Todo\n\n- [ ] a\n\n> - [ ] b\n\nText.\n\n        - [ ] c\n\n<div>\n- [ ] d\n</div>\n"
    text += "\n<!--\n- [ ] e\n-->\n"
    assert lines_of(read(text), "unread-checkbox") == [5, 9, 12]


def test_boxes_outside_of_the_tasks_of_a_milestone_plan_are_reported() -> None:
    plan = read("# M\n\n- [ ] a\n\n## Task 1: A\n\n- [ ] b\n\n## Completion Checklist\n\n- [ ] c\n")
    assert lines_of(plan, "unread-checkbox") == [3, 11]


def test_task_categories_are_left_out_of_the_criteria() -> None:
    plan = read(
        "## Task 1: A\n\n**Type:** CODING\n\n**Task Categories:**\n- [x] Backend\n- [ ] Frontend\n"
        "\n**Notes:**\n- [ ] c\n"
    )
    assert [entry.text for entry in plan.tasks[0].acceptance] == ["c"]
    assert lines_of(plan, "unread-checkbox") == []


MARKS = st.sampled_from(
    [" ", "", "x", "X", "v", "✓", "✔️", "/", ">", "!", "-", "~", "?", "1", " X ", "done", "  "]
)
BULLETS = st.sampled_from(
    [
        "- ",
        "* ",
        "+ ",
        "1. ",
        "2) ",
        "-",
        "• ",
        "-\t",
        "-  ",
        "10. ",
        "a) ",
        "– ",
        "- - ",
        "~~- ",
        "-\xa0",
        "",
    ]
)
INDENTS = st.sampled_from(
    ["", " ", "  ", "   ", "    ", "\t", "      ", "\t\t", " \t", "\xa0", "> ", "> > ", "| "]
)
TEXTS = st.sampled_from(
    [
        " write it",
        "write it",
        " T001 write it",
        " T002.1 [P] x",
        " 1. one",
        " 1.2 two",
        " **3. three**",
        " ~~old~~",
        " x (cancelled)",
        " x ✅",
        " ",
        "](x",
        " **Verify:** `make`",
        " `make`",
        " `T003` three",
        " ~~T004~~ four",
        " T005-T006 two",
        " 2.1-2.2 two",
        " 4 times",
        " x — Removed",
        " x |",
    ]
)
BRACKETS = st.sampled_from(["[]", "[]", "[]", "［］"])
ITEMS = st.builds(
    lambda indent, bullet, brackets, mark, text: f"{indent}{bullet}{brackets[0]}{mark}{brackets[1]}{text}",
    INDENTS,
    BULLETS,
    BRACKETS,
    MARKS,
    TEXTS,
)
OTHER = st.sampled_from(
    [
        "",
        "text",
        "  text",
        "- plain",
        "  - plain",
        "## Phase 1: x",
        "### Step 1: x",
        "### Iteration 2",
        "### US-001: x",
        "## Task 1: x",
        "## Task 2: y",
        "### Task 2.1: z",
        "**Acceptance Criteria:**",
        "**Verify:**",
        "**Notes:**",
        "  - **Verify:**",
        "## Validation Commands",
        "---",
        "> quote",
        "====",
        "## Out of scope",
        "## Acceptance Criteria",
        "## Tasks / Subtasks",
        "<div>",
        "</div>",
    ]
)


_QUOTE_OR_CELL = re.compile(r"^(?:\s{0,3}>\s?)+|^\s*\|\s*")


def find_lost(lines: list[str], plan: Plan) -> list[str]:
    """The items with a box that are neither a task, nor a criterion, nor a diagnostic."""
    reported = {entry.line for entry in plan.diagnostics}
    left_out = any(entry.code == "left-out-task" for entry in plan.diagnostics)
    lost = []
    for number, line in enumerate(lines, 1):
        box = read_box(number, _QUOTE_OR_CELL.sub("", line))
        if box is None or number in reported or left_out:
            continue
        if any(box.text.strip("`") in task.verify for task in plan.tasks):
            continue
        owners = [task for task in plan.tasks if line.strip() in task.section]
        if not any(
            task.lines.first == number
            or any(entry.text.startswith(box.text) and entry.done == box.done for entry in task.acceptance)
            for task in owners
        ):
            lost.append(line)
    return lost


@settings(max_examples=300)
@given(st.lists(ITEMS | OTHER, min_size=1, max_size=14), st.sampled_from(["\n", "\r\n"]), st.booleans())
@example(["- [ ] write it", "====", "", "- [ ] write it"], "\n", False)
@example(["| - [ ] write it", "====", "> - [ ] write it", "## Task 1: x"], "\n", False)
def test_no_item_with_a_box_is_lost(lines: list[str], end: str, bom: bool) -> None:
    try:
        plan = read_plan(("\ufeff" if bom else "") + end.join(lines), path="TODO.md")
    except PlanError:
        return
    assert find_lost(lines, plan) == []


def test_boxes_in_comments_and_fences_are_not_items() -> None:
    plan = read("- [ ] a\n\n<!--\n- [ ] b\n-->\n\n```text\n- [ ] c\n```\n\n~~~\n- [ ] d\n~~~\n\n- [ ] e\n")
    assert [task.title for task in plan.tasks] == ["a", "e"]
    assert lines_of(plan, "unread-checkbox") == []


@pytest.mark.parametrize(
    "item",
    [
        "– [ ] a",
        "— [ ] a",
        "◦ [ ] a",
        "‣ [ ] a",
        "· [ ] a",
        "a. [ ] a",
        "a) [ ] a",
        "(1) [ ] a",
        "- - [ ] a",
        "- **[ ]** a",
        "- **[ ] a**",
        "- \\[ ] a",
        "- \\[ \\] a",
        "- <!-- b --> [ ] a",
        "- ☐ a",
        "☐ a",
        "- ［ ］ a",
        "- [in progress] a",
        "- [50%] a",
        "- ( ) a",
        "- (x) a",
        "☑ a",
        "- ☑️ a",
    ],
)
def test_an_odd_box_is_not_swallowed_by_the_finished_item_above(item: str) -> None:
    plan = read(f"- [x] one\n{item}\n- [ ] three\n")
    assert [(task.lines.first, task.done) for task in plan.tasks] == [(1, True), (2, False), (3, False)]


def test_a_legend_is_not_a_box() -> None:
    assert read_box(1, "- **[P]**: Can run in parallel") is None
    assert read_box(1, "- `[ ]` is open") is None


def test_a_box_in_a_table_or_below_a_quote_is_reported() -> None:
    assert lines_of(read("- [ ] one\n\n| [ ] two | open |\n"), "unread-checkbox") == [3]
    plan = read("## Validation Commands\n> quote\n- [ ] one\n\n## More\n- [ ] two\n")
    assert lines_of(plan, "unread-command") == [3]


@pytest.mark.parametrize(
    "row",
    [
        "| a | [ ] |",
        "| 1 | [x] | a |",
        "| [ ] |",
        "| - [v] a |",
        "| ☐ | a |",
        "| a | ☑ done |",
        "> | a | [ ] |",
    ],
)
def test_a_table_row_with_a_box_is_reported(row: str) -> None:
    assert lines_of(read(f"- [ ] one\n\n{row}\n"), "unread-checkbox") == [3]


@pytest.mark.parametrize(
    "row", ["| a | [1] |", "| [x](page.md) | a |", "| a | `[ ]` |", "| [link] | a |", "|---|---|"]
)
def test_other_table_rows_are_not_reported(row: str) -> None:
    assert lines_of(read(f"- [ ] one\n\n| a | b |\n{row}\n"), "unread-checkbox") == []


def test_a_box_over_a_line_of_equals_signs_is_an_item() -> None:
    assert [task.lines.first for task in read("- [ ] one\n\n- [ ] two\n====\n").tasks] == [1, 3]
