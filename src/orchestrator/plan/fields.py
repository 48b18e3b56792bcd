"""The labelled parts of a section: `**Label:** value`, in the forms people write them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from orchestrator.plan.blocks import Block, Document

Meaning = Literal[
    "text",
    "type",
    "files",
    "depends",
    "prerequisites",
    "builds_on",
    "acceptance",
    "verify",
    "smoke",
    "estimate",
    "description",
    "goal",
    "status",
    "branch",
    "other",
]

_LABELS: dict[str, Meaning] = {
    "type": "type",
    "task type": "type",
    "file": "files",
    "files": "files",
    "depends on": "depends",
    "dependencies": "depends",
    "dependency": "depends",
    "depends": "depends",
    "blocked by": "depends",
    "prerequisites": "prerequisites",
    "prerequisite": "prerequisites",
    "builds on": "builds_on",
    "acceptance": "acceptance",
    "success criteria": "acceptance",
    "definition of done": "acceptance",
    "verify": "verify",
    "verification": "verify",
    "verify commands": "verify",
    "verification commands": "verify",
    "smoke test": "smoke",
    "smoke tests": "smoke",
    "estimate": "estimate",
    "time": "estimate",
    "time estimate": "estimate",
    "effort": "estimate",
    "duration": "estimate",
    "description": "description",
    "what": "description",
    "goal": "goal",
    "objective": "goal",
    "purpose": "goal",
    "status": "status",
    "branch": "branch",
    "implementation": "other",
    "implementation notes": "other",
    "testing requirements": "other",
    "task categories": "other",
    "tests": "other",
    "unit tests": "other",
    "integration tests": "other",
    "commit": "other",
    "expected": "other",
    "expected output": "other",
}
_STARTS: dict[str, Meaning] = {"files ": "files", "estimated ": "estimate", "acceptance ": "acceptance"}
_PLAIN = (
    r"type|depends on|dependencies|files?|file\(s\)|branch|builds on|estimated time|verify"
    "|acceptance criteria"
)

_BOLD = re.compile(
    r"(?P<indent>\s*)(?P<bullet>[-*+]\s+)?(?P<mark>\*\*|__|\*|_)(?=\S)"
    r"(?P<label>[^*\n]{1,60}?)(?P<inside>\s*:)?\s*(?P=mark)(?P<outside>\s*:)?(?P<value>.*)"
)
_BARE = re.compile(rf"(?P<bullet>[-*+]\s+)?(?P<label>{_PLAIN})\s*:(?P<value>.*)", re.IGNORECASE)
_LONGEST = 80
_LISTS = frozenset(("files", "depends", "prerequisites", "builds_on"))
_SHORT = _LISTS | {"type", "estimate", "status", "branch"}
_BULLET = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])\s")
_CHECKBOX = re.compile(r"\s*[-*+]\s+\[[ xX]\]")


class Line(NamedTuple):
    """A line of the plan as it stands; a named tuple for the same reason as Block."""

    number: int
    text: str


@dataclass(slots=True, kw_only=True)
class Field:
    """A label with what stands under it up to the next one; what stands before the first has meaning
    "text".
    """

    meaning: Meaning
    label: str
    line: int
    lines: list[Line] = field(default_factory=list)
    """The value on the label's line comes first, when there is one."""
    fences: list[Block] = field(default_factory=list)

    @property
    def value(self) -> str:
        return "\n".join(line.text for line in self.lines).strip()


@lru_cache(maxsize=1024)
def meaning_of(label: str) -> Meaning | None:
    """What a label or a sub-heading means, whatever its case and its parentheses; None when it is not
    known.
    """
    if len(label) > _LONGEST:
        return None
    words = re.sub(r"\(s\)", "s", label.lower())
    words = re.sub(r"\([^)]*\)|[^\w\s/-]", " ", words)
    name = " ".join(words.split())
    return _LABELS.get(name) or next((m for start, m in _STARTS.items() if name.startswith(start)), None)


class Fields:
    """The fields of a section, in order and by meaning."""

    def __init__(self, fields: list[Field]) -> None:
        self.all = fields
        self._by_meaning: dict[Meaning, list[Field]] = {}
        for entry in fields:
            self._by_meaning.setdefault(entry.meaning, []).append(entry)

    def of(self, *meanings: Meaning) -> list[Field]:
        """In the order of the meanings asked for."""
        return [entry for meaning in meanings for entry in self._by_meaning.get(meaning, ())]

    def text(self, meaning: Meaning) -> str:
        """The first value of this meaning that is not empty."""
        return next((value for entry in self.of(meaning) if (value := entry.value)), "")


def read_fields(document: Document, blocks: Iterable[Block]) -> Fields:
    found = [Field(meaning="text", label="", line=0)]
    for block in blocks:
        _add(found, block, document)
    return Fields(found)


def _add(found: list[Field], block: Block, document: Document) -> None:
    match block.kind:
        case "heading":
            meaning = meaning_of(block.text.strip(" :*_")) or "other"
            found.append(Field(meaning=meaning, label=block.text, line=block.first))
        case "rule":
            found.append(Field(meaning="other", label="", line=block.first))
        case "fence":
            found[-1].fences.append(block)
        case "text":
            for line in _lines(block, document):
                label = _label(line)
                if label is not None:
                    found.append(label)
                else:
                    _add_line(found, line)
        case "quote":
            found[-1].lines.extend(_lines(block, document))
        case "html" | "code":
            pass


def _lines(block: Block, document: Document) -> Iterator[Line]:
    for number in range(block.first, block.last + 1):
        yield Line(number, document.lines[number - 1])


def _add_line(found: list[Field], line: Line) -> None:
    if found[-1].meaning in _SHORT and not _continues(found[-1], line):
        found.append(Field(meaning="text", label="", line=line.number))
    found[-1].lines.append(line)


def _continues(entry: Field, line: Line) -> bool:
    """Whether a line still belongs to a short value: it is the first, an item of a list, or after a comma."""
    if _CHECKBOX.match(line.text):
        return False
    is_item = entry.meaning in _LISTS and _BULLET.match(line.text) is not None
    return not entry.lines or is_item or entry.lines[-1].text.rstrip().endswith(",")


def _label(line: Line) -> Field | None:
    match = _BOLD.match(line.text) if "*" in line.text or "_" in line.text else None
    if match is not None:
        return _bold_label(match, line.number)
    match = _BARE.fullmatch(line.text) if ":" in line.text else None
    return None if match is None else _field(match, line.number, meaning_of(match["label"]) or "other")


def _bold_label(match: re.Match[str], number: int) -> Field | None:
    meaning = meaning_of(match["label"])
    has_colon = bool(match["inside"] or match["outside"])
    if not has_colon and (meaning is None or match["value"].strip() or match["bullet"]):
        return None
    nested = len(match["indent"].expandtabs(4)) > 3
    if meaning is None and (match["bullet"] or nested or len(match["mark"]) == 1):
        return None
    if match["bullet"] and match["indent"]:
        return None
    return _field(match, number, meaning or "other")


def _field(match: re.Match[str], number: int, meaning: Meaning) -> Field:
    value = match["value"].strip()
    lines = [Line(number=number, text=value)] if value else []
    return Field(meaning=meaning, label=match["label"].strip(), line=number, lines=lines)
