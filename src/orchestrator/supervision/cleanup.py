"""Which containers are over: decided by the journal, never by a container's age or silence.

A run that only lost its owner keeps everything: whoever goes on with it decides about its containers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.run.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundContainer:
    name: str
    kind: str
    run: str | None
    task: str | None
    attempt: int | None
    ended: bool
    """Whether its main process has ended."""


def is_over(container: FoundContainer, runs: Mapping[str, RunState]) -> bool:
    """Whether the journal says that nobody needs this container of our state folder any more."""
    if container.kind == "probe":
        return container.ended
    if container.run is None or container.run not in runs:
        return False
    state = runs[container.run]
    if state.end is not None and state.end.status in ("completed", "cancelled"):
        return True
    task = state.tasks.get(container.task) if container.task is not None else None
    if task is None:
        return False
    if task.finished is not None:
        return True
    attempt = next((a for a in task.attempts if a.number == container.attempt), None)
    if attempt is None:
        return False
    if container.kind == "attempt":
        return attempt.end is not None
    return attempt is not task.last
