"""Markdown to a flat list of blocks with their lines.

markdown-it-py reads headings, rules, quotes, HTML and paragraphs. Three of its rules are replaced: fenced
blocks, because authors nest them (see `fences`); indented code and paragraphs, because lists are not a
structure here but lines of text. A block inside a list then stays where the author put it, however it is
indented. Reading is also fast: the library's own list and paragraph rules would take most of the time.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, heading, hr, html_block
from markdown_it.token import Token

from orchestrator.plan.boxes import read_box
from orchestrator.plan.diagnostics import finding
from orchestrator.plan.fences import FenceEnd, Fences
from orchestrator.plan.model import Diagnostic

Kind = Literal["heading", "fence", "text", "quote", "html", "rule", "code"]

_LIST_ITEM = re.compile(r"([ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+)\S")
_LIST_STARTS = frozenset("-*+0123456789")


class Block(NamedTuple):
    """A named tuple, because there is one for every few lines of a plan and a frozen dataclass costs three
    times as much.
    """

    kind: Kind
    first: int
    """One-based, as everywhere outside the Markdown library."""
    last: int
    level: int = 0
    """Of a heading, 1 to 6."""
    text: str = ""
    """A heading's text, a paragraph's lines, or the content of a fenced block."""
    info: str = ""
    """The first word of a fence's info string, lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    lines: tuple[str, ...]
    blocks: tuple[Block, ...]
    diagnostics: tuple[Diagnostic, ...]

    def verbatim(self, first: int, last: int) -> str:
        return "\n".join(self.lines[first - 1 : last])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """State that the rules share while one text is read; the library passes it to them as the environment."""

    lines: list[str]
    is_task_heading: Callable[[str], bool]
    fences: Fences
    lists: "_Lists"
    blocks: list[Block]
    findings: list[Diagnostic]


def read_blocks(text: str, is_task_heading: Callable[[str], bool]) -> Document:
    """`text` has `\\n` line ends only; `is_task_heading` says whether a line reads as a task's heading."""
    lines = text.split("\n")
    fences = Fences(lines, is_task_heading)
    reading = _Reading(
        lines=lines,
        is_task_heading=is_task_heading,
        fences=fences,
        lists=_Lists(lines),
        blocks=[],
        findings=[],
    )
    _build_parser().parse(text, {"reading": reading})
    findings = [*reading.findings, *_find_unterminated_html(reading)]
    return Document(lines=tuple(lines), blocks=tuple(reading.blocks), diagnostics=tuple(findings))


def _build_parser() -> MarkdownIt:
    """Two rules instead of the library's eleven; they call the library's own by a line's first character."""
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["block"])
    parser.block.ruler.at("paragraph", _read_block)
    parser.block.ruler.push("interrupts", _read_interruption, {"alt": ["blockquote"]})
    parser.block.ruler.enableOnly(["paragraph", "interrupts"])
    return parser


def _read_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    reading: _Reading = state.env["reading"]
    if _is_indented(state, start) and not reading.lists.holds(start, state.sCount[start]):
        line = start + 1
        while line < end and (state.isEmpty(line) or _is_indented(state, line)):
            line += 1
        _add_lines(state, "code", start, line)
    elif not _read_interruption(state, start, end, silent):
        _read_paragraph(state, start, end)
    if state.tokens and state.level == 0:
        reading.blocks.append(_convert_tokens(state.tokens))
        state.tokens.clear()
    return True


def _convert_tokens(tokens: list[Token]) -> Block:
    """One block from the tokens of a library rule; the content of a quote is left out."""
    first = tokens[0]
    assert first.map is not None
    lines = first.map[0] + 1, first.map[1]
    if first.type == "heading_open":
        return Block("heading", *lines, level=int(first.tag[1]), text=tokens[1].content)
    return Block(_KINDS[first.type], *lines, text=first.content)


def _read_interruption(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Every block that may follow a paragraph without a blank line."""
    if _read_fence(state, start, end, silent):
        return True
    rule = _RULES.get(state.src[state.bMarks[start] + state.tShift[start]])
    return rule is not None and not _is_indented(state, start) and rule(state, start, end, silent)


def _is_indented(state: StateBlock, line: int) -> bool:
    return state.sCount[line] - state.blkIndent >= 4


_KINDS: dict[str, Kind] = {
    "hr": "rule",
    "html_block": "html",
    "blockquote_open": "quote",
}


def _find_unterminated_html(reading: _Reading) -> Iterator[Diagnostic]:
    last = reading.blocks[-1] if reading.blocks else None
    if last is None or last.kind != "html" or last.last < len(reading.lines) - (reading.lines[-1] == ""):
        return
    for start, end in _HTML_ENDS:
        if start.match(last.text) and end not in last.text.lower():
            what = last.text.strip().split("\n", 1)[0][:40]
            yield finding("unterminated-html", last.first, f"`{what}` is never closed")
            return


_HTML_ENDS = (
    (re.compile(r"\s*<!--"), "-->"),
    (re.compile(r"\s*<\?"), "?>"),
    (re.compile(r"\s*<!\[CDATA\["), "]]>"),
    (re.compile(r"\s*<pre\b", re.IGNORECASE), "</pre>"),
    (re.compile(r"\s*<script\b", re.IGNORECASE), "</script>"),
    (re.compile(r"\s*<style\b", re.IGNORECASE), "</style>"),
    (re.compile(r"\s*<textarea\b", re.IGNORECASE), "</textarea>"),
)


def _read_fence(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    reading: _Reading = state.env["reading"]
    opener = reading.fences.at(start)
    if opener is None or state.level > 0:  # the content of a quote is not read
        return False
    if opener.indent > 3 and not opener.in_item and not reading.lists.holds(start, opener.indent):
        return False
    if silent:
        return True
    found = reading.fences.end_of(start)
    reading.findings.extend(_fence_findings(start + 1, found))
    # Remove the fence's own indentation; the library's method fails on short last lines.
    lines = reading.lines[start + 1 : found.end]
    if opener.indent:
        lines = [_cut_columns(line, opener.indent) for line in lines]
    content = "".join(f"{line}\n" for line in lines)
    state.line = min(found.end + (1 if found.closed else 0), end)
    info = opener.info.split(" ")[0].strip("{}.").lower()
    reading.blocks.append(Block("fence", start + 1, state.line, text=content, info=info))
    return True


def _cut_columns(line: str, columns: int) -> str:
    expanded = line.expandtabs(4) if "\t" in line[:columns] else line
    return expanded[min(columns, len(expanded) - len(expanded.lstrip(" "))) :]


def _fence_findings(line: int, found: FenceEnd) -> Iterator[Diagnostic]:
    if not found.closed:
        yield finding("unterminated-fence", line, "the fenced block that starts here is never closed")
    elif found.ambiguous:
        message = f"the fenced block holds fences of its own length; it is read up to line {found.end + 1}"
        yield finding("ambiguous-fence", line, message)


class _Lists:
    """How far the content of the open list items is indented at a line; lines are read when asked for."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._read = 0
        self._open: list[int] = []

    def holds(self, line: int, indent: int) -> bool:
        """Whether a line indented this far is content of a list item. Lines are asked in ascending order."""
        for number in range(self._read, line):
            self._add_line(self._lines[number])
        self._read = max(self._read, line)
        return bool(self._open) and self._open[0] <= indent

    def _add_line(self, text: str) -> None:
        stripped = text.lstrip()
        if not stripped:
            return
        width = len(text[: len(text) - len(stripped)].expandtabs(4))
        while self._open and width < self._open[-1]:
            self._open.pop()
        item = _LIST_ITEM.match(text) if stripped[0] in _LIST_STARTS else None
        if item is not None:
            self._open.append(len(item.group(1).expandtabs(4)))


def _read_paragraph(state: StateBlock, start: int, end: int) -> None:
    parent, state.parentType = state.parentType, "paragraph"
    line = start + 1
    while line < end and not state.isEmpty(line) and not _read_interruption(state, line, end, True):
        line += 1
    state.parentType = parent
    if state.level > 0 or not _read_underlined(state, start, line):
        _add_lines(state, "text", start, line)


_UNDERLINE = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*")


def _read_underlined(state: StateBlock, start: int, end: int) -> bool:
    """A line with `===` or `---` below it is a heading of level 1 or 2.

    CommonMark reads every paragraph above `---` so. Authors also write `---` as a rule, without a blank
    line; so it counts only below a task's heading, and where it is as long as the line above it.
    """
    reading: _Reading = state.env["reading"]
    text = reading.lines[start].strip()
    below = reading.lines[start + 1] if start + 1 < len(reading.lines) else ""
    if end - start > 2 or not text or _UNDERLINE.fullmatch(below) is None:
        return False
    # An item of a list is never a heading, not even above `---`, and neither is one in a row of a table.
    if read_box(start + 1, text.removeprefix("|").lstrip()) is not None:
        return False
    level = 1 if below.strip()[0] == "=" else 2
    if end - start != 3 - level:  # `===` ends no paragraph and is its second line, `---` is a rule
        return False
    as_long = text[0].isalnum() and len(below.strip()) > 3 and abs(len(below.strip()) - len(text)) <= 2
    if level == 2 and not (as_long or reading.is_task_heading(f"## {text}")):
        return False
    state.line = start + 2
    reading.blocks.append(Block("heading", start + 1, start + 2, level=level, text=text))
    return True


def _add_lines(state: StateBlock, kind: Kind, start: int, end: int) -> None:
    state.line = end
    if state.level == 0:
        reading: _Reading = state.env["reading"]
        text = "\n".join(reading.lines[start:end])
        reading.blocks.append(Block(kind, start + 1, end, text=text))


def _read_html(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """HTML that lasts to the next blank line ends before a task, or a fence, that follows without one."""
    reading: _Reading = state.env["reading"]
    if silent or state.level > 0 or any(opens.match(reading.lines[start]) for opens, _ in _HTML_ENDS):
        return html_block(state, start, end, silent)
    # The end is searched first: the library would read on to the next blank line from every task that it
    # meets, which takes quadratic time.
    last = next((n for n in range(start + 1, end) if _ends_html(state, reading, n)), end)
    return html_block(state, start, last, silent)


def _ends_html(state: StateBlock, reading: _Reading, line: int) -> bool:
    return (
        state.isEmpty(line)
        or reading.fences.at(line) is not None
        or reading.is_task_heading(reading.lines[line])
    )


def _read_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Most lines that start like a rule are list items or labels; the third character rules them out."""
    at = state.bMarks[start] + state.tShift[start] + 2
    return state.src[at : at + 1] in _IN_A_RULE and hr(state, start, end, silent)


_IN_A_RULE = frozenset("*-_ \t")
_RULES: dict[str, Callable[[StateBlock, int, int, bool], bool]] = {
    "#": heading,
    ">": blockquote,
    "<": _read_html,
    "*": _read_rule,
    "-": _read_rule,
    "_": _read_rule,
}
