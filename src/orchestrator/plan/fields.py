"""The labelled parts of a section: `**Label:** value`, in the forms that authors use."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from orchestrator.plan.blocks import Block, Document
from orchestrator.plan.boxes import BULLET, read_box
from orchestrator.plan.states import is_status

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
    "categories",
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
    "depends upon": "depends",
    "requires": "prerequisites",
    "needs": "prerequisites",
    "after": "prerequisites",
    "waits for": "prerequisites",
    "prerequisites": "prerequisites",
    "prerequisite": "prerequisites",
    "builds on": "builds_on",
    "acceptance": "acceptance",
    "success criteria": "acceptance",
    "definition of done": "acceptance",
    "verify": "verify",
    "verification": "verify",
    "how to verify": "verify",
    "verify with": "verify",
    "verify by": "verify",
    "verify command": "verify",
    "verify commands": "verify",
    "verification command": "verify",
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
    "task categories": "categories",
    "tests": "other",
    "unit tests": "other",
    "integration tests": "other",
    "commit": "other",
    "expected": "other",
    "expected output": "other",
}
_STARTS: dict[str, Meaning] = {"files ": "files", "estimated ": "estimate", "acceptance ": "acceptance"}
_PLAIN = (
    r"type|depends on|dependencies|requires|files?|file\(s\)|branch|builds on|estimated time|verify"
    "|acceptance criteria"
)

_BOLD = re.compile(
    r"(?P<indent>\s*)(?P<bullet>[-*+]\s+)?(?P<mark>\*\*|__|\*|_)(?=\S)"
    r"(?P<label>[^*\n]{1,120}?)(?P<inside>\s*:)?\s*(?P=mark)(?P<outside>\s*:)?(?P<value>.*)"
)
_BARE = re.compile(rf"(?P<bullet>[-*+]\s+)?(?P<label>{_PLAIN})\s*:(?P<value>.*)", re.IGNORECASE)
# A status is read in more places than other labels, where its value is one: a task that its author has
# cancelled must not run because of the form of that line.
_STATUS = re.compile(
    r"\s*(?:>\s*){0,3}(?P<bullet>[-*+]\s+)?[*_]{0,3}(?P<label>status|state)"
    r"[*_]{0,3}\s*:[*_]{0,3}(?P<value>.*?)[*_\s]*",
    re.IGNORECASE,
)
_STATUS_ROW = re.compile(
    r"\s*\|\s*(?P<bullet>)[*_]{0,3}(?P<label>status|state)\s*:?[*_]{0,3}\s*\|\s*(?P<value>[^|]*?)\s*\|\s*",
    re.IGNORECASE,
)
_LONGEST = 120
_GATES = ("acceptance", "verify", "smoke")
_MAY_BE_BOLD = frozenset("*_-+")
_LISTS = frozenset(("files", "depends", "prerequisites", "builds_on"))
_SHORT = _LISTS | {"type", "estimate", "status", "branch"}
_BULLET = re.compile(rf"\s*{BULLET}\s")
_UNFINISHED = re.compile(r"(?:\b(?:and|or|plus)|[&+/]|\([^()]*)$", re.IGNORECASE)
_NEXT_LABEL = re.compile(r"\s+[|·•]\s+(?=\*\*[^*\n]{1,60}\*\*)")


class Line(NamedTuple):
    """A line of the plan, unchanged; a named tuple for the same reason as Block."""

    number: int
    text: str


@dataclass(slots=True, kw_only=True)
class Field:
    """A label and everything under it up to the next label.

    Text before the first label has meaning "text".
    """

    meaning: Meaning
    label: str
    line: int
    lines: list[Line] = field(default_factory=list)
    """The value on the label's line comes first, when there is one."""
    fences: list[Block] = field(default_factory=list)
    takes_labels: bool = False
    """Whether items of a list under it may be labels themselves: under a heading, and in a list of labels."""

    @property
    def value(self) -> str:
        return "\n".join(line.text for line in self.lines).strip()


@lru_cache(maxsize=1024)
def meaning_of(label: str) -> Meaning | None:
    """The meaning of a label or sub-heading, ignoring case and parentheses; None for an unknown one."""
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
        _add_block(found, block, document)
    return Fields(_merge_groups(found))


_ITEM_LABEL = re.compile(
    rf"(?P<indent>\s*)(?P<bullet>{BULLET}\s+)?(?P<mark>\*\*|__|\*|_|)"
    r"(?P<label>[A-Za-z][A-Za-z ()/-]{0,40}?)\s*"
    r"(?:(?P<inside>:)\s*(?P=mark)|(?P=mark)\s*(?P<outside>:|(?<=\*\*)\s[–—-]\s))(?P<value>.*)"
)
_ALL_ITALIC = re.compile(rf"(?P<before>\s*(?:{BULLET}\s+)?)_(?P<text>[A-Z][^_:\n]{{2,40}}:[^\n]*)_\s*")
"""`_Verify: make test_`, as Kiro writes requirements."""


def read_item_fields(parts: Iterable[Line | Block]) -> Fields:
    """The labels in the lines under a list item: `- **Verify:** ...`, `- Verify: ...`.

    A label holds up to the next one, and up to the next item that is not indented more than its own. A label
    that is not an item itself has the items in its column.
    """
    found: list[Field] = []
    indent = -2  # no label is open
    for part in parts:
        if isinstance(part, Block):
            if indent > -2:
                found[-1].fences.append(part)
            continue
        text = part.text
        if text.endswith("_") and (italic := _ALL_ITALIC.fullmatch(text)) is not None:
            text = italic["before"] + italic["text"]
        label = _ITEM_LABEL.fullmatch(text) if ":" in text or "** " in text else None
        if label is not None:
            indent = len(label["indent"].expandtabs(4)) - (label["bullet"] is None)
            found.append(_build_field(label, part.number, meaning_of(label["label"]) or "other"))
            continue
        bullet = _BULLET.match(part.text)
        if bullet is not None and len(bullet[0].expandtabs(4)) - len(bullet[0].lstrip()) <= indent:
            indent = -2
        if indent > -2:
            found[-1].lines.append(part)
    return Fields(found)


def _merge_groups(fields: list[Field]) -> list[Field]:
    """Under acceptance criteria, an unknown label with checkboxes below it names a group of criteria."""
    kept: list[Field] = []
    for entry in fields:
        if kept and kept[-1].meaning == "acceptance" and _is_group(entry):
            kept[-1].lines.append(Line(entry.line, ""))
            kept[-1].lines.extend(entry.lines)
        else:
            kept.append(entry)
    return kept


def _is_group(entry: Field) -> bool:
    unknown = entry.meaning == "other" and entry.label != "" and meaning_of(entry.label.strip(" :*_")) is None
    first = next((line for line in entry.lines if line.text.strip()), None)
    return unknown and first is not None and read_box(first.number, first.text) is not None


def _add_block(found: list[Field], block: Block, document: Document) -> None:
    match block.kind:
        case "text":
            for number, text in enumerate(document.lines[block.first - 1 : block.last], block.first):
                for part in _split_labels(text):
                    _add_line(found, number, part)
        case "fence":
            found[-1].fences.append(block)
        case "heading":
            meaning = meaning_of(block.text.strip(" :*_")) or "other"
            takes_labels = meaning == "other"
            found.append(
                Field(meaning=meaning, label=block.text, line=block.first, takes_labels=takes_labels)
            )
        case "rule":
            found.append(Field(meaning="other", label="", line=block.first, takes_labels=True))
        case "quote":
            lines = enumerate(document.lines[block.first - 1 : block.last], block.first)
            for number, text in lines:
                status = _read_status(number, text, found[-1])
                if status is not None:
                    found += [status, Field(meaning="text", label="", line=number)]
                else:
                    found[-1].lines.append(Line(number, text))
        case "html" | "code":
            pass


def _split_labels(text: str) -> list[str]:
    """`**Type:** CODING | **Effort:** 2 h` is two labels; a table row is left alone."""
    is_table = text.lstrip().startswith("|")
    return _NEXT_LABEL.split(text) if text.count("**") >= 4 and not is_table else [text]


def _add_line(found: list[Field], number: int, text: str) -> None:
    label = _read_label(number, text, found[-1])
    if label is not None:
        found.append(label)
        return
    line = Line(number, text)
    if found[-1].meaning in _SHORT and not _belongs_to_value(found[-1], line):
        found.append(Field(meaning="text", label="", line=number))
    found[-1].lines.append(line)


def _belongs_to_value(entry: Field, line: Line) -> bool:
    """Whether a line still belongs to a short value: it is the first, an item of a list, or after a comma, an
    "and" or an open parenthesis.
    """
    if read_box(line.number, line.text) is not None:
        return False
    if not entry.lines:
        return True
    before = entry.lines[-1].text.rstrip()
    if entry.meaning in _LISTS and (_BULLET.match(line.text) or _UNFINISHED.search(before)):
        return True
    return before.endswith(",") or (entry.meaning == "files" and line.text.lstrip().startswith("`"))


def _read_label(number: int, text: str, under: Field) -> Field | None:
    if (status := _read_status(number, text, under)) is not None:
        return status
    first = text.lstrip()[:1]
    if first in _MAY_BE_BOLD and (match := _BOLD.match(text)) is not None:
        return _read_bold_label(match, number, under)
    match = _BARE.fullmatch(text) if ":" in text else None
    return None if match is None else _build_field(match, number, meaning_of(match["label"]) or "other")


def _read_status(number: int, text: str, under: Field) -> Field | None:
    if "Stat" not in text[:40] and "STAT" not in text[:40]:
        return None
    match = _STATUS.fullmatch(text) or _STATUS_ROW.fullmatch(text)
    if match is None or match["value"].strip() == "" or not is_status(match["value"]):
        return None
    if match["bullet"] and (text[:1].isspace() or not _is_label_in_list("status", under)):
        return None
    lines = [Line(number, match["value"].strip())]
    return Field(meaning="status", label=match["label"], line=number, lines=lines, takes_labels=True)


def _read_bold_label(match: re.Match[str], number: int, under: Field) -> Field | None:
    meaning = meaning_of(match["label"])
    has_colon = bool(match["inside"] or match["outside"])
    if not has_colon and (meaning is None or match["value"].strip() or match["bullet"]):
        return None
    if match["bullet"]:
        is_label = not match["indent"] and _is_label_in_list(meaning, under)
    elif meaning is None:
        is_label = not match["indent"] and len(match["mark"]) == 2
    else:
        is_label = True
    return _build_field(match, number, meaning or "other") if is_label else None


def _is_label_in_list(meaning: Meaning | None, under: Field) -> bool:
    """A bold word in a list under a label is part of that label's value, unless it can only be a label."""
    if meaning in (None, "other"):
        return False
    return meaning in _GATES or under.takes_labels or under.meaning in ("text", *_SHORT)


def _build_field(match: re.Match[str], number: int, meaning: Meaning) -> Field:
    value = match["value"].strip()
    lines = [Line(number, value)] if value else []
    label = match["label"].strip()
    is_item = match["bullet"] is not None
    return Field(meaning=meaning, label=label, line=number, lines=lines, takes_labels=is_item)
