"""Whether a run that cannot continue waits for itself, and until when."""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.run.facts import RunCause, RunEnded

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


class Waits(Struct, frozen=True, kw_only=True):
    """The waits of one invocation so far."""

    repeated: int = 0
    """Waits since the last time an attempt ended by itself."""
    short_seconds: float = 0.0
    """The time waited for what may not pass by itself."""
    successes: int = 0
    """Attempts that had ended by themselves when the last wait began."""


class WaitPlan(Struct, frozen=True, kw_only=True):
    until: datetime | None
    """When the run continues; None: once its question is answered."""
    waits: Waits


def plan_wait(
    end: RunEnded, waits: Waits, *, now: datetime, successes: int, jitter: float
) -> WaitPlan | None:
    """How to wait instead of ending like this; None: the run ends.

    `jitter` is between 0 and 1. `successes` are the attempts of the run that have ended by themselves.
    """
    if successes != waits.successes:
        waits = replace(waits, repeated=0, successes=successes)
    if end.cause == "question":
        return WaitPlan(until=None, waits=waits)
    if end.status != "parked" or end.cause not in RESETS | SHORT:
        return None
    pause = min(FIRST_SECONDS * 2 ** min(waits.repeated, 10), LONGEST_SECONDS)
    until = now + timedelta(seconds=pause)
    if end.until is not None:
        reset = datetime.fromisoformat(end.until)
        # A limit that is met again at its own reset would otherwise be asked about without a pause.
        until = max(reset, until) if waits.repeated else max(reset, now)
    if end.cause in SHORT:
        if waits.short_seconds + pause > SHORT_SECONDS:
            return None
        waits = replace(waits, short_seconds=waits.short_seconds + pause)
    if end.cause != "scheduled":
        until += timedelta(seconds=jitter * min(JITTER_SECONDS, pause))
    return WaitPlan(until=until, waits=replace(waits, repeated=waits.repeated + 1))
