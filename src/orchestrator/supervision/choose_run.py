"""Which run a command means: a new one, one that goes on, or one that is done already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.plan.model import Plan
from orchestrator.run.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    selected: tuple[str, ...]
    """Ids of the tasks to carry out, in the plan's order."""
    imported: Mapping[str, str | None]
    """Tasks that are done, with the commit of an earlier run if one did them."""
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoOn:
    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneAlready:
    state: RunState


Choice = NewRun | GoOn | DoneAlready


def is_unfinished(state: RunState) -> bool:
    """Whether `resume` can go on with it: failed, waiting, parked or interrupted."""
    return state.end is None or state.end.status not in ("completed", "cancelled")


def choose_run(
    records: Sequence[RunState], plan: Plan, *, only: tuple[str, ...], on_branch: frozenset[str]
) -> Choice:
    """What `run` (or, with `only`, `task`) does about a plan.

    `records` are the runs of this plan in this repository, newest first; `on_branch` those of their commits
    that HEAD holds. Raises UsageError when a needed task is neither finished nor included, or when an
    unfinished run with other tasks stands in the way.
    """
    latest = records[0] if records else None
    if latest is not None and is_unfinished(latest):
        return _go_on(latest, only)
    if latest is not None and not only and _done_and_unchanged(latest, plan, on_branch):
        return DoneAlready(state=latest)
    imported = _imported(records, plan, on_branch)
    if only:
        imported = {task: commit for task, commit in imported.items() if task not in only}
    selected = tuple(
        task.id for task in plan.tasks if task.id not in imported and (not only or task.id in only)
    )
    skipped = tuple(task.id for task in plan.tasks if task.id not in imported and task.id not in selected)
    _check_dependencies(plan, selected, frozenset(skipped))
    return NewRun(selected=selected, imported=imported, skipped=skipped)


def _go_on(latest: RunState, only: tuple[str, ...]) -> Choice:
    if only and latest.options.only != only:
        raise UsageError(
            f"run {latest.run} of this plan is not finished",
            hint=f"`orchestrator resume {latest.run}` goes on with it.",
        )
    return GoOn(state=latest)


def _done_and_unchanged(latest: RunState, plan: Plan, on_branch: frozenset[str]) -> bool:
    """Whether nothing was left out, the tasks read as they did, and their commits are still there."""
    known = {task_id: task.entry.hash for task_id, task in latest.tasks.items()}
    finished = [task.finished for task in latest.tasks.values() if task.finished is not None]
    return (
        latest.end is not None
        and latest.end.status == "completed"
        and known == {task.id: task.hash for task in plan.tasks}
        and all(end.status != "skipped" for end in finished)
        and all(end.commit is None or end.commit in on_branch for end in finished)
    )


def _imported(records: Sequence[RunState], plan: Plan, on_branch: frozenset[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for task in plan.tasks:
        commit = earlier_commit(records, task.id, task.hash, on_branch)
        if commit is not None or task.done:
            found[task.id] = commit
    return found


def earlier_commit(
    records: Sequence[RunState], task_id: str, task_hash: str | None, on_branch: frozenset[str]
) -> str | None:
    """The commit with which an earlier run finished this task; with a hash, only of that very text."""
    for record in records:
        task = record.tasks.get(task_id)
        if task is None or task.finished is None or task.finished.commit not in on_branch:
            continue
        if task_hash is None or task.entry.hash == task_hash:
            return task.finished.commit
    return None


def _check_dependencies(plan: Plan, selected: tuple[str, ...], skipped: frozenset[str]) -> None:
    for task in plan.tasks:
        missing = [needed for needed in task.depends_on if needed in skipped]
        if task.id in selected and missing:
            raise UsageError(
                f"task {task.id} depends on task {missing[0]}, which is neither finished nor included",
                where=plan.path,
                hint=f"Carry it out first: orchestrator task {plan.path} {missing[0]}",
            )
