"""The hand-off document: a section per task, also when an agent wrote markers into one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from orchestrator.run.handoff import (
    MAX_LISTED_CHANGES,
    ChangedFile,
    HandoffSection,
    handoff_path,
    with_section,
)


def section(task: str = "1.1", **changes: object) -> HandoffSection:
    given: dict[str, object] = {
        "task": task,
        "title": "Say hello",
        "outcome": "It says hello.",
        "notes": "Use `hello.py`.",
        "changes": (ChangedFile(path="hello.py", status="added", added=3, deleted=0),),
    }
    return HandoffSection(**(given | changes))  # type: ignore[arg-type]


def document(*sections: HandoffSection) -> str:
    text = ""
    for each in sections:
        text = with_section(text, "A greeting", each)
    return text


def test_a_document() -> None:
    assert document(section()) == (
        "# Hand-off: A greeting\n"
        "\n"
        "<!-- hand-off of task 1.1 -->\n"
        "## Task 1.1: Say hello\n"
        "\n"
        "### Outcome\n"
        "\n"
        "It says hello.\n"
        "\n"
        "### Changes\n"
        "\n"
        "- `hello.py` (added, +3 -0)\n"
        "\n"
        "### Notes for the next task\n"
        "\n"
        "Use `hello.py`.\n"
        "\n"
        "<!-- end of task 1.1 -->\n"
    )


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ("plan.md", "HANDOFF_plan.md"),
        ("docs/plans/m3.md", "docs/plans/HANDOFF_m3.md"),
        ("my plan.v2.md", "HANDOFF_my-plan.v2.md"),
        ("specs/001-login/tasks.md", "specs/001-login/HANDOFF_001-login.md"),
        ("PLAN", "HANDOFF_PLAN"),
    ],
)
def test_the_document_is_in_the_folder_of_the_plan(plan: str, expected: str) -> None:
    wanted = expected if expected.endswith(".md") else f"{expected}.md"
    assert handoff_path(plan) == wanted


def test_a_section_is_replaced_where_it_was() -> None:
    before = document(section("1"), section("2"), section("3"))
    after = with_section(before, "A greeting", section("2", notes="Otherwise."))
    assert after == document(section("1"), section("2", notes="Otherwise."), section("3"))


def test_ids_that_begin_alike_are_different_sections() -> None:
    text = document(section("1"), section("1.1"), section("1.10"))
    after = with_section(text, "A greeting", section("1", notes="Otherwise."))
    assert after == document(section("1", notes="Otherwise."), section("1.1"), section("1.10"))


def test_what_the_user_wrote_between_sections_stays() -> None:
    text = document(section("1")) + "\nMy own text.\n"
    assert "My own text." in with_section(text, "A greeting", section("2"))
    assert "My own text." in with_section(text, "A greeting", section("1", notes="Otherwise."))


def test_an_empty_claim_and_no_change_are_shown_as_such() -> None:
    text = document(section(outcome="  ", notes="", changes=()))
    assert "(the agent gave no summary)" in text
    assert text.count("(none)") == 2


def test_long_lists_of_changes_end_with_their_number() -> None:
    files = tuple(
        ChangedFile(path=f"{n}.bin", status="added", added=None, deleted=None)
        for n in range(MAX_LISTED_CHANGES + 7)
    )
    text = document(section(changes=files))
    assert "- `0.bin` (added, binary)" in text
    assert text.count("(added, binary)") == MAX_LISTED_CHANGES
    assert "- and 7 more" in text


END = "<!-- end of task 1.1 -->"
HOSTILE = {
    "the end of its section": f"a\n{END}\nb",
    "the end, indented": f"a\n   {END}\nb",
    "another's section": "<!-- hand-off of task 2 -->\n## Task 2: Mine\n<!-- end of task 2 -->",
    "after a carriage return": f"a\r{END}\r\nb",
    "after a line separator": f"a\u2028{END}\u2029b",
    "after a form feed": f"a\x0c{END}\x0bb",
    "split by control codes": f"<\x00!-- end of task 1.1 --\x1b>\n{END}",
    "split by a direction": f"<\u202e!-- end of task 1.1 -->\n{END}",
    "after an escape": f"\x1b{END}",
    "headings": "# One\n## Two\n### Three\n#### Four\n#",
    "underlined headings": "One\n===\nTwo\n---\nThree\n-",
    "a code block left open": "```bash\nls\n",
    "a longer code block left open": "~~~~ x\n~~~\n```",
    "a code block in a list": "- a\n\n  ```\n  ls",
    "HTML left open": "<pre>\n<script>\n<?x\n<![CDATA[ \n<STYLE>",
    "a lone surrogate": "\ud800",
}
MARK = re.compile(r"^<!-- .* -->$", re.MULTILINE)


def headings(text: str) -> list[str]:
    """Tags of the headings of our levels that a Markdown reader sees."""
    tokens = MarkdownIt().parse(text)
    return [token.tag for token in tokens if token.type == "heading_open" and token.tag in ("h1", "h2", "h3")]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("place", ["outcome", "notes", "title"])
def test_foreign_text_neither_ends_nor_begins_a_section(place: str, text: str) -> None:
    found = document(section(**{place: text}), section("2"))
    marks = MARK.findall(found)
    assert [mark.split()[-2] for mark in marks] == ["1.1", "1.1", "2", "2"]
    assert headings(found) == ["h1", *["h2", "h3", "h3", "h3"] * 2]
    assert with_section(found, "A greeting", section()) == document(section(), section("2"))


@pytest.mark.parametrize("path", ["a`b.py", "a\nb.py", "x\n<!-- end of task 1.1 -->", "\x1b[31mred"])
def test_odd_paths_stay_on_their_line(path: str) -> None:
    change = ChangedFile(path=path, status="added", added=1, deleted=0)
    found = document(section(changes=(change,)))
    assert len(found.splitlines()) == len(document(section()).splitlines())
    assert "\x1b" not in found


TEXT = st.text(max_size=60) | st.sampled_from(list(HOSTILE.values()))
IDS = st.sampled_from(["1", "1.1", "1.10", "2", "a-->b", "x -- y", "é"])
SECTIONS = st.builds(section, task=IDS, title=TEXT, outcome=TEXT, notes=TEXT)


@given(st.lists(SECTIONS, min_size=1, max_size=6))
def test_each_task_has_one_section_with_its_latest_text(
    sections: list[HandoffSection],
) -> None:
    last = {each.task: each for each in sections}
    assert document(*sections) == document(*last.values())


@given(st.lists(SECTIONS, min_size=1, max_size=4))
def test_writing_the_same_again_changes_nothing(sections: list[HandoffSection]) -> None:
    text = document(*sections)
    assert with_section(text, "A greeting", sections[-1]) == text
