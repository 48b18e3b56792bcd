"""Whether a run would only meet a limit of the provider that is known already."""

from orchestrator.clock import Clock
from orchestrator.engine.context import ModelAccess
from orchestrator.gateway.access import Provider
from orchestrator.gateway.accounts import SHARED, end_of
from orchestrator.run.endings import run_ended_fact
from orchestrator.run.facts import RunEnded
from orchestrator.run.state import RunState
from orchestrator.text import utc_text


def find_known_limit(
    model: ModelAccess | None, chosen: str | None, earlier: RunState | None, *, waits: bool, clock: Clock
) -> RunEnded | None:
    """The end of the run by a limit that is in force; None: nothing is known, or it tries all the same.

    `chosen` is the setting `agent.model`, `earlier` a resumed run as it was. A user who resumes a run by hand
    wants to try; only with `--wait` does a resumed run wait, for what is known of the credential, or, where
    it uses none, for the limit that parked it.
    """
    if earlier is not None and not waits:
        return None
    now = clock.now()
    if model is not None and isinstance(model.source, Provider):
        limit = model.accounts.read(model.source.credential).limit_in_force(now, chosen)
        if limit is None:
            return None
        until = end_of(limit, now)
        of = "" if limit.model is None else f" for the model {limit.model}"
        reason = (
            f"{limit.cause.replace('_', ' ')}: the provider answered {limit.status}{of} to run {limit.run}"
        )
        return run_ended_fact("parked", reason, None if until is None else utc_text(until), limit.cause)
    end = None if earlier is None else earlier.end
    has_passed = end is None or end.until is None or end.until <= utc_text(now)
    return end if end is not None and end.cause in SHARED and not has_passed else None
