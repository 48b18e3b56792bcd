"""What a heading says: a task, the end-to-end scenario, the milestone."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from orchestrator.plan.values import ID

_LEVELS = range(2, 7)
_LONGEST_LEAD = 300
_LEAD = r"(?P<lead>(?:[^\w~]|_|\d{1,4}[.)]|(?<=\[)[xX](?=\]))*)"
_TASK = re.compile(
    rf"{_LEAD}task(?:\s+|\s*[:#]\s*|[-_]?)[\[(#`*_]*(?P<id>{ID})(?P<close>[\])`*_]*)\s*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_STRUCK = re.compile(rf"\W*~~\W*task\s+{ID}", re.IGNORECASE)
_LIKE_A_TASK = re.compile(r"\W*task\s+(?P<token>[^\s:]+)\s*(?P<separator>:|[-–—]\s)", re.IGNORECASE)
_SEVERAL = re.compile(rf"(?:[-–—/+]|&)\s*(?:task\s+)?{ID}", re.IGNORECASE)
_MORE_ID = re.compile(r"[/\\]\S|\.(?:[/\\.\d]|\w(?!\w))")
_SEPARATOR = re.compile(r"[:.\-–—|)>→]+\s*")
_DONE = re.compile(r"✅|✔|☑|\[[xX]\]")
_RAW = re.compile(r"#{2,6}[ \t]+(?P<text>.*)")
_END_TO_END = re.compile(r"[\W\d]*(?:e2e|end[ -]to[ -]end)\b", re.IGNORECASE)
_MILESTONE = re.compile(
    r"\W*milestone\s+(?P<id>[\w.]{1,20})|\W*(?P<short>m\d[\w.]{0,18})\b\s*[:\-–—]", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHeading:
    id: str
    title: str
    done: bool
    several: bool
    """It names more than one task, and `id` is the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoTask:
    """A heading that is nearly one of a task: why it is not read as one."""

    code: Literal["not-a-task", "bad-task-id", "left-out-task"]
    message: str


@lru_cache(maxsize=4096)
def task_heading(text: str, level: int) -> TaskHeading | NoTask | None:
    match = _TASK.fullmatch(text)
    if match is None or _MORE_ID.match(match["close"] + match["rest"]):
        return _nearly(text)
    if level not in _LEVELS:
        return NoTask(code="not-a-task", message=f"a heading of level {level} is not read as a task")
    rest = match["rest"]
    title = _SEPARATOR.sub("", rest, count=1) if _SEPARATOR.match(rest) else rest
    return TaskHeading(
        id=match["id"],
        title=_unwrapped(title.strip(), match["lead"]),
        done=_DONE.search(match["lead"] + rest) is not None,
        several=_SEVERAL.match(rest) is not None,
    )


def is_task_line(line: str) -> bool:
    """Whether a raw line of Markdown would be the heading of a task, if it is not inside something else."""
    if not line.startswith("##"):
        return False
    match = _RAW.fullmatch(line)
    return match is not None and isinstance(task_heading(match["text"], 2), TaskHeading)


def is_end_to_end(text: str, level: int) -> bool:
    """Whether a heading opens the scenario; one of level 1 is the title of the plan."""
    return level > 1 and _END_TO_END.match(text) is not None


def milestone_id(text: str) -> str | None:
    """`3` of "Milestone 3: …", `M3` of "M3: …"."""
    match = _MILESTONE.match(text)
    return None if match is None else (match["id"] or match["short"]).strip(".")


def _nearly(text: str) -> NoTask | None:
    text = text[:_LONGEST_LEAD]
    if _STRUCK.match(text):
        return NoTask(code="left-out-task", message="the task is struck out and left out")
    match = _LIKE_A_TASK.match(text)
    if match is None:
        return None
    token = match["token"]
    if token.isalpha():
        is_id_shaped = len(token) == 1 and match["separator"] == ":"
        return NoTask(code="not-a-task", message=f"`{token}` is no task id") if is_id_shaped else None
    return NoTask(code="bad-task-id", message=f"`{token[:60]}` is no task id; the task is left out")


def _unwrapped(title: str, lead: str) -> str:
    """Without the marks of an emphasis that began before the word "Task"."""
    for mark in ("**", "__", "*", "_"):
        if lead.endswith(mark):
            return title.removeprefix(mark).removesuffix(mark).strip()
    return title
