"""Reading one heading: a task, the end-to-end scenario, or the milestone."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from orchestrator.plan.states import StateMark, lead_state, title_state
from orchestrator.plan.values import ID

_LEVELS = range(2, 7)
_LONGEST_LEAD = 300
# Allowed before the word "Task": the number of the section, a mark, a word in brackets, an emoji by
# its name, an anchor, the milestone or phase, and everything that is not a word.
_LEAD = (
    r"(?P<lead>(?:"
    + "|".join(
        (
            r"\d{1,4}(?:\.\d{1,4}){0,4}[.)]?(?=\s)",
            r"\d{1,4}[.)]",
            r"[\[(](?!task\b)[a-z][\w -]{0,20}[\])]",
            r":\w{1,40}:",
            r"<[^<>\n]{0,200}>",
            r"m\d[\w.]{0,8}(?=\s)",
            r"(?:phase|milestone|part|stage|epic|sprint)\s\w{1,8}(?=\s|[^\w\s])",
            r"[^\w~]|_",
        )
    )
    + r")*+)"
)
_TASK = re.compile(
    rf"{_LEAD}task(?:\s+|\s*[:#]\s*|[-_]?)[\[(#`*_]*(?P<id>{ID})(?P<close>[\])`*_]*)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_STRUCK = re.compile(
    rf"\W*(?:~~\W*task\s+|task\s+~~[\s`*_\[(]*)(?P<id>{ID})(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
_STRUCK_TITLE = re.compile(r"\W*~~(?:(?!~~).)+~~\W*", re.DOTALL)
STRUCK_OUT = StateMark(state="left-out", text="~~")
_LIKE_A_TASK = re.compile(r"\W*task\s+(?P<token>[^\s:]+)\s*(?P<separator>:|[-–—]\s)", re.IGNORECASE)
_ELSEWHERE = re.compile(rf"\b(?:tasks|subtask)\s+{ID}\s*[^\w\s]|\btask\s+{ID}\s*:", re.IGNORECASE)
# With spaces around it a dash separates a title, unless a second id follows by itself.
_SEVERAL = re.compile(
    rf"(?P<joint>[-–—~]|\s*(?:[/+&,]|(?:and|to|through)\b)|\s+[-–—~])\s*(?:task\s+)?(?P<second>{ID})"
    r"(?P<alone>\s*(?:[:/+&,]|[-–—]\s|and\b|$))?",
    re.IGNORECASE,
)
_MORE_ID = re.compile(r"[/\\]\S|_[^\W_]|,\d|\.(?:[/\\.\d]|\w(?!\w)|[^\W\d]+\d)")
_SEPARATOR = re.compile(r"[:：;.\-‒–—―−|)>→]+\s*")
_LINKED = re.compile(r"([^\w\[]{0,20}(?:task\s+)?)\[([^\[\]\n]{1,300})\]\([^()\n]{0,300}\)", re.IGNORECASE)
_RAW = re.compile(r"#{2,6}[ \t]+(?P<text>.*)")
_END_TO_END = re.compile(r"[\W\d]*(?:e2e|end[ -]to[ -]end)\b", re.IGNORECASE)
_MILESTONE = re.compile(
    r"\W*milestone\s+(?P<id>[\w.]{1,20})|\W*(?P<short>m\d[\w.]{0,18})\b\s*[:\-–—]", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHeading:
    id: str
    title: str
    said: StateMark | None
    """The state of the task by its marks; None if it has no marks."""
    several: bool
    """It names more than one task, and `id` is the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """A heading that looks like a task's, and the reason why it is not read as one."""

    code: Literal["not-a-task", "bad-task-id"]
    message: str


@lru_cache(maxsize=4096)
def task_heading(text: str, level: int) -> TaskHeading | NearMiss | None:
    text = _drop_link_target(text)
    match = _TASK.fullmatch(text)
    struck = _STRUCK.fullmatch(text[:_LONGEST_LEAD]) if match is None else None
    if struck is not None and level in _LEVELS:
        title = struck["rest"].replace("~~", "").strip(" :.-–—*")
        return TaskHeading(id=struck["id"], title=title, said=STRUCK_OUT, several=False)
    if match is None or _MORE_ID.match(match["close"] + match["rest"]):
        return _explain_near_miss(text, level)
    if level not in _LEVELS:
        return NearMiss(code="not-a-task", message=f"a heading of level {level} is not read as a task")
    rest = match["rest"].lstrip()
    title = rest[separator.end() :] if (separator := _SEPARATOR.match(rest)) is not None else rest
    return TaskHeading(
        id=match["id"],
        title=_strip_emphasis(title.strip(), match["lead"]),
        said=lead_state(match["lead"]) or read_title(title),
        several=names_several(match["id"], match["rest"]),
    )


def read_title(title: str) -> StateMark | None:
    """The state of a task by its title: by marks in it, or because it is struck out."""
    return STRUCK_OUT if is_struck_out(title) else title_state(title)


def is_struck_out(text: str) -> bool:
    return _STRUCK_TITLE.fullmatch(text) is not None


def _drop_link_target(text: str) -> str:
    """Drop the target of a link around the task's name; a link in the title stays."""
    linked = _LINKED.match(text) if "](" in text else None
    return text if linked is None else linked[1] + linked[2] + text[linked.end() :]


def names_several(first: str, rest: str) -> bool:
    """Whether a second id of the same form follows; after a dash, or without dots, it must stand alone.

    An id that begins with a letter stands for itself: `T015-T017 Write them` names more than one task.
    """
    match = _SEVERAL.match(rest)
    if match is None or match["second"].count(".") != first.count("."):
        return False
    letters = first.rstrip("0123456789")
    is_apart = match["joint"].startswith((" ", "\t")) and match["joint"].strip() in ("-", "–", "—", "~")
    if letters and "." not in first and not is_apart:
        return match["second"].rstrip("0123456789").upper() == letters.upper() or match["alone"] is not None
    is_list = match["joint"].strip() not in ("-", "–", "—", "~") and "." in first
    return is_list or match["alone"] is not None


def is_task_line(line: str) -> bool:
    """Whether a raw line of Markdown would be the heading of a task, if it is not inside something else."""
    if not line.startswith("##"):
        return False
    match = _RAW.fullmatch(line)
    return match is not None and isinstance(task_heading(match["text"], 2), TaskHeading)


def opens_end_to_end(text: str, level: int) -> bool:
    """Whether a heading opens the scenario; one of level 1 is the title of the plan."""
    return level > 1 and _END_TO_END.match(text) is not None


def milestone_id(text: str) -> str | None:
    """`3` of "Milestone 3: …", `M3` of "M3: …"."""
    match = _MILESTONE.match(text)
    return None if match is None else (match["id"] or match["short"]).strip(".")


def _explain_near_miss(text: str, level: int) -> NearMiss | None:
    text = text[:_LONGEST_LEAD]
    match = _LIKE_A_TASK.match(text)
    if match is None:
        if level not in _LEVELS or _ELSEWHERE.search(text) is None:
            return None
        return NearMiss(code="not-a-task", message="the line names a task, but is not read as one")
    token = match["token"]
    if token.isalpha():
        is_id_shaped = len(token) == 1 and match["separator"] == ":"
        return NearMiss(code="not-a-task", message=f"`{token}` is not a task id") if is_id_shaped else None
    return NearMiss(code="bad-task-id", message=f"`{token[:60]}` is not a task id; the task is left out")


def _strip_emphasis(title: str, lead: str) -> str:
    """Remove the closing marks of an emphasis that began before the word "Task"."""
    for mark in ("**", "__", "*", "_"):
        if lead.endswith(mark):
            return title.removeprefix(mark).removesuffix(mark).strip()
    return title
