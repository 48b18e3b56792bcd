"""How a run takes a plan that the user has edited: decided by the hashes of its tasks."""

from orchestrator.errors import UsageError
from orchestrator.plan.model import Plan
from orchestrator.run.facts import PlanTaken, TaskEntry, TaskFinished
from orchestrator.run.phase import Landing, NotStarted, Started, Working, phase
from orchestrator.run.state import RunState


def entries_of(plan: Plan) -> tuple[TaskEntry, ...]:
    """The plan's tasks as a run stores them."""
    return tuple(
        TaskEntry(id=task.id, title=task.title, type=task.type, hash=task.hash) for task in plan.tasks
    )


def is_in_flight(state: RunState) -> bool:
    """Whether an attempt or a landing has not ended: it has to end with the plan with which it started."""
    return any(isinstance(phase(state, task), Working | Landing) for task in state.tasks.values())


def find_ticked_off(
    state: RunState, plan: Plan, *, unconfirmed: frozenset[str] = frozenset()
) -> dict[str, TaskFinished]:
    """Tasks that the user has ticked off in the plan and that have no attempt, with the fact that ends each.

    A task of which the user has asked for a redo is not among them, although its box may still be ticked; nor
    are the `unconfirmed` ones, which an attempt has ticked.
    """
    ticked = [state.tasks[task.id] for task in plan.tasks if task.done and task.id not in unconfirmed]
    return {
        task.entry.id: TaskFinished(status="imported", commit=None)
        for task in ticked
        if isinstance(phase(state, task), NotStarted | Started) and not task.was_redone
    }


def hash_plans_of_attempts(state: RunState) -> frozenset[str | None]:
    """Hashes of the plan's file at the ends of attempts.

    An attempt may have written a file with one of these hashes, so it does not count as the user's edit.
    """
    ends = (attempt.end for task in state.tasks.values() for attempt in task.attempts)
    return frozenset(end.plan_sha256 for end in ends if end is not None)


def take_edited_plan(
    state: RunState, plan: Plan, *, keep: frozenset[str], redo: frozenset[str], stored: str
) -> PlanTaken:
    """The fact with which the run uses `plan` from now on.

    Finished tasks whose text is the same stay finished. Raises UsageError for a finished task with another
    text that is neither in `keep` nor in `redo`, and for an unfinished task with attempts that is no longer
    in the plan.
    """
    for task_id in sorted(keep | redo):
        task = state.tasks.get(task_id)
        if task is None or not task.is_done or plan.task(task_id) is None:
            raise UsageError(
                f"task {task_id} of run {state.run} is not finished",
                where="--keep, --redo",
                hint=f"Both options take finished tasks; to list them: orchestrator status {state.run}",
            )
        if task_id in keep & redo:
            raise UsageError(
                f"task {task_id} cannot be both kept and redone",
                where="--keep, --redo",
                hint="Name it in only one of the two options.",
            )
    entries = entries_of(plan)
    for entry in entries:
        before = state.tasks.get(entry.id)
        if before is None or not before.is_done or before.entry.hash == entry.hash or entry.id in keep | redo:
            continue
        again = f"orchestrator resume {state.run}"
        raise UsageError(
            f"task {entry.id} is finished, but its text was edited afterwards",
            where=plan.path,
            hint=f"Keep its commit: {again} --keep {entry.id}\nDo it again: {again} --redo {entry.id}",
        )
    for task_id in state.tasks.keys() - {entry.id for entry in entries}:
        task = state.tasks[task_id]
        if task.last is not None and not task.is_done:
            raise UsageError(
                f"task {task_id} was started, but is no longer in the plan",
                where=plan.path,
                hint=f"Add it again, or start a new run: orchestrator run --new {plan.path}",
            )
    return PlanTaken(
        plan_title=plan.title,
        tasks=entries,
        end_to_end=plan.end_to_end is not None,
        stored=stored,
        redo=tuple(entry.id for entry in entries if entry.id in redo),
    )
