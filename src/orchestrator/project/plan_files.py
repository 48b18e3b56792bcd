"""Reading plans from files: only regular files of limited size, opened without waiting."""

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import PlanError, UsageError
from orchestrator.files import NotRegular, TooLarge, read_regular
from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan
from orchestrator.plan.text import MAX_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    plan: Plan
    content: bytes
    """The bytes that the plan was read from."""
    differs: bool = False
    """Whether the plan's file no longer holds these bytes: an attempt changed it, or it is gone."""


def read_plan_file(path: Path, format: str | None = None, *, shown_as: str | None = None) -> ReadPlan:
    """Read a plan; `shown_as` is the path that the plan carries and that errors name.

    Raises UsageError when the file does not exist or cannot be used, PlanError when no reader understands it.
    """
    name = shown_as or str(path)
    content = read_plan_bytes(path, name)
    return ReadPlan(plan=read_plan(content, path=name, format=format), content=content)


def require_runnable(plan: Plan) -> None:
    """Raises PlanError for the first error that the reader found."""
    for finding in plan.errors:
        more = f" ({len(plan.errors) - 1} more)" if len(plan.errors) > 1 else ""
        raise PlanError(
            f"{finding.message}{more}",
            where=f"{plan.path}:{finding.line}",
            hint=f"{finding.hint} `orchestrator plan show {plan.path}` shows what was read.",
        )


def read_plan_bytes(path: Path, name: str) -> bytes:
    """The content of a regular file of bounded size; `name` stands for it in errors. Raises UsageError."""
    try:
        return read_regular(path, limit=MAX_BYTES, follow=True)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError("the plan does not exist", where=name, hint=_list_markdown_files(path)) from None
    except NotRegular:
        raise UsageError("not a regular file", where=name, hint="A plan is one Markdown file.") from None
    except TooLarge:
        raise UsageError(
            f"the plan is larger than {MAX_BYTES // 1_000_000} MB",
            where=name,
            hint="Split it into several plans.",
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the plan cannot be opened: {error}",
            where=name,
            hint="Check the path, and the owner and mode of the file.",
        ) from None


def _list_markdown_files(path: Path) -> str:
    try:
        found = sorted(entry.name for entry in path.parent.glob("*.md"))[:5]
    except OSError:
        found = []
    return (
        f"Markdown files in that folder: {', '.join(found)}"
        if found
        else "Write one: orchestrator plan new TITLE"
    )


def plan_path(folder: Path, plan: str | Path) -> str:
    """The plan's path relative to the code folder. Raises UsageError when it leads outside."""
    absolute = Path(os.path.normpath(folder / plan))
    if not absolute.is_relative_to(folder):
        raise UsageError(
            "the plan is outside the code folder", where=str(plan), hint=f"Move it into {folder}."
        )
    if not Path(os.path.realpath(absolute)).is_relative_to(os.path.realpath(folder)):
        raise UsageError(
            "the plan is a link to a file outside the code folder",
            where=str(plan),
            hint="Replace the link by the file itself.",
        )
    relative = absolute.relative_to(folder)
    if ".git" in (part.lower() for part in relative.parts):
        raise UsageError(
            "the plan is in a git directory", where=str(plan), hint="Move it into the code folder."
        )
    return relative.as_posix()
