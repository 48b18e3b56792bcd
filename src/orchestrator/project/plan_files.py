"""Plans as files: opened without waiting, regular files of bounded size only."""

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
    """What it was read from."""
    differs: bool = False
    """Whether the plan's file holds something else: an attempt wrote it, or it is gone."""


def read_plan_file(path: Path, format: str | None = None, *, shown_as: str | None = None) -> ReadPlan:
    """The plan; `shown_as` is the path it carries and errors name.

    Raises UsageError when there is no such file or it is none, PlanError when no reader understands it.
    """
    name = shown_as or str(path)
    content = read_plan_bytes(path, name)
    return ReadPlan(plan=read_plan(content, path=name, format=format), content=content)


def require_runnable(plan: Plan) -> None:
    """Raises PlanError with the first error the reader found."""
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
        raise UsageError("there is no such plan", where=name, hint=_others(path)) from None
    except NotRegular:
        raise UsageError("this is no file", where=name, hint="A plan is one Markdown file.") from None
    except TooLarge:
        raise UsageError(f"the plan is larger than {MAX_BYTES // 1_000_000} MB", where=name) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"the plan cannot be opened: {error}", where=name) from None


def _others(path: Path) -> str:
    try:
        found = sorted(entry.name for entry in path.parent.glob("*.md"))[:5]
    except OSError:
        found = []
    return f"Beside it lie: {', '.join(found)}" if found else "Write one: a Markdown file with tasks."


def plan_path(folder: Path, plan: str | Path) -> str:
    """The plan's path relative to the code folder; raises UsageError when it lies, or leads, outside."""
    absolute = Path(os.path.normpath(folder / plan))
    if not absolute.is_relative_to(folder):
        raise UsageError(
            "the plan lies outside the code folder", where=str(plan), hint=f"Put it somewhere in {folder}."
        )
    if not Path(os.path.realpath(absolute)).is_relative_to(os.path.realpath(folder)):
        raise UsageError(
            "the plan is a link out of the code folder", where=str(plan), hint="Put the file itself there."
        )
    relative = absolute.relative_to(folder)
    if ".git" in (part.lower() for part in relative.parts):
        raise UsageError("the plan lies in a git directory", where=str(plan), hint="Put it beside the code.")
    return relative.as_posix()
