"""A file that is not a plan is one clear error; a hostile file is read in time linear in its size."""

import contextlib
import sys
from collections.abc import Callable

import pytest

from orchestrator.errors import PlanError
from orchestrator.plan.reader import read_plan

F = "```"
T = "## Task 1.1: x\n\n"


@pytest.mark.parametrize(
    ("data", "what", "where"),
    [
        pytest.param(b"", "no task", "plan.md", id="empty"),
        pytest.param(b" \n\n", "no task", "plan.md", id="blank"),
        pytest.param(b"# Title\n", "no task", "plan.md", id="no-task"),
        pytest.param(b"## Task 1: x\n\n\xff\n", "not UTF-8", "plan.md:3", id="latin-1"),
        pytest.param("## Task 1: x\n".encode("utf-16"), "not UTF-8", "plan.md:1", id="utf-16"),
        pytest.param(b"## Task 1: x\n\n\n\0\n", "NUL", "plan.md:4", id="nul"),
        pytest.param(b"## Task 1: \xed\xa0\x80\n", "not UTF-8", "plan.md:1", id="surrogate-bytes"),
        pytest.param("## Task 1: \ud800\n", "an incomplete character", "plan.md", id="surrogate-text"),
        pytest.param(b"x" * 10_000_001, "larger than 10 MB", "plan.md", id="too-large"),
        pytest.param(b'{"tasks": [', "not JSON", "plan.md:1", id="json-truncated"),
        pytest.param(b"[" * 100_000, "nested too deeply", "plan.md", id="json-deep"),
        pytest.param(
            b'{"tasks":[{"id":' + b"1" * 5000 + b"}]}", "too long a number", "plan.md", id="json-number"
        ),
        pytest.param(b"{}", "no task", "plan.md", id="json-empty"),
        pytest.param(b'"x"', "no task", "plan.md", id="json-string"),
        pytest.param(b"- [ ] T1 x\n" * 3001, "more than 3000 tasks", "plan.md", id="spec-kit-too-many"),
    ],
)
def test_an_error_says_what_where_and_what_next(data: bytes | str, what: str, where: str) -> None:
    with pytest.raises(PlanError) as caught:
        read_plan(data, path="plan.md")
    assert what in caught.value.what
    assert caught.value.where == where
    assert caught.value.hint
    assert len(str(caught.value).splitlines()) <= 10


@pytest.mark.parametrize("before", ["", "\ufeff"], ids=["plain", "byte-order-mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_encodings_and_line_ends_change_nothing(before: str, end: str) -> None:
    text = f"# Plan\n\n## Task 1: x\n\n**Verify:**\n{F}bash\na\nb\n{F}\n\n## Task 2: y\n\nText.\n"
    plan = read_plan((before + text.replace("\n", end)).encode(), path="plan.md")
    assert plan == read_plan(text, path="plan.md")
    assert plan.tasks[0].verify == ("a\nb",)
    assert plan.tasks[1].lines.first == 11


def test_characters_that_hide_are_reported() -> None:
    plan = read_plan("## Task 1: a\x1b[31m\n\nb\u202ec\u202c\n", path="plan.md")
    assert [entry.line for entry in plan.diagnostics if entry.code == "hidden-character"] == [1, 3, 3]


def test_a_fence_of_100_000_lines_that_never_ends() -> None:
    plan = read_plan(T + F + "\n" + "x\n" * 100_000, path="plan.md")
    assert [entry.code for entry in plan.errors] == ["unterminated-fence"]
    assert plan.tasks[0].lines.last == 100_003


HOSTILE: dict[str, Callable[[int], str]] = {
    "fence-never-ends": lambda n: T + F + "\n" + "x\n" * n,
    "tasks-in-open-fence": lambda n: T + F + "bash\n" + "## Task 1.2: x\n" * n,
    "opening-fences": lambda n: T + f"{F}a\n" * n,
    "opening-fences-with-tasks": lambda n: T + f"{F}bash\n## Task 1.2: x\n" * n + F + "\n",
    "bare-fences": lambda n: T + f"{F}\n" * n,
    "unbalanced-fences": lambda n: T + f"{F}a\n{F}b\n{F}\n## Task 1.2: x\n" * n,
    "fences-of-many-lengths": lambda n: T + "".join("`" * (3 + i % 50) + "a\n" for i in range(n)),
    "fences-of-many-indents": lambda n: T + "".join(" " * (i % 40) + f"{F}a\n" for i in range(n)),
    "nested-lists": lambda n: T + "".join("  " * (i % 100) + "- x\n" for i in range(n)),
    "one-deep-line": lambda n: T + "- " * n + "x\n",
    "quotes": lambda n: T + (">" * 50 + " x\n") * (n // 10),
    "boxes-in-heading": lambda n: "## " + "[ ]" * n + "\n" + T,
    "tildes-in-heading": lambda n: "## " + "~" * n + "\n" + T,
    "brackets-in-heading": lambda n: "## " + "(" * n + "\n" + T,
    "dashes-in-value": lambda n: T + "**Depends on:** " + "-" * n + "a\n",
    "links-in-value": lambda n: T + "**Depends on:** " + "](" * n + "a\n",
    "ticks-in-value": lambda n: T + "**Files:** " + "`a" * n + "\n",
    "blank-lines-in-command": lambda n: T + f"**Verify:**\n{F}bash\n" + "\n" * n + f"x\n{F}\n",
    "spaces-in-command": lambda n: T + f"**Verify:**\n{F}bash\necho" + " " * n + f"|\n{F}\n",
    "numbers-in-estimate": lambda n: T + "**Time:** " + "1 " * n + "\n",
    "bold": lambda n: T + "**a" * n + "\n",
    "indented-code": lambda n: T + "    x\n\n" * n,
    "indented-in-list": lambda n: T + "- a\n" + "\n    x\n" * n,
    "tasks": lambda n: "".join(f"## Task {i}: x\n" for i in range(n)),
    "one-id": lambda n: "## Task 1: x\n" * n,
    "unknown-dependencies": lambda n: "".join(f"## Task {i}: x\n**Depends on:** Z.{i}\n" for i in range(n)),
    "one-long-cycle": lambda n: "".join(f"## Task {i}: x\n**Depends on:** {(i + 1) % n}\n" for i in range(n)),
    "scenarios": lambda n: T + "## E2E Test\n\nx\n" * n,
    "comments": lambda n: T + "<!-- \n" * n,
    "control-characters": lambda n: T + "\x07\n" * n,
    "open-front-matter": lambda n: "---\n" + "a: b\n" * n + T,
    "checkboxes": lambda n: "- [ ] x\n" * n,
    "dots-in-spec-kit": lambda n: "- [ ] T1 `" + "." * n + "\n",
    "kiro": lambda n: "- [ ] 1. x\n" * n,
    "json": lambda n: '{"tasks":[' + ",".join(f'{{"id":{i}}}' for i in range(n)) + "]}",
}  # fmt: skip


def calls(text: str) -> int:
    """Python and C calls that reading takes: a clock that load does not change."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        read_plan(text, path="plan.md")
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.timeout(60)  # what backtracks or is quadratic inside one C call ends here
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_twice_the_size_takes_at_most_little_more_than_twice_the_work(make: Callable[[int], str]) -> None:
    read_plan(make(100), path="plan.md")
    small, large = calls(make(500)), calls(make(1_000))
    assert large <= 2.3 * small + 1_000
    read_plan(make(10_000), path="plan.md")


IDS = {
    "a slash": "a/b",
    "a path": "../x",
    "a leading dash": "-x",
    "an option": "--help",
    "a leading dot": ".1",
    "two dots": "1..2",
    "quotes": '"1"',
    "an apostrophe": "it's",
    "a command": "$(id)",
    "words": "a b",
    "one word": "done",
    "a letter": "N",
    "200 letters": "x" * 200,
    "200 digits": "1" * 200,
    "right to left": "שלום",
}


@pytest.mark.parametrize("label", ["**Acceptance Criteria:**", "### Acceptance criteria"])
@pytest.mark.parametrize("id", IDS.values(), ids=IDS)
def test_criteria_do_not_become_tasks_where_a_heading_has_no_usable_id(id: str, label: str) -> None:
    text = f"# Milestone 1: T\n\n## Task {id}: Do it\n**Type:** CODING\n\n{label}\n- [ ] it is done\n"
    with pytest.raises(PlanError) as caught:
        read_plan(text, path="plan.md")
    assert (caught.value.where or "").startswith("plan.md")
    assert "3.1" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "text",
    ["# Task List: today\n\n- [ ] one\n- [ ] two\n", "# Plan\n\n## Task group one\n\n- [ ] one\n- [ ] two\n"],
    ids=["with a colon", "without"],
)
def test_a_checklist_below_the_word_task_stays_one(text: str) -> None:
    assert [task.title for task in read_plan(text, path="plan.md").tasks] == ["one", "two"]


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"<div>\n## Task 3.{n}: x\n" for n in range(25_000)),
        "<details>\n## Task 3.1: x\ntext\n</details>\n" * 12_000,
        "## Task 1: x\n\n**Verify:**\n```bash\n" + '"\\' * 250_000 + "\n```\n",
        "".join(f"{'`' * (n + 3)}\n## Task 1.{n}: x\n" for n in range(700)) + "```\n" * 60_000,
    ],
    ids=[
        "html before headings",
        "details around headings",
        "quotes that never close",
        "fences of every length",
    ],
)
def test_half_a_megabyte_of_spite_is_read_in_the_end(text: str) -> None:
    """Each took minutes in quadratic time; the limit for a test is what fails then."""
    with contextlib.suppress(PlanError):
        read_plan(f"# Milestone\n\n{text}", path="plan.md")


@pytest.mark.parametrize("first", ["[Back](../DESIGN.md)", "[![ci](a.svg)](b)", "[TOC]", "{#top}", "[ ] x"])
def test_a_plan_may_begin_with_a_bracket(first: str) -> None:
    assert [task.id for task in read_plan(f"{first}\n\n## Task 1: A\n\nText.\n", path="p.md").tasks] == ["1"]
