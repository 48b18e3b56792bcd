"""How a run ends: the exit code of each status, and which of several ends counts."""

from collections.abc import Iterable

from orchestrator.run.facts import RunCause, RunEnded, RunStatus
from orchestrator.run.state import RunState

EXIT_CODES: dict[RunStatus, int] = {
    "completed": 0,
    "failed": 1,
    "waiting": 3,
    "parked": 4,
    "interrupted": 130,
    "cancelled": 130,
}
STOPPED_EXIT = EXIT_CODES["interrupted"]
NOT_BEGUN = 2
"""The exit code of a run that failed before its first task: setup failed, or a guard is red."""
BUG = 70
"""The exit code of a run that was interrupted by a bug in the orchestrator."""
_WORST_FIRST = (BUG, 130, NOT_BEGUN, 3, 4, 1, 0)


def run_ended_fact(
    status: RunStatus,
    reason: str | None = None,
    until: str | None = None,
    cause: RunCause | None = None,
) -> RunEnded:
    """The fact that ends a run, with the exit code of its status, or of a run that cannot begin."""
    is_red_base = (status, cause) == ("failed", "base_red")
    exit_code = NOT_BEGUN if is_red_base else EXIT_CODES[status]
    return RunEnded(status=status, exit_code=exit_code, reason=reason, until=until, cause=cause)


def rank(exit_code: int) -> int:
    """The order of exit codes: if a run could end with several, the one with the lowest rank counts."""
    return _WORST_FIRST.index(exit_code)


def worst_exit_code(codes: Iterable[int]) -> int:
    """The exit code of several runs together; a code that no run ends with counts as a bug."""
    return min((code if code in _WORST_FIRST else BUG for code in codes), key=rank, default=0)


def has_failed_before_start(state: RunState) -> bool:
    """Whether setup failed or a guard was red. A resume would keep the settings that need a change."""
    return is_refused(state.end)


def is_reason_of_a_task(end: RunEnded, state: RunState) -> bool:
    """Whether the run failed for the reasons of its tasks alone, and says so in the same words."""
    rest = end.reason or ""
    said = [
        f"task {name}: {task.finished.reason}"
        for name, task in state.tasks.items()
        if task.finished is not None
    ]
    for each in sorted(said, key=len, reverse=True):
        rest = rest.replace(each, "")
    return end.status == "failed" and bool(end.reason) and not rest.strip("; ")


def is_refused(end: RunEnded | None) -> bool:
    """Whether the run ended before its first task because setup failed or a guard is red."""
    return end is not None and (end.status, end.exit_code) == ("failed", NOT_BEGUN)


def is_base_run(state: RunState) -> bool:
    """Whether the run is nothing but a base run: it is never resumed, and its plan has another latest run."""
    return state.start.only_base or has_failed_before_start(state)
