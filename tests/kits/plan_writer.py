"""Writes plans in the styles that authors use, for reading back."""

from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    id: str
    title: str
    type: str | None
    files: tuple[str, ...]
    depends: tuple[str, ...]
    acceptance: tuple[tuple[str, bool], ...]
    verify: tuple[str, ...]
    minutes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    level: int
    separator: str
    label: str
    """How a label is written, with `{}` for its name."""
    below: bool
    """Lists and texts start on the line after the label."""
    blank: bool
    """A blank line after each field."""
    rule: bool
    """A rule between tasks."""
    fence: str
    words: bool
    """Dependencies are written as "Task 1, Task 2"."""


styles = st.builds(
    Style,
    level=st.integers(2, 4),
    separator=st.sampled_from([":", " -", " –", " —", "."]),
    label=st.sampled_from(["**{}:**", "**{}**:", "- **{}:**", "* **{}**:", "__{}:__"]),
    below=st.booleans(),
    blank=st.booleans(),
    rule=st.booleans(),
    fence=st.sampled_from(["```", "````", "~~~"]),
    words=st.booleans(),
)

_words = st.text("abcdefgh äöüßéλЖ日本語مر", min_size=1, max_size=20).map(str.strip).filter(bool)
_ids = st.sampled_from(["{}", "3.{}", "4.2.{}", "3b.{}", "A.{}", "M3.{}"])
_commands = st.sampled_from(
    [
        "make check",
        "cat <<EOF\n## Task 9.9: no\nEOF\ngrep x y",
        "# a comment\npytest -q",
        "test -e 'a b'",
        "a\n\nb",
    ]
)


@st.composite
def _plans(draw: st.DrawFn) -> list[Written]:
    form = draw(_ids)
    count = draw(st.integers(1, 6))
    ids = [form.format(number) for number in range(1, count + 1)]
    return [_task(draw, ids[:number], name) for number, name in enumerate(ids)]


def _task(draw: st.DrawFn, earlier: list[str], id: str) -> Written:
    subset = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
    return Written(
        id=id,
        title=draw(_words),
        type=draw(st.sampled_from([None, "CODING", "RESEARCH", "MIXED", "VALIDATION", "VERIFICATION"])),
        files=tuple(
            draw(st.lists(st.sampled_from(["a.py", "src/b.py", "c d.txt", "Makefile"]), unique=True))
        ),
        depends=tuple(subset),
        acceptance=tuple(draw(st.lists(st.tuples(_words, st.booleans()), max_size=4))),
        verify=tuple(draw(st.lists(_commands, max_size=3))),
        minutes=draw(st.none() | st.integers(1, 600)),
    )


plans = _plans()


def write(tasks: list[Written], style: Style) -> str:
    parts = ["# Milestone 1: Written", "", "Words.", ""]
    for task in tasks:
        parts += _section(task, style)
        parts += ["---", ""] if style.rule else []
    return "\n".join(parts) + "\n"


def _section(task: Written, style: Style) -> list[str]:
    parts = [f"{'#' * style.level} Task {task.id}{style.separator} {task.title}", ""]
    if task.type is not None:
        parts += _field(style, "Type", task.type)
    if task.files:
        parts += _list(style, "File(s)", [f"`{name}`" for name in task.files])
    if task.minutes is not None:
        parts += _field(style, "Estimated time", f"{task.minutes} min")
    named = [f"Task {id}" if style.words else id for id in task.depends]
    parts += _field(style, "Depends on", ", ".join(named) or "nothing")
    parts += _field(style, "Description", "What it must do.")
    if task.acceptance:
        parts += [_label(style, "Acceptance Criteria")]
        parts += [f"- [{'x' if done else ' '}] {text}" for text, done in task.acceptance] + [""]
    if task.verify:
        parts += [_label(style, "Verify")]
        parts += [line for command in task.verify for line in (style.fence + "bash", command, style.fence)]
    return [*parts, ""]


def _label(style: Style, name: str) -> str:
    return style.label.format(name)


def _field(style: Style, name: str, value: str) -> list[str]:
    lines = [_label(style, name), value] if style.below else [f"{_label(style, name)} {value}"]
    return [*lines, ""] if style.blank or style.below else lines


def _list(style: Style, name: str, values: list[str]) -> list[str]:
    if style.below:
        return [_label(style, name), *(f"- {value}" for value in values), ""]
    return _field(style, name, ", ".join(values))


FRAGMENTS = [
    "## Task 1.1: A", "### Task A.1 - B", "## Task ../x: C", "# Task 2", "## E2E Test",
    "### E2E Validation", "- [ ] x", "- [x] T001 [P] y",
    "- [ ]* 2.1 z", "  - [ ] w", "```", "```bash", "````markdown", "~~~", "    ```", "  ```sh", "<!--",
    "-->", "<pre>", "<details>",
    "> ## Task 9", "---", "===", "| a | b |", "**Verify:**", "**Depends on:** 1.1–2", "**Depends on:** A.1",
    "- **Type:** CODING",
    "**Acceptance Criteria:**", "**Branch:** `../x`", "## Validation Commands", "## Phase 1: x",
    "cat <<EOF", "EOF", "\t- x", "1. y",
    "    indented", "", " ", "\u202e", "\x1b[0m", "ß", "{", '{"tasks": [{"id": 1}]}', "[", "](", "**", "`",
    "*" * 40, "-" * 40, "id: x",
]  # fmt: skip
"""Lines that mean something to a reader of plans, alone or next to each other."""
