"""Decides whether a run that cannot continue waits and then continues by itself, and until when."""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.run.facts import RunCause, RunEnded
from orchestrator.run.state import AttemptState, RunState

RESETS: frozenset[RunCause | None] = frozenset(
    {"usage_limit", "rate_limit", "model_away", "engine_away", "scheduled"}
)
"""Causes that end without the user, however long it takes."""
SHORT: frozenset[RunCause | None] = frozenset({"disk_full", "gate_unavailable"})
"""Causes that may end without the user; a run waits for them for SHORT_SECONDS in all."""
SHORT_SECONDS = 3600.0
FIRST_SECONDS = 60.0
LONGEST_SECONDS = 1800.0
JITTER_SECONDS = 60.0
"""Runs that wait for the same moment do not all continue at once."""


class PastWaits(Struct, frozen=True, kw_only=True):
    """How often and how long this invocation has waited so far."""

    repeated: int = 0
    """Waits since an attempt last reached its model."""
    short_seconds: float = 0.0
    """The time waited for what may not pass by itself."""
    successes: int = 0
    """The successes of the run when the last wait began."""


class WaitPlan(Struct, frozen=True, kw_only=True):
    until: datetime | None
    """The end of the limit or the pause; None: the run continues once the question is answered."""
    continues: datetime | None
    """When the run continues: at `until`, or up to JITTER_SECONDS later."""
    waits: PastWaits


def plan_wait(
    end: RunEnded, waits: PastWaits, *, now: datetime, successes: int, jitter: float
) -> WaitPlan | None:
    """How to wait instead of ending like this; None: the run ends.

    `jitter` is between 0 and 1. `successes` are those of the run so far, as `count_successes` gives them.
    """
    if successes != waits.successes:
        waits = replace(waits, repeated=0, successes=successes)
    if end.cause == "question":
        return WaitPlan(until=None, continues=None, waits=waits)
    if end.status != "parked" or end.cause not in RESETS | SHORT:
        return None
    pause = min(FIRST_SECONDS * 2 ** min(waits.repeated, 10), LONGEST_SECONDS)
    if end.cause in SHORT:
        pause = min(pause, SHORT_SECONDS - waits.short_seconds)
        if pause <= 0:
            return None
        waits = replace(waits, short_seconds=waits.short_seconds + pause)
    until = now + timedelta(seconds=pause)
    if end.until is not None:
        reset = datetime.fromisoformat(end.until)
        # A limit that is met again at its own reset would otherwise be asked about without a pause.
        until = max(reset, until) if waits.repeated else max(reset, now)
    waits = replace(waits, repeated=waits.repeated + 1)
    # Only what belongs to an account or an engine is met by several runs at the same time.
    is_shared = end.cause in RESETS and end.cause != "scheduled"
    longest = min(JITTER_SECONDS, (until - now).total_seconds()) if is_shared else 0.0
    return WaitPlan(until=until, continues=until + timedelta(seconds=jitter * longest), waits=waits)


def count_successes(state: RunState) -> int:
    """The attempts of a run in which the model or the agent has done something, so that no limit was left."""
    return sum(_was_successful(each) for task in state.tasks.values() for each in task.attempts)


def _was_successful(attempt: AttemptState) -> bool:
    end = attempt.end
    return end is not None and (end.status in ("completed", "needs_human") or end.tool_calls > 0)
