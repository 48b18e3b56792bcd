"""Where a fenced block ends, when authors nest fences of the same length.

CommonMark ends a fence at the first bare fence line that is long enough. Authors who put a sample document
into a fence mean something else: a fence line with an info string inside an open fence opens an inner one,
and the next bare line closes the inner one. Where the two readings differ, the nested one is taken, unless it
leaves the rest of the document with an open fence and the strict one does not.

A code block that was never closed would swallow the tasks after it. Where neither reading closes it well
and it is not a sample document, it ends before the next task heading.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_FENCE = re.compile(r"([ \t]*)((?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(`{3,}|~{3,})[ \t]*(.*)")
_DOCUMENTS = frozenset(("", "markdown", "md", "mdx", "text", "txt", "plain"))
_LONGEST = 12
_DEEPEST = 12
_WORK_PER_FENCE = 40
"""Fence lines that may be examined per fence line of the document; beyond this, only the strict reading is
used. It keeps a hostile text from costing more than linear time.
"""


@dataclass(frozen=True, slots=True)
class FenceLine:
    line: int
    """Zero-based."""
    indent: int
    mark: str
    length: int
    info: str
    in_item: bool
    """Whether it follows the mark of a list item on the same line; such a line can only open a fence."""

    def closes(self, opener: "FenceLine") -> bool:
        return self.info == "" and not self.in_item and self._fits(opener)

    def nests_in(self, opener: "FenceLine") -> bool:
        return self.info != "" and self._fits(opener)

    def _fits(self, opener: "FenceLine") -> bool:
        return self.mark == opener.mark and self.size >= opener.size and self.depth <= opener.depth + 3

    @property
    def size(self) -> int:
        """The length up to _LONGEST. More distinct lengths would cost time, and no real plan needs them."""
        return min(self.length, _LONGEST)

    @property
    def depth(self) -> int:
        return min(self.indent, _DEEPEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceEnd:
    end: int
    """Zero-based line of the closing fence, or the first line after the content when there is none."""
    closed: bool
    ambiguous: bool = False


def fence_line(text: str, line: int) -> FenceLine | None:
    match = _FENCE.fullmatch(text)
    if match is None:
        return None
    indent, item, marks, info = match.groups()
    if marks[0] == "`" and "`" in info:
        return None
    width = len((indent + item).expandtabs(4))
    return FenceLine(line, width, marks[0], len(marks), info.strip(), item != "")


class Fences:
    """Answers, for a fence that opens at a line, where it ends.

    `is_task_heading` says of a line of text whether it reads as the heading of a task.
    """

    def __init__(self, lines: Sequence[str], is_task_heading: Callable[[str], bool]) -> None:
        self._lines = lines
        self._is_task_heading = is_task_heading
        self._fences = [
            found
            for number, text in enumerate(lines)
            if ("```" in text or "~~~" in text) and (found := fence_line(text, number)) is not None
        ]
        self._starts = [fence.line for fence in self._fences]
        self._by_line = {fence.line: fence for fence in self._fences}
        self._nested: dict[int, int | None] = {}
        # The first closing fence after an opener also closes every later opener of the same kind that comes
        # before that fence. Without this memory, many openers and one distant closing fence cost quadratic
        # time.
        self._closing: dict[tuple[str, int, int], tuple[int, int | None]] = {}
        self._work = _WORK_PER_FENCE * len(self._fences) + 1000

    def at(self, line: int) -> FenceLine | None:
        """The line at this zero-based number if it looks like a fence; it may also be text of a block."""
        return self._by_line.get(line)

    def end_of(self, line: int) -> FenceEnd:
        """`line` is the zero-based line of an opening fence."""
        start = bisect_left(self._starts, line)
        strict = self._find_strict_end(start)
        if strict is None:
            end = len(self._lines)
            return self._end_if_forgotten(start, end) or FenceEnd(end=end, closed=False)
        inner = self._first_inner(start, strict)
        if inner is None:
            return self._find_simple_end(start, strict)
        nested = self._find_nested_end(start)
        if nested is not None and (
            self._closes_all_from(nested + 1) or not self._closes_all_from(strict + 1)
        ):
            return FenceEnd(end=self._starts[nested], closed=True, ambiguous=True)
        forgotten = self._end_if_forgotten(start, self._starts[inner])
        return forgotten or FenceEnd(end=self._starts[strict], closed=True, ambiguous=True)

    def _find_simple_end(self, start: int, strict: int) -> FenceEnd:
        """Where a fence without inner fences ends.

        If its author forgot to close it, the next opening fence would close it and every later fence would be
        read inside out. So the forgotten end is assumed where the rest of the document then closes properly.
        """
        forgotten = self._end_if_forgotten(start, self._starts[strict])
        if forgotten is not None and not self._closes_all_from(strict + 1):
            following = bisect_left(self._starts, forgotten.end)
            if self._closes_all_from(following):
                return forgotten
        return FenceEnd(end=self._starts[strict], closed=True)

    def _find_strict_end(self, start: int) -> int | None:
        opener = self._fences[start]
        kind = (opener.mark, opener.size, opener.depth)
        asked_from, known = self._closing.get(kind, (start + 1, None))
        if asked_from <= start and (known is None or known > start):
            return known
        found = next((n for n in range(start + 1, len(self._fences)) if self._fences[n].closes(opener)), None)
        self._closing[kind] = (start, found)
        return found

    def _first_inner(self, start: int, end: int | None) -> int | None:
        opener = self._fences[start]
        for index in range(start + 1, len(self._fences) if end is None else end):
            if self._fences[index].nests_in(opener):
                return index
        return None

    def _find_nested_end(self, start: int) -> int | None:
        """The index of the closing fence if inner fences nest. Results for inner ones are kept."""
        if start in self._nested:
            return self._nested[start]
        open_fences = [start]
        for index in range(start + 1, len(self._fences)):
            self._work -= 1
            if self._work < 0:
                return None
            top = self._fences[open_fences[-1]]
            if self._fences[index].closes(top):
                self._nested[open_fences.pop()] = index
                if not open_fences:
                    return index
            elif self._fences[index].nests_in(top):
                open_fences.append(index)
        self._nested.update(dict.fromkeys(open_fences))
        return None

    def _closes_all_from(self, position: int) -> bool:
        """Whether all fences from this position on are closed, each read as `end_of` would read it."""
        while position < len(self._fences):
            self._work -= 1
            if self._work < 0:
                return True
            end = self._find_nested_end(position)
            end = self._find_strict_end(position) if end is None else end
            if end is None:
                return False
            position = end + 1
        return True

    def _end_if_forgotten(self, start: int, limit: int) -> FenceEnd | None:
        """The end before the next task heading, for a code block that its author may have forgotten to close.

        Never for a sample document, which may hold task headings, nor for a script with a here-document.
        """
        opener = self._fences[start]
        if opener.info.split(" ")[0].lower() in _DOCUMENTS:
            return None
        for number in range(opener.line + 1, limit):
            text = self._lines[number]
            if "<<" in text:
                return None
            if self._is_task_heading(text):
                return FenceEnd(end=number, closed=False)
        return None
