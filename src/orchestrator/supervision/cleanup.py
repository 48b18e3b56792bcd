"""Decides which containers are leftovers: by the journal, never by a container's age or silence.

An agent can think for an hour without a line of output, and a machine can sleep for a week. So a container is
a leftover only if facts say that nothing needs it. A run whose owner was killed keeps its containers: its
next owner first records how the attempt ended, which only the container knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from orchestrator.run.endings import has_failed_before_start
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


def is_leftover(container: FoundContainer, runs: Mapping[str, RunState]) -> bool:
    """Whether this container of our state folder can be removed."""
    if container.kind == "probe":
        return container.ended
    if container.run is None or container.run not in runs:
        return False
    state = runs[container.run]
    if has_ended_for_good(state) or has_failed_before_start(state):
        return True
    task = state.tasks.get(container.task) if container.task is not None else None
    return task is not None and _is_leftover_of_task(container, state, task)


def _is_leftover_of_task(container: FoundContainer, state: RunState, task: TaskState) -> bool:
    is_known = any(attempt.number == container.attempt for attempt in task.attempts)
    match phase(state, task):
        case Done() | Failed():
            return True
        case NotStarted() | Started():
            return is_known
        # The container of the last attempt may still be at work, or only it knows the exit code.
        case Working(attempt=attempt):
            return is_known and attempt.number != container.attempt
        case Begun(attempt=attempt):
            return is_known and (container.kind == "attempt" or attempt.number != container.attempt)
        case _ as never:
            assert_never(never)
