"""Tasks that count as done or are left out: marks and words in titles and under Status."""

import pytest

from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan
from orchestrator.plan.states import is_checkpoint, status_state, title_state


def read(text: str, format: str | None = None) -> Plan:
    return read_plan(text, path="plan.md", format=format)


def found(plan: Plan, code: str) -> list[int]:
    return [entry.line for entry in plan.diagnostics if entry.code == code]


@pytest.mark.parametrize(
    "title",
    [
        "Write it ✅",
        "Write it ✔",
        "Write it ✔️",
        "Write it ☑️",
        "Write it ✓",
        "Write it [x]",
        "Write it [X]",
        "Write it (done)",
        "Write it [DONE]",
        "Write it (completed)",
        "Write it - ✅",
        "Write it — [x]",
        "Write it — DONE",
        "Write it - Done",
        "Write it ✅ DONE",
        "Write it DONE ✅",
        "Write it ✅ (2026-01-05)",
        "Write it ✅ 2026-01-05",
        "Write it ✅ #12",
        "Write it **✅**",
        "✅ Write it",
        "✅ - Write it",
        "[x] Write it",
        "✅ Done: Write it",
        "(done) Write it",
        ":white_check_mark: Write it",
        "Write the report ✅",
        "Write the status page ✅",
        "Write it (✅)",
        "Write it (Done 2026-01-01)",
        "Write it ✅ merged",
    ],
)
def test_a_mark_that_stands_alone_is_done(title: str) -> None:
    plan = read(f"## Task 1: {title}\n\nText.\n\n## Task 2: Open\n\nText.\n")
    assert [task.done for task in plan.tasks] == [True, False]
    assert found(plan, "counts-as-done") == [1]


@pytest.mark.parametrize(
    "title",
    [
        "Show passed checks as ✅",
        "Toggle [ ] to [x]",
        "Toggle [ ] - [x]",
        "todo, doing, (done)",
        "Replace ❌ with ✅",
        "Render ✅ and ❌",
        "Print ✅",
        "✅ for passed checks",
        "✅ and ❌ in the report",
        "[x] means done",
        "✅ icons in the list",
        "Mark rows with a ✅",
        "Status column: ✅",
        "Use [x] for done",
        "✅ Write ✅",
        "States: open, closed, [done]",
        "Draw the emoji ✅",
        "Set the state (done)",
        "x✅",
        "Add a (skipped) state",
        "Say that it is (done)",
        "The word (cancelled)",
        "Filter by (done)",
    ],
)
def test_a_mark_in_a_phrase_is_text_and_reported(title: str) -> None:
    plan = read(f"## Task 1: {title}\n\nText.\n")
    assert [task.done for task in plan.tasks] == [False]
    assert found(plan, "unread-state") == [1]


@pytest.mark.parametrize(
    "title",
    [
        "Show `✅`",
        "Handle undone work",
        "Abandon the old API",
        "Write it - done",
        "Toggle [ ]",
        "❌ Write it",
    ],
)
def test_other_words_and_marks_say_nothing(title: str) -> None:
    assert title_state(title) is None


@pytest.mark.parametrize("lead", ["✅ ", "✔️ ", "[x] ", "1. ✅ ", "(done) ", "✅ **"])
def test_a_mark_before_the_word_task_is_done_for_every_title(lead: str) -> None:
    (task,) = read(f"## {lead}Task 1: Show passed checks as ✅\n\nText.\n").tasks
    assert task.done


@pytest.mark.parametrize(
    "status",
    [
        "Done",
        "done.",
        "**Done**",
        "`done`",
        "✅",
        "✅ Complete",
        "🟢 Complete",
        "✔️ done",
        "DONE ✅",
        "Done ✔️",
        "COMPLETED 2024",
        "Completed 2026-01-05",
        "Completed on 2026-01-05",
        "Complete (PR #12)",
        "Closed by #12",
        "Merged in 1a2b3c4",
        "[x]",
        "Finished",
        "☑",
        "✅ **DONE**",
    ],
)
def test_a_status_that_is_done(status: str) -> None:
    said = status_state(status)
    assert said is not None and said.state == "done"


@pytest.mark.parametrize(
    "status",
    [
        "Cancelled",
        "canceled",
        "❌ Cancelled",
        "Deferred to milestone 8",
        "Skipped",
        "Skipped for now",
        "Won't do",
        "won’t fix",
        "wontfix",
        "Wont-do",
        "Obsolete",
        "Superseded by 3.4",
        "Postponed",
        "🚫 Dropped",
        "Out of scope",
        "Not needed",
        "**Deferred**",
        "Rejected",
        "~~Open~~ Cancelled",
    ],
)
def test_a_status_that_leaves_the_task_out(status: str) -> None:
    plan = read(
        f"## Task 1: A\n\n**Status:** {status}\n\nText.\n\n### Task 1.1: Part\n\nText.\n\n"
        "## Task 2: B\n\nText.\n"
    )
    assert [task.id for task in plan.tasks] == ["2"]
    assert found(plan, "left-out-task") == [1]


@pytest.mark.parametrize(
    "status",
    [
        "Not started",
        "In progress",
        "Blocked",
        "TODO",
        "Partially complete",
        "not done",
        "❌ Not done",
        "Pending",
        "To be done",
        "Incomplete",
        "Doing",
        "Open",
        "Not cancelled",
    ],
)
def test_a_status_that_is_open(status: str) -> None:
    assert status_state(status) is None


@pytest.mark.parametrize(
    "status",
    [
        "Completed on 2026-01-05, to be redone",
        "Done (mostly)",
        "Done, except the tests",
        "Done but untested",
        "Deferred, now active",
        "Skipped before, but needed again",
        "Cancelled? no",
    ],
)
def test_a_status_with_an_addition_is_open_and_reported(status: str) -> None:
    plan = read(f"## Task 1: A\n\n**Status:** {status}\n\nText.\n")
    assert [task.done for task in plan.tasks] == [False]
    assert found(plan, "unread-state") == [1]


def test_a_status_that_contradicts_the_heading_is_stronger() -> None:
    plan = read("## Task 1: A ✅\n\n**Status:** In progress\n\nText.\n")
    assert [task.done for task in plan.tasks] == [False]
    assert found(plan, "unread-state") == [1]


@pytest.mark.parametrize(
    "item",
    [
        "- [ ] 2. ~~Old~~",
        "- [ ] 2. Old (cancelled)",
        "- [ ] 2. Old [SKIPPED]",
        "- [ ] 2. Old — Deferred to 1.2",
        "- [ ] 2. Old\n  - Status: cancelled",
        "- [ ] 2. Old\n  - **Status:** Won't do",
        "- [x] 2. Old (obsolete)",
        "- [ ] ~~2.~~ Old",
        "- [ ] ~~2. Old~~ see 3",
        "- [ ] ~~**2.** Old~~",
        "- ~~[ ] 2. Old~~",
        "~~- [ ] 2. Old~~",
        "- [ ] 2. Old [REMOVED]",
        "- [ ] 2. [on hold] Old",
        "- [ ] 2. Old (on hold until the API is there)",
        "- [ ] 2. Old — Replaced by 3",
        "- [ ] 2. Old (removed)",
        "- [ ] 2. Old [withdrawn]",
        "- [ ] 2. Old [Duplicate of 1]",
    ],
)
def test_list_items_are_left_out_with_their_subtasks(item: str) -> None:
    plan = read(f"- [ ] 1. One\n{item}\n  - [ ] 2.1 Part\n- [ ] 3. Three\n")
    assert [task.id for task in plan.tasks] == ["1", "3"]
    assert found(plan, "left-out-task") == [2]


@pytest.mark.parametrize("status", ["done", "completed"])
def test_task_master_statuses(status: str) -> None:
    text = f'{{"tasks": [{{"id": 1, "title": "A", "status": "{status}"}}]}}'
    assert [task.done for task in read(text).tasks] == [True]


@pytest.mark.parametrize("status", ["pending", "in-progress", "review", "blocked", "something"])
def test_other_task_master_statuses_are_open(status: str) -> None:
    text = f'{{"tasks": [{{"id": 1, "title": "A", "status": "{status}"}}]}}'
    assert [task.done for task in read(text).tasks] == [False]


@pytest.mark.parametrize(
    "title",
    [
        "Checkpoint",
        "Checkpoint - ensure all tests pass, ask the user if questions arise",
        "Final checkpoint",
        "Ensure all tests pass",
        "Run the full test suite",
        "Run all tests",
        "Manual test of the page",
        "Manually verify the login",
        "Verify that all tests pass",
    ],
)
def test_a_task_that_only_asks_for_a_check_is_a_validation(title: str) -> None:
    plan = read(f"- [ ] 1. Write it\n- [ ] 2. {title}\n")
    assert [task.type for task in plan.tasks] == [None, "VALIDATION"]
    assert found(plan, "read-as-validation") == [2]


@pytest.mark.parametrize(
    "title",
    [
        "Checkpoint saving",
        "Run tests in CI",
        "Write a checkpoint",
        "Ensure tests exist",
        "Manual of the tool",
    ],
)
def test_other_titles_ask_for_more_than_a_check(title: str) -> None:
    assert not is_checkpoint(title)


def test_a_type_is_stronger_than_the_title() -> None:
    (task,) = read("## Task 1: Checkpoint\n\n**Type:** CODING\n\nText.\n").tasks
    assert task.type == "CODING"


def states_of(plan: Plan) -> tuple[list[str], list[int]]:
    """The ids that count as done, and the lines of those that are left out."""
    return [task.id for task in plan.tasks if task.done], found(plan, "left-out-task")


@pytest.mark.parametrize(
    "line",
    [
        "Status: Cancelled",
        "*Status: Cancelled*",
        "> **Status:** Cancelled",
        "- Status: Cancelled",
        "| Status | Cancelled |",
        "| **Status** | ❌ Deferred |",
        "**Status:** Skipped — do not run",
        "**Status:** Removed",
        "**Status:** ⏸️ On hold",
        "**Status:** Duplicate of 1.1",
    ],
)
def test_a_status_counts_in_every_form(line: str) -> None:
    plan = read(f"## Task 1.1: One\nx\n## Task 1.2: Two\n{line}\n\nx\n")
    assert states_of(plan) == ([], [3])


@pytest.mark.parametrize(
    "line",
    [
        "- status: done",
        "Status: 200 for a known name",
        "| status | done |",
        "status: done",
        "| Status | Meaning |",
    ],
)
def test_a_line_of_a_data_model_is_not_a_status(line: str) -> None:
    plan = read(f"## Task 1.1: One\n**Description:**\nx\n{line}\n")
    assert states_of(plan) == ([], [])


@pytest.mark.parametrize("status", ["[ ] Done", "❌ Done", "0 of 4 done", "Already done?", "N/A"])
def test_a_status_that_is_not_known_is_reported_and_open(status: str) -> None:
    plan = read(f"## Task 1.1: One\n**Status:** {status}\n\nx\n")
    assert (states_of(plan), found(plan, "unread-state")) == (([], []), [1])


@pytest.mark.parametrize(
    ("heading", "state"),
    [
        ("Task 3.1 Complete: Write it", "done"),
        ("Task 3.1 COMPLETE", "done"),
        ("Task 3.1 - DONE - Write it", "done"),
        ("Task 3.1 Cancelled: Write it", "left-out"),
        ("Task 3.1: CANCELLED", "left-out"),
        ("Task 3.1 Complete the wiring: details", "open"),
        ("Task 3.1: complete", "open"),
        ("Task 3.1: List requests (merged)", "open"),
        ("Task 3.1: Prefix ✅", "open"),
        ("Task 3.1 [REMOVED]: Write it", "left-out"),
        ("[on hold] Task 3.1: Write it", "left-out"),
        ("Task 3.1: Write it [on hold]", "left-out"),
        ("Task ~~3.1~~: Write it", "left-out"),
        ("~~Task 3.1~~: Write it", "left-out"),
        ("Task 3.1: Write it — Removed", "left-out"),
        ("Task 3.1: Write it — Parked until May", "left-out"),
        ("Task 3.1: Clean up — Removed rows are listed", "open"),
        ("Task 3.1: Run the fuzzer (skip in short mode)", "open"),
        ("Task 3.1: ~~Old~~ New title", "open"),
        ("Task 3.1: Filter orders — Completed", "done"),
        ("Task 3.1: Write it ✅ (in progress)", "open"),
        ("Task 3.1: Write it ✅ (not yet finished)", "open"),
    ],
)
def test_a_word_between_the_id_and_the_title(heading: str, state: str) -> None:
    done, left_out = states_of(read(f"## {heading}\nx\n## Task 3.2: Two\nx\n"))
    assert (done, left_out) == (["3.1"] if state == "done" else [], [1] if state == "left-out" else [])


@pytest.mark.parametrize(
    "item",
    [
        "- [ ] Write it ✅",
        "- [ ] Write it - DONE",
        "- [ ] **[x]** Write it",
        "- [x] Write it\n  - **Status:** not done",
        "- [x] Write it (not done)",
        "- [x] Write it [in progress]",
        "- [x] Write it — TODO",
        "- [x] Write it (partially done)",
    ],
)
def test_a_box_and_a_mark_that_contradict_each_other(item: str) -> None:
    plan = read(item + "\n- [ ] two\n")
    assert (states_of(plan), found(plan, "unread-state")) == (([], []), [1])


OUT_HEADINGS = [
    "Out of scope",
    "Out-of-scope",
    "Won't do",
    "Deferred",
    "Deferred tasks",
    "Cancelled",
    "Phase 2: Export (deferred)",
    "Phase 2: Export [DEFERRED]",
    "Phase 2 — On hold",
    "~~Phase 2~~ (removed)",
    "Skipped for now",
    "3. Not needed",
    "🚫 Obsolete",
    "Deferred (milestone 5)",
]


@pytest.mark.parametrize("heading", OUT_HEADINGS)
@pytest.mark.parametrize(
    ("task", "ids"),
    [
        ("- [ ] T00{} x", ["T001", "T004"]),
        ("- [ ] {}. x", ["1", "4"]),
        ("- [ ] x{}", ["1", "4"]),
        ("### Task {}: x\n\nText.", ["1", "4"]),
        ("### Step {}: x\n\n- [ ] a", ["1", "4"]),
    ],
)
def test_a_heading_leaves_out_all_tasks_under_it(heading: str, task: str, ids: list[str]) -> None:
    parts = ["# Plan (on hold)", "## Phase 1", task.format(1), f"## {heading}", task.format(2)]
    parts += [task.format(3).replace("###", "####"), "## Phase 3", task.format(4)]
    plan = read("\n\n".join(parts))
    assert [task.id for task in plan.tasks] == ids
    assert len(found(plan, "left-out-task")) == 2
    assert found(plan, "unread-checkbox") == []


@pytest.mark.parametrize(
    "heading",
    ["Later", "Backlog", "Future", "Skipped rows", "Show cancelled orders", "Removed users", "Phase 2"],
)
def test_other_headings_leave_nothing_out(heading: str) -> None:
    plan = read(f"## {heading}\n\n- [ ] a\n\n## More\n\n- [ ] b\n")
    assert len(plan.tasks) == 2


def test_a_task_that_is_done_stays_done_under_such_a_heading() -> None:
    plan = read("## Deferred\n\n### Task 1: Write it ✅\n\na\n\n## Now\n\n### Task 2: B\n\nb\n")
    assert states_of(plan) == (["1"], [])
