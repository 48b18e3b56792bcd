"""Decides whether `resume --accept` may count a task as done, by the state of its last attempt."""

from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.plan.model import Plan
from orchestrator.run.state import RunState
from orchestrator.supervision.decide import reason_not_to_accept
from orchestrator.text import plain


def check_acceptable(state: RunState, plan: Plan, tasks: Sequence[str]) -> None:
    """Raises UsageError, with the reason, for the first of the tasks that the user cannot take as done.

    The user can only decide that a task without changes is done; the gates run again before it is completed.
    For every other task a gate or the agent has the answer, and `--accept` must not replace it.
    """
    for task_id in tasks:
        reason = _reason_not_to_accept(state, plan, task_id)
        if reason is not None:
            raise UsageError(
                f"task {plain(task_id)} cannot be accepted: {reason}",
                where="--accept",
                hint="Only a task that changed nothing, and whose checks pass, can be accepted. "
                f"To see the tasks: orchestrator status {state.run}",
            )


def _reason_not_to_accept(state: RunState, plan: Plan, task_id: str) -> str | None:
    task = state.tasks.get(task_id)
    if task is None or plan.task(task_id) is None:
        return f"run {state.run} has no such task"
    if task.finished is not None and not task.has_failed:
        return f"it is {task.finished.status}"
    if task.last is None:
        return "it has not been started"
    return reason_not_to_accept(task.last)
