"""Containers and attempts that a killed owner left, brought in line with the journal before the loop starts.

The caller holds the lock of the run, and the lock dies with its process. So no other process follows these
containers, and the end of an attempt without an end in the journal has not been recorded.
"""

from orchestrator.containers.base import LABEL_ATTEMPT, LABEL_KIND, LABEL_RUN, LABEL_STATE, LABEL_TASK
from orchestrator.containers.start import remove_container
from orchestrator.engine.agent_watch import kill
from orchestrator.engine.attempt import interrupt
from orchestrator.engine.context import RunRecords, Services
from orchestrator.run.phase import Working, phase
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.classify import Cancelled, Interrupted
from orchestrator.workspace.workspace import Workspace


async def remove_leftovers(services: Services, records: RunRecords, state: RunState) -> None:
    """Remove this run's containers.

    The container of an attempt without an end in the journal is only killed: the engine still has output that
    the transcript may lack, and the last words of an agent decide how the attempt ended. It is removed
    once its end is recorded.
    """
    open_attempts = {(task, str(attempt.number)) for task, attempt in _list_open_attempts(state)}
    for container in await services.engine.list({LABEL_STATE: records.state_id, LABEL_RUN: records.run}):
        about = container.labels
        # The labels were set by us when the container was created; no process inside can change them.
        is_open = (about.get(LABEL_TASK, ""), about.get(LABEL_ATTEMPT, "")) in open_attempts
        if about[LABEL_KIND] == "attempt" and is_open:
            # Killed without asking first: its agent has worked while no process followed it, and the resumed
            # run is about to start another agent in the same folder.
            await kill(services.engine, container.id)
        else:
            await remove_container(services.engine, container.id)


async def recover_attempt(
    services: Services, records: RunRecords, workspace: Workspace, task: str, attempt: AttemptState
) -> None:
    """Record the end of an attempt whose owner was killed; it does not count against `limits.attempts`."""
    reason = "the orchestrator was killed, or lost the container engine, before the attempt ended"
    await interrupt(services, records, workspace, task, attempt, Interrupted(reason=reason))


async def stop_all(
    services: Services, records: RunRecords, workspace: Workspace | None, state: RunState, reason: str
) -> None:
    """Remove every container of the run, and record the end of every attempt that has none."""
    await remove_leftovers(services, records, state)
    for task, attempt in _list_open_attempts(state):
        await interrupt(services, records, workspace, task, attempt, Cancelled(reason=reason))


def _list_open_attempts(state: RunState) -> list[tuple[str, AttemptState]]:
    phases = [(task, phase(state, known)) for task, known in state.tasks.items()]
    return [(task, found.attempt) for task, found in phases if isinstance(found, Working)]
