"""Which run a command means: a new one, one to resume, or one that is done already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.plan.model import Plan
from orchestrator.run.endings import failed_before_it_began
from orchestrator.run.facts import PlanTaken
from orchestrator.run.phase import has_ended_for_good
from orchestrator.run.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tasks are wanted; nothing said: all that are not done."""

    only: tuple[str, ...] = ()
    first: str | None = None
    from_scratch: bool = False
    """Whether everything is to be done again, and an unfinished run given up."""

    @property
    def is_partial(self) -> bool:
        return bool(self.only) or self.first is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    selected: tuple[str, ...]
    """Ids of the tasks to carry out, in the plan's order."""
    imported: Mapping[str, str | None]
    """Tasks that are done, with the commit of an earlier run if one did them."""
    skipped: tuple[str, ...]
    replaces: RunState | None = None
    """The unfinished run that is given up for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRun:
    state: RunState
    taken: PlanTaken | None = None
    """The plan by which it goes from now on, where a person edited it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneAlready:
    state: RunState


Choice = NewRun | ResumeRun | DoneAlready


def is_unfinished(state: RunState) -> bool:
    """Whether it can be resumed. A completed run can when its undo was killed."""
    if has_ended_for_good(state):
        return state.undo is not None and state.end is not None and state.end.status == "completed"
    return not failed_before_it_began(state)


def choose_run(
    records: Sequence[RunState], plan: Plan, selection: Selection, *, on_branch: frozenset[str]
) -> Choice:
    """What `run` (or, with `only`, `task`) does about a plan.

    `records` are the runs of this plan in this repository, newest first; `on_branch` those of their commits
    that HEAD holds. Raises UsageError when a needed task is neither finished nor included, or when an
    unfinished run with other tasks stands in the way.
    """
    if not _wanted(plan, selection):
        raise UsageError(
            f"no task is left: --only {', '.join(selection.only)} comes before --from {selection.first}",
            where=plan.path,
        )
    latest = records[0] if records else None
    unfinished = latest if latest is not None and is_unfinished(latest) else None
    if not selection.from_scratch:
        if unfinished is not None:
            return _go_on(unfinished, plan, selection)
        if latest is not None and not selection.is_partial and _done_and_unchanged(latest, plan, on_branch):
            return DoneAlready(state=latest)
    return _new_run(records, plan, selection, on_branch, unfinished)


def _new_run(
    records: Sequence[RunState],
    plan: Plan,
    selection: Selection,
    on_branch: frozenset[str],
    replaces: RunState | None,
) -> NewRun:
    wanted = _wanted(plan, selection)
    done = _done_earlier(records, plan, on_branch)
    again = wanted if selection.only or selection.from_scratch else frozenset[str]()
    imported = {task: commit for task, commit in done.items() if task not in again}
    selected = tuple(task.id for task in plan.tasks if task.id in wanted and task.id not in imported)
    skipped = tuple(task.id for task in plan.tasks if task.id not in wanted and task.id not in imported)
    _check_dependencies(plan, selected, frozenset(skipped))
    return NewRun(selected=selected, imported=imported, skipped=skipped, replaces=replaces)


def _wanted(plan: Plan, selection: Selection) -> frozenset[str]:
    ids = [task.id for task in plan.tasks]
    if selection.first is not None:
        ids = ids[ids.index(selection.first) :]
    return frozenset(ids).intersection(selection.only) if selection.only else frozenset(ids)


def _go_on(latest: RunState, plan: Plan, selection: Selection) -> Choice:
    chosen = tuple(task.id for task in plan.tasks if task.id in _wanted(plan, selection))
    if selection.is_partial and latest.options.only != chosen:
        raise UsageError(
            f"run {latest.run} of this plan is not finished",
            hint=f"Go on with it (orchestrator resume {latest.run}), or start over (run --new).",
        )
    return ResumeRun(state=latest)


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


def _done_earlier(
    records: Sequence[RunState], plan: Plan, on_branch: frozenset[str]
) -> dict[str, str | None]:
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
