"""What stands behind a label, as data: ids, file names, minutes, checkboxes, commands."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from orchestrator.plan.fields import Line
from orchestrator.plan.model import Criterion, TaskType

ID = r"(?:[A-Za-z]\.\d{1,9}|[A-Za-z]{0,2}\d{1,9})[A-Za-z]?(?:\.\d{1,9}[A-Za-z]?){0,7}(?![^\W_])"
SHELLS = frozenset(("bash", "sh", "shell", "zsh"))

_TYPE = re.compile(r"\b(coding|research|mixed|validation|verification)\b", re.IGNORECASE)
_CODE = re.compile(r"`([^`\n]+)`")
_VERB = re.compile(r"\w{1,20}:\s+")
_LINE_NUMBERS = re.compile(r":\d+(?:-\d+)?(?:,\s*\d+(?:-\d+)?)*$")
_PARENTHESES = re.compile(r"\([^()\n]*\)")
_BULLET = re.compile(r"^\s*(?:[-*+]|\d{1,9}[.)])\s+")
_CHECKBOX = re.compile(
    r"(?P<indent>\s*)(?:[-*+]|\d{1,9}[.)])\s+\[(?P<mark>[ xX~-])\](?P<star>\*?)\s*(?P<text>.*)"
)
_ITEM = re.compile(r"(?P<indent>\s*)(?:[-*+]|\d{1,9}[.)])\s+(?P<text>.*)")
_WORD = re.compile(r"[^\W_][\w/]*")
_NOTHING = frozenset(("nothing", "none", "nil", "no", "n/a", "na"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Ids that a dependency names: one task, or a range of them."""

    first: str
    last: str | None
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkbox:
    line: int
    indent: int
    done: bool
    optional: bool
    text: str


def task_type(value: str) -> TaskType | None:
    match = _TYPE.search(value)
    return None if match is None else cast(TaskType, match[1].upper())


def says_nothing(value: str) -> bool:
    """Whether a value means "no dependency": nothing, none, -, N/A."""
    first = _WORD.search(value)
    return value.strip(" -–—.*_`\n") == "" if first is None else first[0].lower() in _NOTHING


_REFERENCE = re.compile(
    rf"(?P<word>\btasks?[\s-]+)?[#`*_\[]*(?P<first>{ID})[`*_\]]*"
    rf"(?:\s*(?:[-–—]|\.\.\.?|…|\bto\b|\bthrough\b)\s*(?:task\s+)?[#`*_\[]*(?P<last>{ID}))?",
    re.IGNORECASE,
)
_LINK = re.compile(r"\]\([^)\n]{0,300}\)")
_SEPARATOR = re.compile(r"[,;&+/]|\band\b|\bor\b", re.IGNORECASE)


def references(lines: Iterable[Line], *, bare: bool) -> list[Reference]:
    """Tasks named in a value; with `bare`, an id that leads its piece of the list needs no word "Task"."""
    found: list[Reference] = []
    for line in lines:
        text = _PARENTHESES.sub(" ", _LINK.sub("]", _BULLET.sub("", line.text, count=1)))
        listed = False
        for piece in _SEPARATOR.split(text):
            match = _REFERENCE.match(piece.strip())
            listed = match is not None and (bare or match["word"] is not None or listed)
            if match is None:
                match = re.search(r"\btasks?[\s-]+", piece, re.IGNORECASE)
                match = None if match is None else _REFERENCE.match(piece, match.start())
                listed = match is not None
            if match is not None and listed:
                found.append(Reference(first=match["first"], last=match["last"], line=line.number))
    return found


def file_names(lines: Sequence[Line]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for line in lines:
        text = _PARENTHESES.sub(" ", line.text)
        is_item = _BULLET.match(text) is not None
        text = _BULLET.sub("", text, count=1)
        quoted = _CODE.findall(text)
        if quoted:
            names.update(dict.fromkeys(_path(name) for name in (quoted[:1] if is_item else quoted)))
        else:
            names.update(dict.fromkeys(_bare_names(text)))
    return tuple(name for name in names if name)


def _path(name: str) -> str:
    """Without the line numbers that some authors add: `main.py:12-40`."""
    return _LINE_NUMBERS.sub("", name.strip())


def _bare_names(text: str) -> Iterator[str]:
    for piece in re.split(r"[,;]|\s[-–—]\s", text):
        words = _VERB.sub("", piece.strip()).split()
        if len(words) == 1 and re.search(r"[./]", words[0].strip(".")) and not says_nothing(words[0]):
            yield _path(words[0].strip("*_\"'"))


_MINUTES = {"m": 1, "h": 60, "d": 8 * 60, "w": 5 * 8 * 60}
_AMOUNT = re.compile(
    r"(?P<low>\d{1,6}(?:[.,]\d{1,3})?|half(?: an?)?)\s*"
    r"(?:(?:-|–|—|to)\s*(?P<high>\d{1,6}(?:[.,]\d{1,3})?)\s*)?"
    r"(?P<unit>min(?:ute)?s?|m|h(?:ou)?rs?|h|days?|d|weeks?|w)(?![A-Za-z])",
    re.IGNORECASE,
)


def minutes(value: str) -> int | None:
    """Minutes of work; of a range its upper end; a day is 8 hours, a week 5 days. None: no amount of time."""
    total = 0.0
    end = None
    for match in _AMOUNT.finditer(value):
        if end is not None and value[end : match.start()].strip(" ,") not in ("", "and"):
            break
        total += _number(match["high"] or match["low"]) * _MINUTES[match["unit"][0].lower()]
        end = match.end()
    return None if end is None else round(total)


def _number(text: str) -> float:
    return 0.5 if text.lower().startswith("half") else float(text.replace(",", "."))


def checkboxes(lines: Iterable[Line]) -> Iterator[Checkbox]:
    for line in lines:
        if "[" in line.text and (match := _CHECKBOX.fullmatch(line.text)) is not None:
            yield Checkbox(
                line=line.number,
                indent=len(match["indent"].expandtabs(4)),
                done=match["mark"] in "xX",
                optional=bool(match["star"]),
                text=match["text"].strip(),
            )


def criteria(lines: Sequence[Line]) -> tuple[Criterion, ...]:
    """Each checkbox or list item is a criterion; what is indented below one belongs to it."""
    found: list[tuple[int, bool, list[str]]] = []
    boxed = any(_CHECKBOX.fullmatch(line.text) for line in lines)
    for line in lines:
        box = _CHECKBOX.fullmatch(line.text)
        item = box or _ITEM.fullmatch(line.text)
        if item is None:
            _continue(found, line.text, boxed)
            continue
        indent = len(item["indent"].expandtabs(4))
        if box is None and found and indent > found[-1][0]:
            found[-1][2].append(item["text"].strip())
        else:
            found.append((indent, box is not None and box["mark"] in "xX", [item["text"].strip()]))
    return tuple(Criterion(text=" ".join(texts).strip(), done=done) for _, done, texts in found)


def _continue(found: list[tuple[int, bool, list[str]]], text: str, boxed: bool) -> None:
    if found:
        found[-1][2].append(text.strip())
    elif text.strip() and not boxed:
        found.append((-1, False, [text.strip()]))


def only_code(value: str) -> str | None:
    """The text of a value that is one code span and nothing else."""
    match = _CODE.fullmatch(value.strip())
    return None if match is None else match[1].strip()


def first_word(value: str) -> str:
    """The first code span of a value, else its first word."""
    match = _CODE.search(value)
    if match is not None:
        return match[1].strip()
    words = value.split()
    return words[0].strip("*_\"'") if words else ""
