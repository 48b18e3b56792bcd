"""Chooses for `run` and a plan: start a new run, resume one, or nothing because it is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.errors import UsageError
from orchestrator.plan.model import Plan
from orchestrator.run.endings import is_base_run
from orchestrator.run.facts import PlanTaken
from orchestrator.run.phase import has_ended_for_good
from orchestrator.run.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The tasks that the user asked for; by default all that are not done."""

    only: tuple[str, ...] = ()
    first: str | None = None
    from_scratch: bool = False
    """Whether all tasks are done again in a new run; an unfinished run is cancelled."""

    @property
    def is_partial(self) -> bool:
        return bool(self.only) or self.first is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    selected: tuple[str, ...]
    """Ids of the tasks to carry out, in the plan's order."""
    imported: Mapping[str, str | None]
    """Tasks that are done already, with the commit if an earlier run did them."""
    skipped: tuple[str, ...]
    replaces: RunState | None = None
    """The unfinished run that is cancelled first."""
    unconfirmed: tuple[str, ...] = ()
    """Tasks that an attempt has marked as done in the plan; they are carried out."""
    only_base: bool = False
    """Whether the run ends after its checks on the base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRun:
    state: RunState
    taken: PlanTaken | None = None
    """If the user has edited the plan: the fact with which the run takes the new one."""
    accepted: tuple[str, ...] = ()
    """Ids of tasks that the user takes as done although nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneAlready:
    state: RunState


Choice = NewRun | ResumeRun | DoneAlready


def is_unfinished(state: RunState) -> bool:
    """Whether the run can be resumed. A completed run can if its undo was killed."""
    if has_ended_for_good(state):
        return state.undo is not None and state.end is not None and state.end.status == "completed"
    return not is_base_run(state)


def choose_run(
    records: Sequence[RunState],
    plan: Plan,
    selection: Selection,
    *,
    on_branch: frozenset[str],
    unconfirmed: frozenset[str] = frozenset(),
) -> Choice:
    """Chooses what `run` (or, with `only`, `task`) does about a plan.

    `records` are the runs of this plan in this repository, newest first; `on_branch` are those of their
    commits that are ancestors of HEAD. Only these count as done: the user may have reset or changed the
    branch, and a task whose commit is not below HEAD has to be done again, even if the journal calls it
    completed. `unconfirmed` are tasks that count as done in the plan only because an attempt has marked them.

    Raises UsageError if a selected task depends on one that is neither finished nor selected, or if an
    unfinished run of this plan has other tasks.
    """
    if not _select_wanted(plan, selection):
        raise UsageError(
            f"no task is selected: --only {', '.join(selection.only)} comes before --from {selection.first}",
            where=plan.path,
            hint="Leave --from out, or name a later task with --only.",
        )
    latest = next((record for record in records if not is_base_run(record)), None)
    unfinished = latest if latest is not None and is_unfinished(latest) else None
    if not selection.from_scratch:
        if unfinished is not None:
            return _resume(unfinished, plan, selection)
        if (
            latest is not None
            and not selection.is_partial
            and _is_done_and_unchanged(latest, plan, on_branch)
        ):
            return DoneAlready(state=latest)
    chosen = _new_run(records, plan, selection, on_branch, unconfirmed)
    return replace(chosen, replaces=unfinished)


def choose_base_run(
    records: Sequence[RunState],
    plan: Plan,
    selection: Selection,
    *,
    on_branch: frozenset[str],
    unconfirmed: frozenset[str] = frozenset(),
) -> NewRun:
    """Plans a run of its own for `run --base`, with the tasks that `run` would carry out.

    It neither continues an unfinished run nor replaces it. Raises UsageError as `choose_run` does.
    """
    chosen = _new_run(records, plan, selection, on_branch, unconfirmed)
    return replace(chosen, only_base=True)


def _new_run(
    records: Sequence[RunState],
    plan: Plan,
    selection: Selection,
    on_branch: frozenset[str],
    unconfirmed: frozenset[str],
) -> NewRun:
    wanted = _select_wanted(plan, selection)
    # Tasks that the user names are done again, although an earlier run has done them.
    redone = wanted if selection.only or selection.from_scratch else frozenset[str]()
    earlier = {task.id: earlier_commit(records, task.id, task.hash, on_branch) for task in plan.tasks}
    imported = {
        task.id: earlier[task.id]
        for task in plan.tasks
        if ((task.done and task.id not in unconfirmed) or earlier[task.id] is not None)
        and task.id not in redone
    }
    selected = tuple(task.id for task in plan.tasks if task.id in wanted and task.id not in imported)
    skipped = tuple(task.id for task in plan.tasks if task.id not in wanted and task.id not in imported)
    for task in plan.tasks:
        missing = [needed for needed in task.depends_on if needed in skipped]
        if task.id in selected and missing:
            raise UsageError(
                f"task {task.id} depends on task {missing[0]}, which is neither finished nor included",
                where=plan.path,
                hint=f"Do that task first: orchestrator task {plan.path} {missing[0]}",
            )
    marked = tuple(id for id in selected if id in unconfirmed)
    return NewRun(selected=selected, imported=imported, skipped=skipped, unconfirmed=marked)


def _select_wanted(plan: Plan, selection: Selection) -> frozenset[str]:
    ids = [task.id for task in plan.tasks]
    if selection.first is not None:
        ids = ids[ids.index(selection.first) :]
    return frozenset(ids).intersection(selection.only) if selection.only else frozenset(ids)


def _resume(latest: RunState, plan: Plan, selection: Selection) -> Choice:
    chosen = tuple(task.id for task in plan.tasks if task.id in _select_wanted(plan, selection))
    if selection.is_partial and latest.options.only != chosen:
        raise UsageError(
            f"run {latest.run} of this plan is not finished",
            hint=f"Resume it: orchestrator resume {latest.run}\n"
            f"Start a new one: orchestrator run --new {plan.path}",
        )
    return ResumeRun(state=latest)


def _is_done_and_unchanged(latest: RunState, plan: Plan, on_branch: frozenset[str]) -> bool:
    """Whether the run did all tasks, their texts are the same, and their commits are on the branch."""
    known = {task_id: task.entry.hash for task_id, task in latest.tasks.items()}
    finished = [task.finished for task in latest.tasks.values() if task.finished is not None]
    return (
        latest.end is not None
        and latest.end.status == "completed"
        and known == {task.id: task.hash for task in plan.tasks}
        and all(end.status != "skipped" for end in finished)
        and all(end.commit is None or end.commit in on_branch for end in finished)
    )


def earlier_commit(
    records: Sequence[RunState], task_id: str, task_hash: str | None, on_branch: frozenset[str]
) -> str | None:
    """The commit with which an earlier run finished this task; if a hash is given, only for that text."""
    for record in records:
        task = record.tasks.get(task_id)
        if task is None or task.finished is None or task.finished.commit not in on_branch:
            continue
        if task_hash is None or task.entry.hash == task_hash:
            return task.finished.commit
    return None
