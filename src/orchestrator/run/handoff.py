"""The hand-off document: one section for each finished task, for the next agent and the user.

Each section is enclosed in two comment lines with the task's id, so that it can be found and replaced. The
text in between is written by agents. A line in it that looks like such a comment could end the section early
or replace the section of another task, and an open code fence or HTML tag would hide everything after it. So
such lines are indented by four spaces, and fences are closed.
"""

import re
from dataclasses import dataclass

from orchestrator.plan.names import plan_name
from orchestrator.text import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    path: str
    status: str
    """added, modified, deleted or type changed."""
    added: int | None
    """Lines; None for a binary file."""
    deleted: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffSection:
    task: str
    title: str
    outcome: str
    """The agent's own summary."""
    notes: str
    """The agent's notes for the next task."""
    changes: tuple[ChangedFile, ...]


MAX_LISTED_CHANGES = 100
HANDOFF_LIMIT_BYTES = 4_000_000


def handoff_path(plan_path: str) -> str:
    """The path of this plan's document: in the folder of the plan."""
    folder, slash, _ = plan_path.rpartition("/")
    return f"{folder}{slash}HANDOFF_{plan_name(plan_path)}.md"


def may_be_handoff(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith("HANDOFF_") and name.endswith(".md")


def is_handoff(document: str) -> bool:
    """Whether a run wrote this text: it has at least one section of a task."""
    return re.search(r"^<!-- hand-off of task .* -->$", document, re.MULTILINE) is not None


def with_section(document: str, plan_title: str, section: HandoffSection) -> str:
    """The document with this task's section; an earlier section of the task is replaced."""
    # Two hyphens would end the comment.
    name = _line(section.task).replace("--", "-\u200b-").replace(">", "›")
    begin, end = f"<!-- hand-off of task {name} -->", f"<!-- end of task {name} -->"
    parts = [
        f"{begin}\n## Task {_line(section.task)}: {_line(section.title)}\n",
        _chapter("Outcome", _enclose(section.outcome) or "(the agent gave no summary)"),
        _chapter("Changes", _changes(section.changes)),
        _chapter("Notes for the next task", _enclose(section.notes) or "(none)"),
        f"{end}\n",
    ]
    text = "\n".join(parts)
    if not document.strip():
        document = f"# Hand-off: {_line(plan_title)}\n"
    pattern = re.compile(rf"^{re.escape(begin)}\n.*?^{re.escape(end)}\n", re.DOTALL | re.MULTILINE)
    if pattern.search(document):
        return pattern.sub(lambda _: text, document, count=1)
    return document.rstrip("\n") + "\n\n" + text


def _chapter(title: str, text: str) -> str:
    return f"### {title}\n\n{text}\n"


def _line(text: str) -> str:
    return " ".join(plain(text).split())


_OURS = re.compile(r"\s*(<[!?]|<(pre|script|style|textarea)\b|#{1,3}(\s|$)|(=+|-+)\s*$)", re.IGNORECASE)
"""The start of a line that could be read as a mark or heading of this document, or HTML that hides text."""

_FENCE = re.compile(r"( {0,3})(`{3,}|~{3,})(.*)")


def _enclose(text: str) -> str:
    """An agent's text, changed so that it cannot start or end a section, or hide the text after it."""
    lines = [f"    {line}" if _OURS.match(line) else line for line in plain(text).strip().splitlines()]
    return "\n".join([*lines, *_close_open_fence(lines)])


def _close_open_fence(lines: list[str]) -> list[str]:
    """The line that closes a code block that is still open at the end; empty if none is."""
    indent, fence = "", ""
    for line in lines:
        match = _FENCE.match(line)
        if match is None:
            continue
        space, mark, rest = match.groups()
        if not fence:
            indent, fence = space, "" if mark[0] == "`" and "`" in rest else mark
        elif mark.startswith(fence) and not rest.strip():
            fence = ""
    return [indent + fence] if fence else []


def _changes(changes: tuple[ChangedFile, ...]) -> str:
    if not changes:
        return "(none)"
    listed = []
    for change in changes[:MAX_LISTED_CHANGES]:
        size = "binary" if change.added is None else f"+{change.added} -{change.deleted}"
        listed.append(f"- `{_line(change.path)}` ({change.status}, {size})")
    more = len(changes) - len(listed)
    return "\n".join([*listed, *([f"- and {more} more"] if more else [])])
