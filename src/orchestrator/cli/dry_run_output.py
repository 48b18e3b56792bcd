"""The output of `run --dry-run`: a page for the user, or one JSON object."""

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.cli.times import duration
from orchestrator.text import first_line, one_line, plain

if TYPE_CHECKING:
    from orchestrator.commands.dry_run import DryRun, DryTask, TypeHistory

SCHEMA = 1


def dry_run_json(found: "DryRun") -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "plan": found.plan,
        "branch": found.branch,
        "base": found.base,
        "run": found.continues,
        "tasks": [_task_json(each) for each in found.tasks],
        "containers": [{"kind": each.kind, "argv": list(each.argv)} for each in found.containers],
        "notes": list(found.notes),
    }


def _task_json(each: "DryTask") -> dict[str, Any]:
    history = each.history
    return {
        "task": each.task.id,
        "title": each.task.title,
        "type": each.task.type,
        "status": each.status,
        "reason": each.reason or None,
        "checks": [{"command": check.command, "source": check.source} for check in each.checks],
        "history": None
        if history is None
        else {
            "runs": history.runs,
            "seconds": history.seconds,
            "tokens": history.tokens,
            "cost_usd": history.cost_usd,
        },
    }


def dry_run_lines(found: "DryRun") -> Iterator[str]:
    """The page; its last line is the command that starts the run."""
    settings = found.settings
    yield f"plan    {one_line(found.title)} ({one_line(found.plan)})"
    continues = f", continues run {found.continues}" if found.continues else ""
    yield f"branch  {plain(found.branch)}, from {found.base[:12]}{continues}"
    model = f", model {one_line(settings.agent.model)}" if settings.agent.model else ""
    limits = settings.limits
    yield (
        f"agent   {settings.agent.name}{model}, {limits.attempts} attempts per task, each for at most "
        f"{duration(limits.attempt_seconds)}"
    )
    yield f"image   {one_line(settings.image.name)}, {found.image.removeprefix('sha256:')[:12]}"
    how = "its image is there" if found.setup_found else "its image has to be made"
    yield from (f"setup   {first_line(command, 200)} ({how})" for command in found.setup)
    if not found.setup:
        yield "setup   nothing to install"
    for each in found.tasks:
        yield ""
        yield f"task    {one_line(each.task.id)}: {one_line(each.task.title)}"
        if each.reason:
            yield f"        is not carried out: {one_line(each.reason)}"
            continue
        yield from (
            f"        check ({check.source}): {first_line(check.command, 160)}" for check in each.checks
        )
        if not each.checks:
            yield "        no check: its result will be unverified"
        yield f"        {_describe_history(each.history, each.task.type)}"
    for container in found.containers:
        yield ""
        yield f"{container.kind}:"
        yield plain(shlex.join(container.argv))
    yield ""
    yield from (f"note    {note}" for note in found.notes)
    yield "note    whether a guard already fails before the work, only the checks on the base say:"
    yield f"        orchestrator run {shlex.quote(found.plan)} --base"
    yield f"next: orchestrator run {shlex.quote(found.plan)}"


def _describe_history(history: "TypeHistory | None", type: str | None) -> str:
    if history is None:
        return "no history"
    runs = "1 run" if history.runs == 1 else f"{history.runs} runs"
    cost = "" if history.cost_usd is None else f", {history.cost_usd:.2f} USD"
    tokens = f", {history.tokens:,} tokens" if history.tokens else ""
    kind = f"tasks of type {one_line(type)}" if type else "tasks without a type"
    return f"{kind} took {duration(history.seconds)}{tokens}{cost} (median, {runs} on this machine)"
