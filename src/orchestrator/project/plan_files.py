"""Plans as files: opened without waiting, regular files of bounded size only."""

import os
import stat
from pathlib import Path

from orchestrator.errors import PlanError, UsageError
from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan
from orchestrator.plan.text import MAX_BYTES


def read_plan_file(
    path: Path, format: str | None = None, *, shown_as: str | None = None
) -> tuple[Plan, bytes]:
    """The plan and the bytes it was read from; `shown_as` is the path it carries and errors name.

    Raises UsageError when there is no such file or it is none, PlanError when no reader understands it.
    """
    name = shown_as or str(path)
    content = read_plan_bytes(path, name)
    return read_plan(content, path=name, format=format), content


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
        # A FIFO would wait for a writer, a terminal for a person.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError("there is no such plan", where=name, hint=_others(path)) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"the plan cannot be opened: {error}", where=name) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError("this is no file", where=name, hint="A plan is one Markdown file.")
        if found.st_size > MAX_BYTES:
            raise UsageError(f"the plan is larger than {MAX_BYTES // 1_000_000} MB", where=name)
        # Only now: `open` would raise for a folder by itself.
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)  # the reader refuses what has grown meanwhile
    finally:
        os.close(descriptor)


def _others(path: Path) -> str:
    try:
        found = sorted(entry.name for entry in path.parent.glob("*.md"))[:5]
    except OSError:
        found = []
    return f"Beside it lie: {', '.join(found)}" if found else "Write one: a Markdown file with tasks."
