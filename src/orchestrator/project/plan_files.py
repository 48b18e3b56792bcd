"""Plans as files: opened without waiting, regular files of bounded size only."""

from pathlib import Path

from orchestrator.errors import PlanError, UsageError
from orchestrator.files import NotRegular, TooLarge, read_regular
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
