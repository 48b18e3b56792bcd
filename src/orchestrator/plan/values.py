"""The values behind labels, as data: ids, file names, minutes, checkboxes, commands."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from orchestrator.plan.boxes import BULLET, Checkbox, read_box
from orchestrator.plan.fields import Field, Line
from orchestrator.plan.model import Criterion, TaskType

ID = (
    r"(?:(?:US|TASK|STORY|ST|T)-\d{1,9}|"
    r"[A-Za-z]\.\d{1,9}|[A-Za-z]{0,2}\d{1,9})[A-Za-z]?(?:\.\d{1,9}[A-Za-z]?){0,7}(?![^\W_])"
)
SHELLS = frozenset(("bash", "sh", "shell", "zsh"))

_TYPE = re.compile(r"\b(coding|research|mixed|validation|verification)\b", re.IGNORECASE)
_CODE = re.compile(r"`([^`\n]+)`")
_VERB = re.compile(r"^\w{1,20}:\s+")
_LINE_NUMBERS = re.compile(r":\d+(?:-\d+)?(?:,\s*\d+(?:-\d+)?)*$")
_CODE_OR_PARENTHESES = re.compile(r"`([^`\n]+)`|\([^()\n]*\)")
_JOINS = re.compile(r"\s*(?:[,;&+]|,?\s*and)?\s*", re.IGNORECASE)
_LINKED = re.compile(r"\[([^\[\]\n]{0,300})\]\([^()\n]{0,300}\)")
_FILE = re.compile(
    r"[^\s`]*[^\s`.](?:/[^\s`]*|\.[^\s`.][^\s`]*)|\.[\w.-]+|[./]{1,3}[^\s`.][^\s`]*"
    r"|(?:Make|Docker|Just|Proc|Gem|Rake|Vagrant|Jenkins|Pip|Brew)file|LICENSE|README|CODEOWNERS"
)
_LIKE_A_FILE = re.compile(r"/|\.\w|[A-Z]\w{2,8}file$|LICENSE|README|CODEOWNERS")
_PARENTHESES = re.compile(r"\([^()\n]*\)")
_BULLET = re.compile(rf"^\s*{BULLET}\s+")
_ITEM = re.compile(rf"(?P<indent>\s*){BULLET}\s+(?P<text>.*)")
_GROUP = re.compile(r"\s*[*_]{1,2}[^*_\n]{1,80}[*_]{1,2}\s*:?\s*|[A-Z][\w &/-]{0,60}:\s*")
_WORD = re.compile(r"[^\W_][\w/]*")
_NOTHING = frozenset(("nothing", "none", "nil", "no", "n/a", "na"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Ids that a dependency names: one task, or a range of them."""

    first: str
    last: str | None
    line: int
    sure: bool = True
    """False: a number in a sentence. It counts if a task has this id, and is ignored otherwise."""
    alone: bool = True
    """False: words follow, so that the number may count something, as in `3 services`."""
    whole: str = ""
    """The text as it is written, without blanks and marks: `T003-1` may be one id, or a range."""


def task_type(value: str) -> TaskType | None:
    match = _TYPE.search(value)
    return None if match is None else cast(TaskType, match[1].upper())


def means_none(value: str) -> bool:
    """Whether a value means "no dependency": nothing, none, -, N/A."""
    first = _WORD.search(value)
    return value.strip(" -–—.*_`\n") == "" if first is None else first[0].lower() in _NOTHING


_NAMED = rf"[#`*_\[]*(?P<first>{ID})[`*_\]]*"
_RANGE = rf"(?:\s*(?:[-–—~～]|\.\.\.?|…|\bto\b|\bthrough\b)\s*(?:task\s+)?[#`*_\[]*(?P<last>{ID}))?"
_TASK = r"(?P<word>\btasks?(?:\s+ids?)?[\s:#-]+)"
_REFERENCE = re.compile(
    rf"(?:(?:both|after|requires?|needs?|all\s+of)\s+)?{_TASK}?{_NAMED}{_RANGE}", re.IGNORECASE
)
_TASK_REFERENCE = re.compile(_TASK + _NAMED + _RANGE, re.IGNORECASE)
_DOTTED = re.compile(
    r"(?<![\w.])(?:[A-Za-z]\.\d{1,9}|[A-Za-z]{0,2}\d{1,9})[A-Za-z]?(?:\.\d{1,9}[A-Za-z]?){1,7}(?![\w])(?!\.\d)"
)
_SAYS_MORE = re.compile(r"[\s*_`]*\w")
_LINK = re.compile(r"\]\([^)\n]{0,300}\)")
_SEPARATOR = re.compile(r"[,;&+/→]|\b(?:and|or|plus|then|as well as|followed by)\b", re.IGNORECASE)


def references(lines: Iterable[Line], *, bare: bool) -> list[Reference]:
    """Tasks named in a value; with `bare`, an id that leads its piece of the list needs no word "Task"."""
    found: list[Reference] = []
    for line in _paragraphs(lines):
        text = _plain_value(line.text)
        listed = False
        for piece in _SEPARATOR.split(text):
            match = _REFERENCE.match(piece.strip())
            listed = match is not None and (bare or match["word"] is not None or listed)
            if match is None:
                match = _TASK_REFERENCE.search(piece)
                listed = match is not None
            if match is not None and listed:
                alone = match["word"] is not None or _SAYS_MORE.match(match.string, match.end()) is None
                whole = re.sub(r"[\s`*_#\[\]]+", "", match[0])
                found.append(
                    Reference(
                        first=match["first"], last=match["last"], line=line.number, alone=alone, whole=whole
                    )
                )
            if bare:
                rest = piece if match is None or not listed else match.string[match.end() :]
                found += [
                    Reference(first=name, last=None, line=line.number, sure=False)
                    for name in _DOTTED.findall(rest)
                ]
    return found


def references_of(fields: Iterable[Field]) -> list[Reference]:
    """Tasks named under labels for dependencies. Prerequisites may be anything, such as `Python 3.12`."""
    return [
        reference
        for field in fields
        for reference in references(
            field.lines, bare=field.meaning != "prerequisites" or are_only_ids(field.lines)
        )
    ]


def are_only_ids(lines: Iterable[Line]) -> bool:
    """Whether a value is a list of ids and nothing else, except for remarks in parentheses."""
    pieces = [
        piece.strip(" \t.*_")
        for line in _paragraphs(lines)
        for piece in _SEPARATOR.split(
            _PARENTHESES.sub(" ", _LINK.sub("]", _BULLET.sub("", line.text, count=1)))
        )
    ]
    return any(pieces) and all(_REFERENCE.fullmatch(piece) for piece in pieces if piece)


def _plain_value(text: str) -> str:
    """The text without its bullet, targets of links and remarks in parentheses."""
    return _PARENTHESES.sub(" ", _LINK.sub("]", _BULLET.sub("", text, count=1)))


def _paragraphs(lines: Iterable[Line]) -> Iterator[Line]:
    """Each item of a list, and each paragraph, as one line."""
    whole: Line | None = None
    for line in lines:
        if whole is not None and line.text.strip() and _BULLET.match(line.text) is None:
            whole = Line(whole.number, f"{whole.text} {line.text.strip()}")
            continue
        if whole is not None:
            yield whole
        whole = line if line.text.strip() else None
    if whole is not None:
        yield whole


def file_names(lines: Sequence[Line]) -> tuple[str, ...]:
    """The files that a list names: code spans, else bare words that look like files.

    Of a list item or table row only the leading ones count: the rest of the line is an explanation.
    """
    names: dict[str, None] = {}
    for line in lines:
        text = _LINKED.sub(r"\1", line.text)
        box, item = read_box(line.number, text), _ITEM.fullmatch(text)
        if box is not None:
            text = box.text
        elif item is not None:
            text = item["text"]
        is_row = text.lstrip().startswith("|")
        if is_row:
            text = text.strip().strip("|").split("|")[0].strip()
        is_item = box is not None or item is not None
        quoted = _list_leading_code_spans(text) if is_item or is_row else _code_spans(text)
        names.update(dict.fromkeys(_without_line_numbers(name) for name in quoted or _bare_names(text)))
    return tuple(name for name in names if name)


def _code_spans(text: str) -> list[str]:
    """Code spans, outside parentheses; where some look like files, only those."""
    spans = [match[1] for match in _CODE_OR_PARENTHESES.finditer(text) if match[1]]
    return [span for span in spans if _LIKE_A_FILE.search(span)] or spans


def _list_leading_code_spans(text: str) -> list[str]:
    """The first code span, and those that follow it after a comma or an "and"."""
    spans: list[str] = []
    end = 0
    for match in _CODE_OR_PARENTHESES.finditer(text):
        between = text[end : match.start()]
        if spans and _JOINS.fullmatch(between) is None:
            break
        if match[1]:
            spans.append(match[1])
        end = match.end()
    return spans


def _without_line_numbers(name: str) -> str:
    """The file name without the line numbers that some authors add: `main.py:12-40`."""
    return _LINE_NUMBERS.sub("", name.strip()).removesuffix("()")


def _bare_names(text: str) -> Iterator[str]:
    for piece in re.split(r"[,;&]|\s[-–—]\s|\band\b", _PARENTHESES.sub(" ", text)):
        words = _VERB.sub("", piece.strip()).partition(": ")[0].split()
        word = words[0].strip("*_\"'") if len(words) == 1 else ""
        if _FILE.fullmatch(word) and not means_none(word):
            yield _without_line_numbers(word)


_MINUTES = {"m": 1, "h": 60, "d": 8 * 60, "w": 5 * 8 * 60}
_WORDS = {
    "half an": 0.5,
    "half a": 0.5,
    "half": 0.5,
    "an": 1.0,
    "a": 1.0,
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
}
_FRACTIONS = {"½": 0.5, "¼": 0.25, "¾": 0.75}
_NUMBER = (
    r"(?:\d{1,3}(?:[, ]\d{3})+|\d{1,6}(?:[.,]\d{1,2})?[½¼¾]?|[½¼¾]|half(?:\s+an?)?|an?|one|two|three)"
    r"(?![\d.])"
)
_UNIT = r"(?:min(?:ute)?s?|m|h(?:ou)?rs?|h|days?|d|weeks?|w)(?![A-Za-z])"
_AMOUNT = re.compile(
    rf"(?:(?<![\w.-])|(?<=\d[hdHD]))(?P<low>\d{{1,3}}\s*/\s*\d{{1,3}}|{_NUMBER})\s*"
    rf"(?:(?:-|–|—|to)\s*(?P<high>{_NUMBER})\s*)?(?P<unit>{_UNIT}|(?:h|d)(?=\d))(?P<rest>(?<=h)\d{{1,2}}(?!\w))?",
    re.IGNORECASE,
)
_RANGE_BETWEEN = re.compile(r"\s*(?:-|–|—|to)\s*", re.IGNORECASE)


def minutes(value: str) -> int | None:
    """An estimate in minutes, or None if it has no amount of time.

    Of a range, the upper end counts. A day has 8 hours, a week 5 days.
    """
    total = 0.0
    end = None
    for match in _AMOUNT.finditer(value):
        amount = _parse_number(match["high"] or match["low"]) * _MINUTES[match["unit"][0].lower()]
        amount += int(match["rest"] or 0)
        between = "" if end is None else value[end : match.start()]
        if _RANGE_BETWEEN.fullmatch(between):
            total = amount  # the upper end, in another unit
        elif between.strip(" ,+") in ("", "and"):
            total += amount
        else:
            break
        end = match.end()
    return None if end is None else round(total)


def _parse_number(text: str) -> float:
    words = " ".join(text.lower().split())
    if words in _WORDS:
        return _WORDS[words]
    if "/" in words:
        above, below = words.split("/")
        return int(above) / max(int(below), 1)
    fraction = _FRACTIONS.get(words[-1], 0.0)
    digits = words.rstrip("½¼¾")
    if re.fullmatch(r"\d{1,3}(?:[, ]\d{3})+", digits):
        return float(re.sub(r"[, ]", "", digits)) + fraction
    return float(digits.replace(",", ".") or 0) + fraction


def checkboxes(lines: Iterable[Line]) -> Iterator[Checkbox]:
    for line in lines:
        if (box := read_box(line.number, line.text)) is not None:
            yield box


def criteria(lines: Sequence[Line]) -> tuple[Criterion, ...]:
    """Each checkbox or list item is a criterion, together with the lines that continue it below."""
    found: list[tuple[int, bool, list[str]]] = []
    boxed = any(read_box(line.number, line.text) for line in lines)
    apart = False
    before = 0
    for line in lines:
        apart, before = apart or line.number > before + 1, line.number
        box = read_box(line.number, line.text)
        if box is not None:
            found.append((box.indent, box.done, [box.text]))
            apart = False
            continue
        item = _ITEM.fullmatch(line.text)
        if item is None:
            apart = _add_to_item(found, line.text, boxed, apart)
            continue
        apart = False
        indent = len(item["indent"].expandtabs(4))
        if found and indent > found[-1][0]:
            found[-1][2].append(item["text"].strip())
        else:
            found.append((indent, False, [item["text"].strip()]))
    return tuple(Criterion(text=" ".join(texts).strip(), done=done) for _, done, texts in found)


def _add_to_item(found: list[tuple[int, bool, list[str]]], text: str, boxed: bool, apart: bool) -> bool:
    """Add a line to the criterion above it. Returns whether later lines are separate from that criterion:
    after a blank line, only indented text continues it.
    """
    if not text.strip():
        return True
    is_group = _GROUP.fullmatch(text) is not None
    if found and found[-1][0] >= 0 and (apart or is_group) and text[:1] not in " \t":
        return True
    if found:
        found[-1][2].append(text.strip())
    elif not boxed and not is_group:
        found.append((-1, False, [text.strip()]))
    return False


def only_code(value: str) -> str | None:
    """The text of a value that is one code span and nothing else."""
    match = _CODE.fullmatch(value.strip().removesuffix("."))
    return None if match is None else match[1].strip()
