"""How a run ends: the exit code of each status, and which of several ends counts."""

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
NOT_BEGUN = 2
"""The exit code of a run whose project could not be set up: it failed before its first task."""
BUG = 70
"""The exit code of a run that was interrupted by a bug in the orchestrator."""
_WORST_FIRST = (BUG, 130, NOT_BEGUN, 3, 4, 1, 0)


def run_ended(
    status: RunStatus,
    reason: str | None = None,
    until: str | None = None,
    cause: RunCause | None = None,
) -> RunEnded:
    """The fact that ends a run, with the exit code of its status."""
    return RunEnded(status=status, exit_code=EXIT_CODES[status], reason=reason, until=until, cause=cause)


def rank(exit_code: int) -> int:
    """The order of exit codes: if a run could end with several, the one with the lowest rank counts."""
    return _WORST_FIRST.index(exit_code)


def failed_before_it_began(state: RunState) -> bool:
    """Whether setup failed. Such a run cannot be resumed: it would resume with the settings to be fixed."""
    return state.end is not None and state.end.status == "failed" and state.end.exit_code == NOT_BEGUN
