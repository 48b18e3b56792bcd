"""The choice of the runs that continue by themselves after the machine was started again."""

from collections.abc import Iterable

from orchestrator.run.endings import is_base_run
from orchestrator.run.facts import RunWaiting
from orchestrator.run.state import RunState


def should_resume(state: RunState) -> bool:
    """Whether a run without an owner was working or waiting when its machine stopped.

    Then its owner was killed, or the shutdown of the machine stopped it, and no other reason ended the run. A
    run that the user, a time limit or a budget has stopped stays stopped, and so does one that failed or was
    cancelled. A run with an open question stays stopped, too: it needs an answer of the user first.
    """
    if is_base_run(state) or state.cancel_requested:
        return False
    if state.waiting is not None and state.waiting.cause == "question":
        return False
    return state.end is None or state.end.by_shutdown


def choose_runs_to_resume(states: Iterable[RunState]) -> tuple[RunState, ...]:
    """One run for each folder, because a folder has place for one: the one that was started last.

    `states` are runs without an owner, newest first.
    """
    chosen: dict[str, RunState] = {}
    plans: set[tuple[str, str]] = set()
    for state in states:
        plan = (state.start.folder, state.start.plan)
        is_latest_of_plan = plan not in plans
        if not is_base_run(state):
            plans.add(plan)
        if is_latest_of_plan and should_resume(state):
            chosen.setdefault(state.start.folder, state)
    return tuple(chosen.values())


def find_scheduled_start(state: RunState) -> str | None:
    """When the work of a run was to begin that waited for it (`--at`)."""
    match state.waiting:
        case RunWaiting(cause="scheduled", until=until):
            return until
        case _:
            return None
