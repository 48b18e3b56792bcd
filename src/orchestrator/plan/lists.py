"""Lists of boxes: the items of a document, the lines under each, and which of them are tasks."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.plan.blocks import Block, Document
from orchestrator.plan.boxes import BULLET, Checkbox, read_box
from orchestrator.plan.fields import Fields, Line, read_item_fields
from orchestrator.plan.model import Criterion, Span

_BULLET = re.compile(rf"(?P<indent>\s*){BULLET}\s")
_NESTED = 2
"""Columns by which an item is indented more than the one that contains it; with less it is a sibling."""


@dataclass(slots=True, kw_only=True)
class Item:
    """A list item with a box, and the lines that belong to it and to no item inside it."""

    box: Checkbox
    parent: int | None
    """The index of the item with a box that contains it."""
    group: int
    """How many headings of level 1 or 2 come before it."""
    section: int
    """How many headings of any level come before it."""
    headings: tuple[str, ...]
    """The texts of the headings that it is under, the highest first; without the title of the document."""
    ranges: list[tuple[int, int]]
    """First and last line of each piece, in order."""
    parts: list[Line | Block] = field(default_factory=list)
    """Its lines and fenced blocks, the line of the box left out."""


@dataclass(slots=True, kw_only=True)
class ListTask:
    """An item that is a task, with the items below it that are none."""

    item: Item
    parent: "ListTask | None"
    inner: list[Item] = field(default_factory=list)
    _fields: Fields | None = None

    @property
    def box(self) -> Checkbox:
        return self.item.box

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        return tuple(Criterion(text=item.box.text, done=item.box.done) for item in self.inner)

    @property
    def boxes(self) -> frozenset[int]:
        """The lines of its own box and of those that are its criteria."""
        return frozenset((self.box.line, *(item.box.line for item in self.inner)))

    @property
    def body(self) -> list[Line]:
        """Its lines, its own first and then those of its inner items."""
        found = [part for part in self.item.parts if isinstance(part, Line)]
        for item in self.inner:
            found.append(Line(item.box.line, item.box.text))
            found += [part for part in item.parts if isinstance(part, Line)]
        return found

    @property
    def fields(self) -> Fields:
        if self._fields is None:
            parts = [part for item in (self.item, *self.inner) for part in item.parts]
            self._fields = read_item_fields(parts)
        return self._fields

    def section(self, document: Document) -> tuple[Span, str]:
        """Its lines and their text. Where tasks of its own are in between, these are left out."""
        ranges = sorted(piece for item in (self.item, *self.inner) for piece in item.ranges)
        pieces = [ranges[0]]
        for first, last in ranges[1:]:
            if any(line.strip() for line in document.lines[pieces[-1][1] : first - 1]):
                pieces.append((first, last))
            else:
                pieces[-1] = (pieces[-1][0], last)
        text = "\n".join(document.verbatim(*piece) for piece in pieces)
        return Span(first=pieces[0][0], last=pieces[-1][1]), text


def read_items(document: Document) -> list[Item]:
    reading = _Reading()
    for block in document.blocks:
        if block.kind == "text":
            for number in range(block.first, block.last + 1):
                reading.add_line(Line(number, document.lines[number - 1]), opens=number == block.first)
        elif block.kind in ("fence", "code"):
            reading.add_block(block, _indent_of(document.lines[block.first - 1]))
        else:
            reading.close()
            if block.kind == "heading":
                reading.add_heading(block)
    return reading.items


def choose_tasks(items: Sequence[Item], is_task: Callable[[Item], bool]) -> list[ListTask]:
    """The tasks of a list; an item that is none belongs to the nearest task that contains it, if any."""
    tasks: list[ListTask] = []
    owners: list[ListTask | None] = []
    for item in items:
        owner = None if item.parent is None else owners[item.parent]
        if is_task(item):
            owner = ListTask(item=item, parent=owner)
            tasks.append(owner)
        elif owner is not None:
            owner.inner.append(item)
        owners.append(owner)
    return tasks


@dataclass(slots=True, kw_only=True)
class _Reading:
    """The items read so far, and those that are open: the innermost last."""

    items: list[Item] = field(default_factory=list)
    group: int = 0
    section: int = 0
    _headings: list[Block] = field(default_factory=list)
    _open: list[tuple[int, int | None]] = field(default_factory=list)
    """The indent of each open list item, and the index of the item with a box that it is or is in."""

    def add_heading(self, block: Block) -> None:
        is_title = self.section == 0 and block.level == 1
        self.group += block.level <= 2
        self.section += 1
        while self._headings and self._headings[-1].level >= block.level:
            self._headings.pop()
        if not is_title:
            self._headings.append(block)

    def add_line(self, line: Line, *, opens: bool) -> None:
        """`opens` says whether the line begins a paragraph; any other line may continue an item as it is."""
        box = read_box(line.number, line.text)
        bullet = None if box is not None else _BULLET.match(line.text)
        if box is not None:
            self._close_to(box.indent)
            piece = (line.number, line.number)
            item = Item(
                box=box,
                parent=self._innermost,
                group=self.group,
                section=self.section,
                headings=tuple(heading.text for heading in self._headings),
                ranges=[piece],
            )
            self._open.append((box.indent, len(self.items)))
            self.items.append(item)
            return
        indent = _indent_of(line.text)
        if bullet is not None or opens:
            self._close_to(indent)
        self._add(line, line.number, line.number)
        if bullet is not None:
            self._open.append((indent, self._innermost))

    def add_block(self, block: Block, indent: int) -> None:
        self._close_to(indent)
        self._add(block, block.first, block.last)

    def close(self) -> None:
        self._open.clear()

    @property
    def _innermost(self) -> int | None:
        return self._open[-1][1] if self._open else None

    def _close_to(self, indent: int) -> None:
        while self._open and indent < self._open[-1][0] + _NESTED:
            self._open.pop()

    def _add(self, part: Line | Block, first: int, last: int) -> None:
        index = self._innermost
        if index is None:
            return
        item = self.items[index]
        item.parts.append(part)
        if item.ranges[-1][1] >= first - 1 or index == len(self.items) - 1:
            item.ranges[-1] = (item.ranges[-1][0], last)
        else:
            item.ranges.append((first, last))


def _indent_of(text: str) -> int:
    return len(text[: len(text) - len(text.lstrip())].expandtabs(4))
