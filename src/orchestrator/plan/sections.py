"""Tasks whose headings do not say "Task": `### Iteration 2`, `### Step 1`, `### US-001`, `### T001:`."""

import re
from collections import Counter
from dataclasses import replace

from orchestrator.plan.blocks import Block, Document
from orchestrator.plan.boxes import may_have_box, read_box
from orchestrator.plan.values import ID

_BEFORE = (
    r"(?P<before>(?:~~|\[[xX]\]|[\[(](?:done|completed?|cancell?ed|skipped|deferred|removed|on hold)[\])]"
    r"|[^\w~]|_)*+)"
)
_AFTER = r"(?P<rest>\s*[\])`*_~]*\s*(?:[:：.|)–—→-].*)?)"
_MARK = r"(?:~~)?[#\[(`]?"
_FORMS = tuple(
    re.compile(_BEFORE + form + _AFTER, re.IGNORECASE | re.DOTALL)
    for form in (
        r"(?P<id>US-?\d{1,6}(?:\.\d{1,4})?)",
        r"(?P<id>T(?:ASK)?-?\d{1,6}[a-z]?(?:\.\d{1,4})?)",
        rf"(?:user\s+)?story\s+{_MARK}(?P<id>{ID})",
        rf"iteration\s+{_MARK}(?P<id>{ID})",
        rf"step\s+{_MARK}(?P<id>{ID})",
    )
)
"""From the narrowest to the widest: steps may be parts of a story, and not the other way round."""


def name_tasks(document: Document) -> Document | None:
    """The document with its headings as `Task ID: title`; None if they are not tasks.

    They are tasks if most boxes of the document are in such sections. Ids that begin again under each heading
    get the number of that heading in front: `2.1` is the first step of the second phase.
    """
    boxes = [_count_boxes(block) for block in document.blocks]
    for form in _FORMS:
        found = _match_headings(document, form)
        if found and 2 * sum(_boxes_inside(document, found, boxes)) > sum(boxes):
            return _rename(document, found)
    return None


def _match_headings(document: Document, form: re.Pattern[str]) -> dict[int, re.Match[str]]:
    return {
        at: match
        for at, block in enumerate(document.blocks)
        if block.kind == "heading" and block.level > 1 and (match := form.fullmatch(block.text)) is not None
    }


def _boxes_inside(document: Document, found: dict[int, re.Match[str]], boxes: list[int]) -> list[int]:
    level = 0
    counts = []
    for at, block in enumerate(document.blocks):
        if at in found:
            level = block.level
        elif block.kind == "heading" and block.level <= level:
            level = 0
        counts.append(boxes[at] if level else 0)
    return counts


def _count_boxes(block: Block) -> int:
    if block.kind != "text" or not may_have_box(block.text):
        return 0
    return sum(read_box(0, line) is not None for line in block.text.split("\n"))


def _rename(document: Document, found: dict[int, re.Match[str]]) -> Document:
    repeats = max(Counter(match["id"].lower() for match in found.values()).values()) > 1
    group = 0
    blocks = list(document.blocks)
    top = min(blocks[at].level for at in found)
    first = next(at for at, block in enumerate(blocks) if block.kind == "heading")
    for at, block in enumerate(blocks):
        if at in found:
            match = found[at]
            id = f"{group}.{match['id']}" if repeats else match["id"]
            strike = "~~" if match["rest"].startswith("~~") and "~~" not in match["before"] else ""
            blocks[at] = block._replace(text=f"{strike}{match['before']}Task {id}{match['rest']}")
        elif block.kind == "heading" and block.level < top and (block.level > 1 or at > first):
            group += 1
    return replace(document, blocks=tuple(blocks))
