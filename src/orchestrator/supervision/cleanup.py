"""Which containers are over: decided by the journal, never by a container's age or silence.

A run that only lost its owner keeps everything: its next owner decides about its containers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from orchestrator.run.phase import (
    Begun,
    Done,
    Failed,
    NotStarted,
    Started,
    Working,
    has_ended_for_good,
    phase,
)
from orchestrator.run.state import RunState, TaskState


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
    if has_ended_for_good(state):
        return True
    task = state.tasks.get(container.task) if container.task is not None else None
    return task is not None and _is_over_for_task(container, state, task)


def _is_over_for_task(container: FoundContainer, state: RunState, task: TaskState) -> bool:
    is_known = any(attempt.number == container.attempt for attempt in task.attempts)
    match phase(state, task):
        case Done() | Failed():
            return True
        case NotStarted() | Started():
            return is_known
        case Working(attempt=attempt):
            return is_known and attempt.number != container.attempt
        case Begun(attempt=attempt):
            return is_known and (container.kind == "attempt" or attempt.number != container.attempt)
        case _ as never:
            assert_never(never)
