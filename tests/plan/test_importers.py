"""Task lists of other tools become the same plan."""

import json

import pytest

from orchestrator.errors import PlanError
from orchestrator.plan.model import FORMATS, Plan
from orchestrator.plan.reader import read_plan


def read(text: str, format: str | None = None) -> Plan:
    return read_plan(text, path="tasks", format=format)


def depends(plan: Plan) -> dict[str, str]:
    return {task.id: " ".join(task.depends_on) for task in plan.tasks}


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("## Task 3.1: A\n", "native"),
        ("- [ ] T012 [P] Create model\n", "spec-kit"),
        ("- [ ] 2.1 Create model\n", "kiro"),
        ("- [ ] 2. Create model\n", "kiro"),
        ('{"tasks": [{"id": 1, "title": "A"}]}', "task-master"),
        ('{"main": {"tasks": [{"id": 1, "title": "A"}]}}', "task-master"),
        ("### Task 1: A\n- [ ] x\n\n## Validation Commands\n- `make`\n", "ralphex"),
        ("- [ ] Create model\n", "checklist"),
        ("- [ ] 3 times the same\n- [ ] x\n", "checklist"),
    ],
)
def test_the_format_is_recognised(text: str, format: str) -> None:
    assert read(text).format == format


@pytest.mark.parametrize("format", FORMATS)
def test_a_forced_format_without_a_task_says_what_was_missing(format: str) -> None:
    text = "{}" if format == "task-master" else "# Only words\n"
    with pytest.raises(PlanError) as caught:
        read(text, format)
    assert f"{format}: no " in str(caught.value)


def test_a_forced_format_wins_over_what_is_recognised() -> None:
    text = "## Task 1: A\n\n- [ ] T001 first\n- [ ] T002 second\n"
    assert [task.id for task in read(text).tasks] == ["1"]
    assert [task.id for task in read(text, "spec-kit").tasks] == ["T001", "T002"]
    assert [task.id for task in read(text, "checklist").tasks] == ["1", "2"]


def test_an_unknown_format_lists_the_known_ones() -> None:
    with pytest.raises(PlanError, match="native, spec-kit, kiro, task-master, ralphex, checklist"):
        read("## Task 1: A\n", "org-mode")


def test_no_format_fits() -> None:
    with pytest.raises(PlanError) as caught:
        read("# A page\n\nWith words.\n")
    assert all(name in str(caught.value) for name in FORMATS)


def test_spec_kit_phases_wait_and_parallel_tasks_do_not() -> None:
    plan = read(
        "## Phase 1: Setup\n- [ ] T001 a\n- [ ] T002 [P] b\n- [ ] T003 [P] c\n- [ ] T004 d\n- [ ] T005 e\n"
        "## Phase 2: Story\n### Tests\n- [ ] T006 [P] [US1] f\n"
        "### Code\n- [ ] T007 [US1] g (depends on T006)\n"
    )
    assert depends(plan) == {
        "T001": "",
        "T002": "",
        "T003": "",
        "T004": "T001 T002 T003",
        "T005": "T004",
        "T006": "T001 T002 T003 T004 T005",
        "T007": "T001 T002 T003 T004 T005 T006",
    }


def test_spec_kit_markers_are_not_part_of_the_title() -> None:
    (task,) = read("- [X] **T012** [P] [US1] Create `User` in src/models/user.py\n").tasks
    assert (task.id, task.title, task.done) == ("T012", "Create `User` in src/models/user.py", True)
    assert task.files == ("src/models/user.py",)


def test_kiro_tasks_nest_and_keep_their_details() -> None:
    plan = read(
        "- [x] 1. First\n  - detail\n  - _Requirements: 1.1_\n"
        "- [ ] 2. Second\n  - [-] 2.1 Part\n    - detail\n  - [ ]* 2.2 Tests\n    - _Depends on: 1_\n"
        "- [~] 3 Third\n"
    )
    assert depends(plan) == {"1": "", "2": "1", "2.1": "2", "2.2": "1", "3": "2.2"}
    assert [task.done for task in plan.tasks] == [True, False, False, False, False]
    assert plan.tasks[0].section == "- [x] 1. First\n  - detail\n  - _Requirements: 1.1_"
    assert [entry.code for entry in plan.diagnostics] == ["counts-as-done", "no-verify", "optional-task"]


def test_a_bare_checklist_counts_its_items() -> None:
    plan = read("# Do\n\n- [x] a\n- [ ] b\n  - [x] part\n  - [ ] other\n\nWords.\n\n* [ ] c\n")
    assert depends(plan) == {"1": "", "2": "1", "3": "2"}
    assert [(entry.text, entry.done) for entry in plan.tasks[1].acceptance] == [
        ("part", True),
        ("other", False),
    ]
    assert plan.tasks[1].section == "- [ ] b\n  - [x] part\n  - [ ] other"


def test_ralphex_validation_holds_for_every_task() -> None:
    plan = read(
        "# Plan: X\n\n## Validation Commands\n\n- `make test`\n- run the linter\n\n```bash\nmake e2e\n```\n\n"
        "### Task 1: A\n\n- [x] one\n- [x] two\n\n### Task 2: B\n\n- [x] one\n- [ ] two\n"
    )
    assert [task.verify for task in plan.tasks] == [("make test", "make e2e")] * 2
    assert [task.done for task in plan.tasks] == [True, False]
    assert plan.end_to_end is not None and plan.end_to_end.commands == ("make test", "make e2e")


def tasks_json(*tasks: dict[str, object]) -> str:
    return json.dumps({"tasks": list(tasks)}, indent=2)


def test_task_master_dependencies_and_subtasks() -> None:
    plan = read(
        tasks_json(
            {"id": 1, "title": "A", "status": "done", "dependencies": []},
            {"id": 2, "title": "B", "dependencies": [1], "subtasks": [
                {"id": 1, "title": "a", "dependencies": []},
                {"id": 2, "title": "b", "dependencies": [1]},
                {"id": "2.3", "title": "c", "dependencies": ["2.1", "1"]},
            ]},
            {"id": "3", "title": "C", "dependencies": ["2.2", 9]},
        )
    )  # fmt: skip
    assert depends(plan) == {"1": "", "2": "1", "2.1": "2", "2.2": "2.1", "2.3": "2.1", "3": "2.2"}
    assert [task.done for task in plan.tasks] == [True] + [False] * 5
    found = [entry for entry in plan.diagnostics if "dependency" in entry.code]
    assert [(entry.code, entry.severity) for entry in found] == [("unknown-dependency", "error")]


@pytest.mark.parametrize(
    "text",
    [
        "- [ ] T001 First\n- [ ] T002 Second (depends on T009)\n",
        "- [ ] 1. First\n- [ ] 2. Second\n  - _Depends on: 3.1_\n",
    ],
    ids=["spec-kit", "kiro"],
)
def test_no_id_of_these_formats_is_of_another_milestone(text: str) -> None:
    found = [entry for entry in read(text).diagnostics if entry.code == "unknown-dependency"]
    assert [entry.severity for entry in found] == ["error"]


def test_task_master_lines_and_section() -> None:
    plan = read(
        tasks_json(
            {"id": 1, "title": "A", "description": "D", "details": "}{", "testStrategy": "T"}, {"id": 2}
        )
    )
    first, second = plan.tasks
    assert (first.lines.first, first.lines.last, second.lines.first, second.lines.last) == (3, 9, 10, 12)
    assert first.section == "## Task 1: A\n\nD\n\n}{\n\n**Test strategy:** T"
    assert [entry.text for entry in first.acceptance] == ["T"]


@pytest.mark.parametrize("status", ["cancelled", "deferred"])
def test_task_master_leaves_out_what_is_not_to_be_done(status: str) -> None:
    plan = read(tasks_json({"id": 1, "title": "A"}, {"id": 2, "title": "B", "status": status}))
    assert depends(plan) == {"1": ""}
    assert "left-out-task" in {entry.code for entry in plan.diagnostics}


@pytest.mark.parametrize(
    "id", ["../../etc", "-rf", "a/b", "a b", ".hidden", "a..b", "x" * 65, "a\nb", "a\x00b", "é"]
)
def test_an_id_that_could_escape_is_an_error(id: str) -> None:
    plan = read(tasks_json({"id": id, "title": "A"}))
    assert [entry.code for entry in plan.errors] == ["bad-task-id"]


@pytest.mark.parametrize(
    "task",
    [{}, {"id": None}, {"id": True}, {"id": []}, {"id": ""}, {"id": 1, "title": 3, "subtasks": {}},
     {"id": 1, "dependencies": "x"},
     {"id": 1.5, "dependencies": [None, {}, []]}, {"id": 1, "subtasks": [1, "x", None, {"id": None}]}],
    ids=str,
)  # fmt: skip
def test_odd_objects_are_read_or_reported(task: dict[str, object]) -> None:
    plan = read(tasks_json({"id": "ok", "title": "OK"}, task))
    assert plan.tasks[0].id == "ok"


@pytest.mark.parametrize(
    "odd",
    [
        "404 page for unknown paths",
        "2 retries on time-out",
        "1.5 MB limit enforced",
        "T1 line is order_tasks",
        "Parse it\n  - [ ] 3 files in src\n  - [ ] 1.2 too",
    ],
)
def test_one_line_with_a_number_makes_no_other_format_of_a_checklist(odd: str) -> None:
    plan = read_plan(f"# Todo\n\n- [ ] Add the page\n- [ ] {odd}\n- [ ] Write the tests\n", path="t.md")
    assert (plan.format, [task.id for task in plan.tasks]) == ("checklist", ["1", "2", "3"])
    assert plan.tasks[1].title == odd.partition("\n")[0]


def test_a_spec_kit_list_says_what_it_leaves_out() -> None:
    listed = (
        "- [ ] T001 One\n- [ ] T002 Two\n\n## Checklist\n\n- [ ] All done\n- [ ] Reviewed\n- [ ] Merged\n"
    )
    plan = read_plan(f"# Tasks\n\n{listed}", path="t.md")
    assert (plan.format, [task.id for task in plan.tasks]) == ("spec-kit", ["T001", "T002"])
    assert [entry.line for entry in plan.diagnostics if entry.code == "unread-checkbox"] == [8, 9, 10]


def test_more_validation_commands_than_any_plan_has_are_refused() -> None:
    listed = "".join(f"- `make {n}`\n" for n in range(201))
    with pytest.raises(PlanError, match="201 validation commands"):
        read_plan(f"# P\n\n## Validation Commands\n{listed}\n### Task 1: Do\n- [ ] a\n".encode(), path="p.md")


@pytest.mark.parametrize(
    "start",
    [
        "T002",
        "`T002`",
        "**T002**",
        "**`T002`**",
        "`T002:`",
        "[T002]",
        "[`T002`](issues/2.md)",
        "[T002](issues/2.md):",
        "__T002__",
        "*T002*",
        "_T002_",
        "#T002",
        "**T002 [P]**",
        "**[T002]**",
        "`T002 [P]`",
    ],
)
def test_an_id_counts_in_every_emphasis(start: str) -> None:
    plan = read(f"- [ ] T001 One\n- [x] {start} Two\n- [ ] T003 Three\n")
    assert [(task.id, task.title, task.done) for task in plan.tasks] == [
        ("T001", "One", False),
        ("T002", "Two", True),
        ("T003", "Three", False),
    ]


@pytest.mark.parametrize("start", ["2.", "`2.`", "**2.**", "**2**.", "2)", "2:", "2 -", "**`2.`**", "2. -"])
def test_a_number_counts_in_every_emphasis(start: str) -> None:
    plan = read(f"- [ ] 1. One\n- [x] {start} Two\n- [ ] 3. Three\n")
    assert [(task.id, task.done) for task in plan.tasks] == [("1", False), ("2", True), ("3", False)]


@pytest.mark.parametrize(
    "item",
    [
        "~~T002~~ Old",
        "~~T002 Old~~",
        "~~T002 [P]~~ Old",
        "**~~T002~~** Old",
        "~~`T002`~~ Old",
        "T002 [REMOVED] Old",
    ],
)
def test_a_struck_out_id_leaves_the_task_out(item: str) -> None:
    plan = read(f"- [ ] T001 One\n- [ ] {item}\n- [ ] T003 Three (depends on T002)\n")
    assert [task.id for task in plan.tasks] == ["T001", "T003"]
    assert [(entry.code, entry.line) for entry in plan.diagnostics if entry.code != "no-verify"] == [
        ("left-out-task", 2)
    ]


@pytest.mark.parametrize(
    "item",
    [
        "T002, T003 Both",
        "T002-T004 Three",
        "T002–T004: Three",
        "T002/T003 Both",
        "T002 & T003 Both",
        "T002 and T003: Both",
        "**T002-T004** Three",
        "T002 to T004 Three",
        "[T002, T003] Both",
    ],
)
def test_an_item_with_more_than_one_id_is_an_error(item: str) -> None:
    plan = read(f"- [ ] T001 One\n- [ ] {item}\n")
    assert [(entry.code, entry.line) for entry in plan.errors] == [("bad-task-id", 2)]
    assert [task.id for task in plan.tasks] == ["T001", "T002"]


@pytest.mark.parametrize(
    "item", ["2.1-2.3 Three", "2.1, 2.2 Both", "2.1 and 2.2 Both", "2-3. Both", "2.1–2.3: x"]
)
def test_an_item_with_more_than_one_number_is_an_error(item: str) -> None:
    plan = read(f"- [ ] 1. One\n- [ ] {item}\n")
    assert [(entry.code, entry.line) for entry in plan.errors] == [("bad-task-id", 2)]


def test_a_number_in_a_sentence_inside_an_item_is_a_criterion() -> None:
    plan = read("- [ ] 1. One\n  - [ ] 3 attempts at most\n  - [ ] 2-4 of them fail\n- [ ] 2. Two\n")
    assert [(task.id, len(task.acceptance)) for task in plan.tasks] == [("1", 2), ("2", 0)]


def test_a_phase_that_is_left_out_is_passed_over() -> None:
    plan = read(
        "## Phase 1\n- [ ] T001 a\n## Phase 2\n- [ ] T002 b [DEFERRED]\n"
        "## Phase 3\n- [ ] T003 c\n- [ ] ~~T004~~ d\n- [ ] T005 e\n"
    )
    assert depends(plan) == {"T001": "", "T003": "T001", "T005": "T003"}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("(depends on 1)", "1"),
        ("(after 1)", "1"),
        ("(requires 1, 2)", "1 2"),
        ("(blocked by 2)", "2"),
        ("\n  - _Depends on: 1_", "1"),
        ("\n  - _Dependencies: 1_", "1"),
        ("\n  - **Depends on:** 1", "1"),
        ("\n  - **Requires:** 1", "1"),
        ("\n  - Dependencies: 1, 2", "1 2"),
        ("\n  - Depends on: nothing", ""),
        ("\n  - **Dependencies:** None", ""),
        ("\n  - **Requires:** Python 3.12", "2"),
        ("(requires 2 services)", "2"),
        ("\n  - Needs: no database", "2"),
        ("\n  - _Requirements: 1.1, 2.3_", "2"),
    ],
)
def test_dependencies_of_an_item(text: str, ids: str) -> None:
    plan = read(f"- [ ] 1. One\n- [ ] 2. Two\n- [ ] 3. Three {text}\n")
    assert depends(plan)["3"] == ids
    assert not plan.errors


def test_numbers_that_begin_again_under_another_heading() -> None:
    plan = read(
        "## Server\n- [x] 1. a\n  - [x] 1.1 b\n- [ ] 2. c\n## Page\n- [ ] 1. d\n- [ ] 1.1 e\n"
        "- [ ] 2. f (depends on 1)\n- [ ] 3. g (depends on 1-2)\n## More\n- [ ] 1. h\n"
    )
    assert depends(plan) == {
        "1": "", "1.1": "1", "2": "1.1", "B.1": "2", "B.1.1": "B.1", "B.2": "B.1 B.1.1",
        "B.3": "B.1 B.1.1 B.2", "C.1": "B.3",
    }  # fmt: skip
    assert [task.parent for task in plan.tasks if task.parent] == ["1", "B.1"]
    assert [entry.line for entry in plan.diagnostics if entry.code == "numbers-begin-again"] == [6, 11]
    assert not plan.errors


def test_a_number_twice_in_one_list_is_an_error_and_no_cycle() -> None:
    plan = read("## A\n- [ ] 1. a\n- [ ] 2. b\n- [ ] 2. c\n- [ ] 1. d\n")
    assert [(entry.code, entry.line) for entry in plan.errors] == [("duplicate-id", 4), ("duplicate-id", 5)]


def test_a_number_with_a_letter_is_a_task() -> None:
    plan = read("- [ ] 3.6 a\n- [ ] 3.6a b\n- [ ] 4b. c\n  - [ ] 3D view\n")
    assert [task.id for task in plan.tasks] == ["3.6", "3.6a", "4b"]
    assert [len(task.acceptance) for task in plan.tasks] == [0, 0, 1]


def test_the_legend_of_a_list_is_not_reported() -> None:
    plan = read("- [ ] T001 a\n\n## Notes\n\n- [P] tasks = different files\n- [P] something\n")
    assert [entry.line for entry in plan.diagnostics if entry.code == "unread-checkbox"] == [6]


CRITERIA = [
    "Acceptance Criteria",
    "Success Criteria",
    "Definition of Done",
    "Final Validation Checklist",
    "QA Checklist",
]


@pytest.mark.parametrize("heading", CRITERIA)
def test_boxes_for_the_whole_plan_are_not_tasks_of_a_checklist(heading: str) -> None:
    plan = read(f"# P\n\n## Work\n\n- [ ] a\n- [x] b\n\n## {heading}\n\n- [ ] c\n  - [ ] d\n")
    assert [task.title for task in plan.tasks] == ["a", "b"]
    assert [entry.line for entry in plan.diagnostics if entry.code == "unread-checkbox"] == [10, 11]


def test_boxes_for_the_whole_plan_are_tasks_if_there_are_no_others() -> None:
    assert len(read("# P\n\n## Acceptance Criteria\n\n- [ ] a\n- [ ] b\n").tasks) == 2


def test_the_tasks_of_a_story_are_in_their_section() -> None:
    plan = read(
        "# Story 1.1\n\nStatus: ready-for-dev\n\n## Acceptance Criteria\n\n1. It greets\n\n"
        "## Tasks / Subtasks\n\n"
        "- [ ] **Task 1: Greet** (AC: 1)\n  - [x] `greet.py`\n- [ ] Task 2: Test (AC: 1)\n\n"
        "## QA Results\n\n### Improvements\n\n- [ ] later\n"
    )
    assert [(task.title, len(task.acceptance)) for task in plan.tasks] == [
        ("Task 1: Greet (AC: 1)", 1),
        ("Task 2: Test (AC: 1)", 0),
    ]
    assert [entry.line for entry in plan.diagnostics if entry.code == "unread-checkbox"] == [19]


def test_a_list_of_tasks_in_a_fence_is_a_warning() -> None:
    plan = read("## Task 1: A\n\na\n\n```yaml\nTask 1: b\nCREATE b.py\n\nTask 2: c\n```\n")
    assert [(entry.severity, entry.line) for entry in plan.diagnostics if entry.code == "task-in-fence"] == [
        ("warning", 5)
    ]
