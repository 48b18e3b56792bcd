"""Ids and titles of a plan's tasks without reading the plan: for completion, where each key costs.

The reader needs longer to be imported than a shell may wait. This module only knows plans whose tasks are
plain headings, `## Task 1.2: Title`, and returns None at anything that could make the reader see another
list: a title with a mark, a task in a fence, a comment, a heading or a label that may leave tasks out. So it
returns the reader's list, or none.
"""

import re
from typing import NamedTuple

_TASK = re.compile(r"#{2,4} Task (\d{1,4}(?:\.\d{1,4}){0,3}): ([A-Za-z0-9][A-Za-z0-9 .,'/-]*[A-Za-z0-9])")
_FENCE = re.compile(r"( {0,3}(?:`{3,}|~{3,}))[^`]*")
_MAY_LEAVE_OUT = re.compile(
    r"status|done|complet|finish|clos|ship|merg|cancel|defer|postpon|skip|obsolet|drop|abandon|supersed|reject"
    r"|descop|won.?t|will not|not (?:do|need|appl)|no longer|scope|remov|withdraw|discard|duplicat"
    r"|hold|park|replac|do not|don.?t|validation|later|future|backlog|non.?goal|exclu|option",
    re.IGNORECASE,
)
"""Words that the reader may understand as a state, in a heading."""
_UNKNOWN = re.compile(
    r" {0,3}(?:<|\[[^\]]*\]:|={1,}\s*$)|\s+#|.*(?:<!--|\bstatus\b\W{0,3}:|~~)|\W{0,9}task\s", re.IGNORECASE
)
"""Lines outside of fences that decide more than this module knows."""


class QuickTask(NamedTuple):
    id: str
    title: str


def list_tasks_quickly(text: str) -> tuple[QuickTask, ...] | None:
    """The tasks as the reader would list them, or None: only the reader knows."""
    found: dict[str, QuickTask] = {}
    fence = before = ""
    if text.lstrip("\ufeff \n").startswith(("{", "[")):
        return None  # JSON
    for line in text.splitlines():
        opened = _FENCE.fullmatch(line)
        if fence:
            if line.rstrip() == fence:
                fence = ""
            elif line.startswith("##") or "```" in line or "~~~" in line:
                return None  # a sample of a plan, or another fence
        elif opened is not None:
            fence = opened[1]
        elif line.startswith("#"):
            task = _TASK.fullmatch(line)
            if _MAY_LEAVE_OUT.search(line) or (task is None and "task" in line.lower()):
                return None
            if task is not None:
                if task[1] in found:
                    return None
                found[task[1]] = QuickTask(task[1], task[2])
        elif _UNKNOWN.match(line) or "```" in line or "~~~" in line or (line.startswith("--") and before):
            return None
        before = line.strip()
    return tuple(found.values()) if found and not fence else None
