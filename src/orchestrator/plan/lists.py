"""Checkbox lists: the items of a document and the lines under each."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.plan.blocks import Block, Document
from orchestrator.plan.fields import Line
from orchestrator.plan.model import Criterion, Span
from orchestrator.plan.values import Checkbox, checkboxes

_BULLET = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])\s")


@dataclass(slots=True, kw_only=True)
class Item:
    box: Checkbox
    group: int
    """How many headings of level 1 or 2 come before it."""
    last: int
    body: list[Line] = field(default_factory=list)
    """The lines under the item, its own left out."""

    @property
    def lines(self) -> Span:
        return Span(first=self.box.line, last=self.last)

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        return tuple(Criterion(text=box.text, done=box.done) for box in checkboxes(self.body))


def read_items(document: Document, starts: Callable[[Checkbox], bool]) -> list[Item]:
    """Items whose checkbox satisfies `starts`; other checkboxes belong to the item above them."""
    items: list[Item] = []
    group, inside = 0, False
    for block in document.blocks:
        if block.kind == "text":
            inside = _read_text(document, block, items, group, starts, inside)
        elif block.kind in ("fence", "code") and inside and document.lines[block.first - 1][:1] in " \t":
            items[-1].last = block.last
        else:
            inside = False
            group += block.kind == "heading" and block.level <= 2
    return items


def _read_text(
    document: Document,
    block: Block,
    items: list[Item],
    group: int,
    starts: Callable[[Checkbox], bool],
    inside: bool,
) -> bool:
    for number in range(block.first, block.last + 1):
        line = Line(number, document.lines[number - 1])
        box = next(checkboxes([line]), None)
        if box is not None and starts(box):
            items.append(Item(box=box, group=group, last=line.number))
            inside = True
        elif number == block.first and line.text[:1] not in " \t" and not _BULLET.match(line.text):
            inside = False
        elif inside:
            items[-1].body.append(line)
            items[-1].last = line.number
    return inside
