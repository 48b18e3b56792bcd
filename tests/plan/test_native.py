"""The milestone format, a spelling at a time."""

import pytest

from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan


def read(text: str) -> Plan:
    return read_plan(text, path="plan.md")


def body(text: str) -> str:
    return f"# Plan\n\n## Task 1.1: First\n\n{text}\n"


def codes(plan: Plan) -> set[str]:
    return {entry.code for entry in plan.diagnostics}


@pytest.mark.parametrize("level", ["##", "###", "####", "#####", "######"])
@pytest.mark.parametrize("separator", [":", " -", " –", " —", ".", "", " :", " |", " --"])
@pytest.mark.parametrize("id", ["3.1", "7", "4.2.1", "3b.1", "A.1", "M3.2", "3.10", "12", "3.1a"])
def test_levels_ids_and_separators(level: str, separator: str, id: str) -> None:
    (task,) = read(f"{level} Task {id}{separator} Write it\n\nText.\n").tasks
    assert (task.id, task.title) == (id, "Write it")


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("## **Task 3.1:** Write it", "Write it"),
        ("## **Task 3.1: Write it**", "Write it"),
        ("## **Task 3.1**: Write it", "Write it"),
        ("## __Task 3.1__ - Write it", "Write it"),
        ("## 3.1 Task 3.1: Write it", "Write it"),
        ('## <a id="t31"></a>Task 3.1: Write it', "Write it"),
        ("## (Optional) Task 3.1: Write it", "Write it"),
        ("## :wrench: Task 3.1: Write it", "Write it"),
        ("## M3 Task 3.1: Write it", "Write it"),
        ("## Phase 1 - Task 3.1: Write it", "Write it"),
        ("## [Task 3.1: Write it](it.md)", "Write it"),
        ("## [Task 3.1](it.md): Write it", "Write it"),
        ("## Task [3.1](it.md): Write it", "Write it"),
        ("## Task 3.1：Write it", "Write it"),
        ("## Task 3.1; Write it", "Write it"),
        ("## Task 3.1 ‒ Write it", "Write it"),
        ("## Task 3.1 - 404 page", "404 page"),
        ("## Task 3.1 – 3D viewer", "3D viewer"),
        ("## Task 3.1 - 2 new endpoints", "2 new endpoints"),
        ("## `Task 3.1`: Write `it`", "Write `it`"),
        ("## [Task 3.1] Write it", "Write it"),
        ("## Task [3.1]: Write it", "Write it"),
        ("## Task #3.1: Write it", "Write it"),
        ("## 1. Task 3.1: Write it", "Write it"),
        ("## 🔧 Task 3.1: Write it", "Write it"),
        ("## TASK 3.1: Write it", "Write it"),
        ("## Task 3.1: Write it ##", "Write it"),
        ("##\tTask\u00a03.1:\u00a0Write it", "Write it"),
        ("   ## Task 3.1: Write it", "Write it"),
        ("## Task-3.1: Write it", "Write it"),
        ("## Task3.1 Write it", "Write it"),
        ("## Task: 3.1 Write it", "Write it"),
        ("## Task 3.1 (Write it)", "(Write it)"),
        ("## Task 3.1.: Write it", "Write it"),
        ("## Task 3.1.Write it", "Write it"),
        ("## Task 3.1 → Write it", "Write it"),
        ("## Task 3.1", ""),
    ],
)
def test_spellings_of_a_heading(heading: str, title: str) -> None:
    (task,) = read(f"{heading}\n\nText.\n").tasks
    assert (task.id, task.title) == ("3.1", title)


@pytest.mark.parametrize(
    ("heading", "code"),
    [
        ("## Task ../../etc/passwd: x", "bad-task-id"),
        ("## Task --rm: x", "bad-task-id"),
        ("## Task -3.1: x", "bad-task-id"),
        ("## Task 3.x: x", "bad-task-id"),
        ("## Task 3.1/3.2: x", "bad-task-id"),
        ("## Task 3.1\\x: x", "bad-task-id"),
        ("## Task $(id): x", "bad-task-id"),
        ("## Task 99999999999999999999: x", "bad-task-id"),
        ("## Task N: x", "not-a-task"),
        ("# Task 3.1: x", "not-a-task"),
        ("##Task 3.1: x", "not-a-task"),
        ("## ~~Task 3.1: x~~", "left-out-task"),
    ],
)
def test_nearly_a_task_is_reported_with_its_line(heading: str, code: str) -> None:
    plan = read(f"## Task 1: Real\n\nText.\n\n{heading}\n\nText.\n")
    assert [task.id for task in plan.tasks] == ["1"]
    assert [entry.line for entry in plan.diagnostics if entry.code == code] == [5]


@pytest.mark.parametrize(
    "heading",
    [
        "Task List: all",
        "Task Overview",
        "Tasking 1",
        "3.1: x",
        "Taskforce 3",
        "3.1 Task runner",
        "After Task 3.1 the cleanup",
    ],
)
def test_other_headings_are_left_alone(heading: str) -> None:
    plan = read(f"## Task 1: Real\n\nText.\n\n## {heading}\n\nText.\n")
    assert [task.id for task in plan.tasks] == ["1"]
    assert codes(plan) == {"no-acceptance", "no-verify"}


@pytest.mark.parametrize("heading", ["Subtask 3.1: Foo", "Tasks 3.1-3.3: Foo", "Notes on Task 3.1: Foo"])
def test_a_heading_that_names_a_task_elsewhere_is_reported(heading: str) -> None:
    plan = read(f"## Task 1: Real\n\nText.\n\n## {heading}\n\nText.\n")
    assert [task.id for task in plan.tasks] == ["1"]
    assert codes(plan) == {"no-acceptance", "no-verify", "not-a-task"}


@pytest.mark.parametrize(
    "heading",
    [
        "Task 3.1-3.3: All of them",
        "Task 3.1 - 3.3: All of them",
        "Task 3.1, 3.2: Both",
        "Task 3.1 and 3.2: Both",
        "Task 3.1 & 3.2 complete: Both",
        "Task 3.1 + Task 3.2",
    ],
)
def test_a_heading_with_several_tasks_is_the_first_and_an_error(heading: str) -> None:
    plan = read(f"## {heading}\n\nText.\n")
    assert [task.id for task in plan.tasks] == ["3.1"]
    assert "bad-task-id" in {entry.code for entry in plan.errors}


@pytest.mark.parametrize(
    "label",
    ["**Type:** MIXED", "**Type**: MIXED", "**Type:**\nMIXED", "- **Type:** MIXED", "* **Type**: MIXED",
     "Type: MIXED", "__Type:__ MIXED", "**type:** mixed", "**Task Type:** `MIXED`",
     "**Type (required):** MIXED",
     "### Type\n\nMIXED", "**Type**\n\nMIXED"],
)  # fmt: skip
def test_forms_of_a_label(label: str) -> None:
    (task,) = read(body(label)).tasks
    assert task.type == "MIXED"


@pytest.mark.parametrize(
    ("value", "files"),
    [
        ("`a.py`", ["a.py"]),
        ("`a.py`, `b/c.py` (new)", ["a.py", "b/c.py"]),
        ("a.py, src/b.py", ["a.py", "src/b.py"]),
        ("\n- `a.py` (NEW)\n- `b.py` — uses `c.py`\n", ["a.py", "b.py"]),
        ("\n- Modify: `a.py:10-20`\n- Create: b/c.py\n", ["a.py", "b/c.py"]),
        ("`a.py`,\n`b.py`", ["a.py", "b.py"]),
        ("several files", []),
        ("None", []),
        ("N/A", []),
        ("`a.py`\n\nText with `code`.", ["a.py"]),
    ],
)
def test_files(value: str, files: list[str]) -> None:
    (task,) = read(body(f"**File(s):** {value}")).tasks
    assert list(task.files) == files


@pytest.mark.parametrize(
    ("value", "minutes"),
    [
        ("30 min", 30), ("45 minutes", 45), ("2h", 120), ("1.5 hours", 90), ("2-3 hours", 180), ("1–2 h",
        120),
        ("1h 30m", 90), ("1h30m", 90), ("1 hour, 15 min", 75), ("1 day", 480), ("half a day", 240),
        ("2 weeks", 4800), ("~2 hours (with tests: 3 hours)", 120), ("1,5 h", 90), ("TBD", None), ("small",
        None),
        ("3", None),
    ],
)  # fmt: skip
def test_estimates(value: str, minutes: int | None) -> None:
    (task,) = read(body(f"**Estimated time:** {value}")).tasks
    assert task.estimate_minutes == minutes


@pytest.mark.parametrize("label", ["Estimated time", "Time", "Effort", "Duration", "Time Estimate"])
def test_labels_of_an_estimate(label: str) -> None:
    (task,) = read(body(f"**{label}:** 30 min")).tasks
    assert task.estimate_minutes == 30


@pytest.mark.parametrize(
    ("status", "done"),
    [
        ("Done", True),
        ("✅ Complete", True),
        ("COMPLETED 2024", True),
        ("pending", False),
        ("not done", False),
    ],
)
def test_a_status_says_whether_a_task_is_done(status: str, done: bool) -> None:
    (task,) = read(body(f"**Status:** {status}")).tasks
    assert task.done is done


def test_a_section_is_verbatim_and_ends_before_the_rule() -> None:
    text = "# Plan\n\n## Task 1.1: First\n\n  Text.  \n\n```\n---\n```\n\n---\n\n## Task 1.2: Second\n"
    first, second = read(text).tasks
    assert first.section == "## Task 1.1: First\n\n  Text.  \n\n```\n---\n```"
    assert (first.lines.first, first.lines.last) == (3, 9)
    assert (second.lines.first, second.lines.last) == (13, 13)


@pytest.mark.parametrize("box", ["- [x] y", "  * [X] y", "1. [x] y"])
def test_a_tick_changes_no_hash(box: str) -> None:
    text = f"# M\n\n## Task 1: X\n\n{box}\n"
    (ticked,) = read(text).tasks
    (open_one,) = read(text.replace("[x]", "[ ]").replace("[X]", "[ ]")).tasks
    assert ticked.hash == open_one.hash


def test_a_hash_changes_with_the_section_and_with_nothing_else() -> None:
    one = read("## Task 1: A\n\nText.\n\n## Task 2: B\n").task("1")
    same = read("# Title\r\n\r\n## Task 1: A\r\n\r\nText.\r\n\r\n---\r\n\r\n## Task 3: C\r\n").task("1")
    other = read("## Task 1: A\n\nText!\n").task("1")
    assert one is not None and same is not None and other is not None
    assert one.hash == same.hash != other.hash


@pytest.mark.parametrize(
    ("command", "vacuous"),
    [
        ("true", True), (":", True), ("exit 0", True), ("echo 'ok; done'", True), ("# nothing\necho ok",
        True),
        ("make check || true", True), ("make check; exit 0", True), ("cd src && pwd", True), ("set -e", True),
        ("make check", False), ("echo ok | grep ok", False), ("cd src && make", False), ("! grep x y", False),
        ("echo 'a || true' > x; make", False), ("test -e a.py # || true", False), ("exit 1", False),
        ("false", False),
    ],
)  # fmt: skip
def test_commands_that_check_nothing(command: str, vacuous: bool) -> None:
    plan = read(body(f"**Verify:**\n```bash\n{command}\n```"))
    assert plan.tasks[0].verify == (command,)
    assert ("vacuous-verify" in codes(plan)) is vacuous


@pytest.mark.parametrize(
    ("info", "code"),
    [("bash", None), ("sh", None), ("shell", None), ("zsh", None), ("", "untagged-command"),
     ("python", "not-a-command"), ("console", "not-a-command"), ("text", "not-a-command")],
)  # fmt: skip
def test_languages_of_a_verify_block(info: str, code: str | None) -> None:
    plan = read(body(f"**Verify:**\n```{info}\nmake\n```"))
    assert plan.tasks[0].verify == (() if code == "not-a-command" else ("make",))
    assert codes(plan) & {"untagged-command", "not-a-command"} == ({code} if code else set())


def test_smoke_tests_are_kept_apart() -> None:
    blocks = "*Smoke Test:*\n```bash\na\n```\n**Verify:**\n```bash\nb\n```\n```bash\nc\n```"
    (task,) = read(body(f"**Testing Requirements:**\n{blocks}")).tasks
    assert (task.smoke_tests, task.verify) == (("a",), ("b", "c"))


@pytest.mark.parametrize(
    ("line", "branch"),
    [
        ("**Branch:** `feature/x`", "feature/x"),
        ("**Branch**: feature/x (from main)", "feature/x"),
        ("- **Branch:** `feature/x` from `main`", "feature/x"),
        ("Branch: feature/x", "feature/x"),
        ("**Branch:** none", None),
        ("", None),
    ],
)
def test_branch(line: str, branch: str | None) -> None:
    assert read(f"# Plan\n\n{line}\n\n## Task 1: A\n\nText.\n").branch == branch


@pytest.mark.parametrize(
    "name",
    ["../../etc", "-rf", "a b", "a..b", "a.lock", ".a", "a/.b", "a//b", "a/", "a@{b", "@", "a~1", "a^",
     "a:b", "a?",
     "a*", "a[b", "a\\b", "a.", "HEAD", "refs/heads/a", "x" * 300, "a\x07b"],
)  # fmt: skip
def test_a_name_that_git_refuses_is_an_error_and_no_branch(name: str) -> None:
    plan = read(f"---\nbranch: {name}\n---\n## Task 1: A\n\nText.\n")
    assert plan.branch is None
    assert [(entry.code, entry.line) for entry in plan.errors] == [("bad-branch", 2)]


@pytest.mark.parametrize(
    ("title", "id"),
    [
        ("Milestone 3: X", "3"),
        ("Milestone M3 - X", "M3"),
        ("M3: X", "M3"),
        ("Milestone 3b", "3b"),
        ("X", None),
    ],
)
def test_the_milestone_id_comes_from_the_title(title: str, id: str | None) -> None:
    plan = read(f"# {title}\n\n## Task 1: A\n\nText.\n")
    assert (plan.id, plan.title) == (id, title)


@pytest.mark.parametrize(
    "text",
    ["## Goal\n\nGreet.\n\n## More\n\nX\n", "**Goal:** Greet.\n", "**Objective**:\nGreet.\n",
     "### Purpose\n\nGreet.\n\n---\n"],
    ids=["section", "label", "label-above", "deeper-section"],
)  # fmt: skip
def test_goal(text: str) -> None:
    assert read(f"# Plan\n\n{text}\n## Task 1: A\n\nText.\n").goal == "Greet."


@pytest.mark.parametrize(
    "notes",
    [
        "**Implementation Notes:**\n- **Type:** of the file is JSON\n- **Files:** `b.py`",
        "**Description:**\n- **Time:** 3 hours ago\n- **Depends on:** the weather",
        "**Acceptance Criteria:**\n- **Implementation:** works\n- **Effort:** 1 h",
    ],
    ids=["notes", "description", "criteria"],
)
def test_bold_words_in_a_list_under_a_label_are_content(notes: str) -> None:
    (task,) = read(body(f"**Type:** CODING\n**Files:** `a.py`\n**Time:** 30 min\n\n{notes}")).tasks
    assert (task.type, task.files, task.estimate_minutes, task.depends_on) == ("CODING", ("a.py",), 30, ())


def test_bold_words_inside_criteria_do_not_end_them() -> None:
    criteria = "- [ ] **One:** a\n  **Note:** b\n- **Two:** c\n- [x] three"
    (task,) = read(body(f"**Acceptance Criteria:**\n{criteria}\n\n**Notes:** d\n- [ ] e")).tasks
    assert [entry.text for entry in task.acceptance] == ["**One:** a **Note:** b", "**Two:** c", "three"]


@pytest.mark.parametrize(
    ("between", "ids"),
    [
        ("<details>\n\nText.\n\n</details>", ["1", "2"]),
        ("<br>", ["1", "2"]),
        ("<!-- a comment -->", ["1", "2"]),
        ("<!-- open", ["1"]),
        ("<pre>", ["1"]),
    ],
)
def test_html_right_before_a_task(between: str, ids: list[str]) -> None:
    plan = read(f"## Task 1: A\n\n{between}\n## Task 2: B\n\n</pre> -->\n")
    assert [task.id for task in plan.tasks] == ids


def test_a_long_label_is_a_label() -> None:
    label = "**Success Criteria (from section 11 of the design — both phases, combined as they stand):**"
    (task,) = read(body(f"**Type:** CODING\n\n{label}\n- [ ] It greets.\n")).tasks
    assert [entry.text for entry in task.acceptance] == ["It greets."]


@pytest.mark.parametrize(
    ("heading", "done"),
    [
        ("Task 3.1: Write it ✅", True),
        ("Task 3.1: Write it ✅ DONE (yesterday)", True),
        ("Task 3.1: ✅ Write it", True),
        ("[DONE] Task 3.1: Write it", True),
        ("[x] Task 3.1: Write it", True),
        (":white_check_mark: Task 3.1: Write it", True),
        ("Task 3.1: Parse `[x]` in lists", False),
        ("Task 3.1: Parse `[x]`", False),
        ("Task 3.1: Render a ✅ for what passed", False),
        ("[ ] Task 3.1: Write it", False),
        ("(Optional) Task 3.1: Write it", False),
    ],
)
def test_a_mark_at_an_end_of_the_heading_says_done(heading: str, done: bool) -> None:
    (task,) = read(f"## {heading}\n\nText.\n").tasks
    assert (task.id, task.done) == ("3.1", done)


@pytest.mark.parametrize("heading", ["Task M3.T2: Foo", "Task 3_1: Foo", "Task 3,1: Foo", "Task 3.E2E: Foo"])
def test_an_id_with_more_characters_is_an_error_and_never_another_id(heading: str) -> None:
    plan = read(f"## Task 1: Real\n\nText.\n\n## {heading}\n\nText.\n")
    assert [task.id for task in plan.tasks] == ["1"]
    assert "bad-task-id" in codes(plan)


def test_a_sample_in_details_is_not_a_task() -> None:
    sample = "<details>\n<summary>Sample</summary>\n```markdown\n## Task 2.1: Fake\n```\n</details>\n"
    plan = read(f"## Task 1: A\n\nText.\n\n{sample}\n## Task 2: B\n\nText.\n")
    assert [task.id for task in plan.tasks] == ["1", "2"]


@pytest.mark.parametrize(
    ("verify", "commands"),
    [
        ("**Verify:** `make a`\n```bash\nmake b\n```", ("make a", "make b")),
        ("**Verify command:** `make a`", ("make a",)),
        ("### Verification Steps\n```bash\nmake a\n```", ()),
        ("**Verify:** `make a`.", ("make a",)),
        ("**Verify:**\n- `make a`\n- `make b`", ("make a", "make b")),
        ("**Verify:**\n```{bash}\nmake a\n```", ("make a",)),
    ],
)
def test_forms_of_a_verify_command(verify: str, commands: tuple[str, ...]) -> None:
    (task,) = read(f"## Task 1: A\n\nText.\n\n{verify}\n").tasks
    assert task.verify == commands


def test_only_what_is_said_to_run_is_a_command_of_the_scenario() -> None:
    body = "**Location:** `tests/test_it.py`\n**File:** `x.py`\n**Run:** `make demo`\n"
    plan = read(f"## Task 1: A\n\nText.\n\n## E2E Validation\n\n{body}")
    assert plan.end_to_end is not None and plan.end_to_end.commands == ("make demo",)


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("**Requires:** 1.1", ("1.1",)),
        ("**Needs:** 1.1 (the parser)", ("1.1",)),
        ("**Prerequisites:** 1.1, 1.2", ("1.1", "1.2")),
        ("Requires: Task 1.1", ("1.1",)),
        ("**Requires:** Python 3.12", ("1.2",)),
        ("**Requires:** no database", ("1.2",)),
        ("**Requires:** none", ()),
        ("**After:** 1.1", ("1.1",)),
    ],
)
def test_what_a_task_requires(line: str, ids: tuple[str, ...]) -> None:
    plan = read_plan(f"## Task 1.1: A\na\n## Task 1.2: B\nb\n## Task 1.3: C\nc\n\n{line}\n", path="plan.md")
    assert plan.tasks[2].depends_on == ids
    assert not plan.errors


def test_a_dependency_on_a_task_that_is_left_out_counts_as_met() -> None:
    text = "## Task 1.1: A\na\n## ~~Task 1.2: B~~\nb\n## Task 1.3: C\n**Depends on:** 1.2\n\nc\n"
    text += "## Task 1.4: D\n**Depends on:** 1.1–1.2\n\nd\n"
    plan = read_plan(text, path="plan.md")
    assert [(task.id, task.depends_on) for task in plan.tasks] == [
        ("1.1", ()),
        ("1.3", ()),
        ("1.4", ("1.1",)),
    ]
    assert {entry.code for entry in plan.diagnostics} == {"left-out-task", "no-acceptance", "no-verify"}
