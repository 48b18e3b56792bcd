"""What becomes of a run whose plan the user has edited: decided by the hashes of its tasks."""

from orchestrator.errors import UsageError
from orchestrator.plan.model import Plan
from orchestrator.run.facts import PlanTaken, TaskEntry, TaskFinished
from orchestrator.run.phase import Landing, NotStarted, Started, Working, phase
from orchestrator.run.state import RunState


def entries_of(plan: Plan) -> tuple[TaskEntry, ...]:
    """What a run remembers of the plan's tasks."""
    return tuple(
        TaskEntry(id=task.id, title=task.title, type=task.type, hash=task.hash) for task in plan.tasks
    )


def in_flight(state: RunState) -> bool:
    """Whether an attempt or a landing has been begun and not ended: its plan is the one it began with."""
    return any(isinstance(phase(state, task), Working | Landing) for task in state.tasks.values())


def ticked_off(state: RunState, plan: Plan) -> dict[str, TaskFinished]:
    """Tasks that the user has ticked off in the plan and that have no attempt, with the fact that ends each.

    A task of which the user has asked for a redo is not among them, although its box may still be ticked.
    """
    ticked = [state.tasks[task.id] for task in plan.tasks if task.done]
    return {
        task.entry.id: TaskFinished(status="imported", commit=None)
        for task in ticked
        if isinstance(phase(state, task), NotStarted | Started) and not task.was_redone
    }


def left_by_attempts(state: RunState) -> frozenset[str | None]:
    """Hashes of the plan's file at the ends of attempts.

    An attempt may have written a file with one of these hashes, so it does not count as the user's edit.
    """
    ends = (attempt.end for task in state.tasks.values() for attempt in task.attempts)
    return frozenset(end.plan_sha256 for end in ends if end is not None)


def take_edited(
    state: RunState, plan: Plan, *, keep: frozenset[str], redo: frozenset[str], stored: str
) -> PlanTaken:
    """The fact with which the run goes by `plan` from now on.

    Finished tasks that read as before stay finished. Raises UsageError for one that reads otherwise and is
    neither to be kept nor to be done again, and for one that was begun and is gone.
    """
    _check_named(state, plan, keep, redo)
    entries = entries_of(plan)
    for entry in entries:
        before = state.tasks.get(entry.id)
        if before is None or not before.is_done or before.entry.hash == entry.hash or entry.id in keep | redo:
            continue
        again = f"orchestrator resume {state.run}"
        raise UsageError(
            f"task {entry.id} is finished, and its text was edited since",
            where=plan.path,
            hint=f"It stays as it is: {again} --keep {entry.id}\nIt is done again: {again} --redo {entry.id}",
        )
    for task_id in state.tasks.keys() - {entry.id for entry in entries}:
        task = state.tasks[task_id]
        if task.last is not None and not task.is_done:
            raise UsageError(
                f"task {task_id} was begun, and is not in the plan any more",
                where=plan.path,
                hint=f"Put it back, or start over: orchestrator run --new {plan.path}",
            )
    return PlanTaken(
        plan_title=plan.title,
        tasks=entries,
        end_to_end=plan.end_to_end is not None,
        stored=stored,
        redo=tuple(entry.id for entry in entries if entry.id in redo),
    )


def _check_named(state: RunState, plan: Plan, keep: frozenset[str], redo: frozenset[str]) -> None:
    for task_id in sorted(keep | redo):
        task = state.tasks.get(task_id)
        if task is None or not task.is_done or plan.task(task_id) is None:
            raise UsageError(f"task {task_id} of run {state.run} is not finished", where="--keep, --redo")
        if task_id in keep & redo:
            raise UsageError(f"task {task_id} cannot be both kept and done again", where="--keep, --redo")
