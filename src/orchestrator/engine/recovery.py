"""What a killed owner left behind, brought back in line with the journal before the loop goes on."""

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
    """Remove this run's containers: its lock is ours, so nobody follows them any more.

    One whose attempt has no end in the journal is only killed: its end is recorded before it is removed.
    """
    open_attempts = {(task, str(attempt.number)) for task, attempt in _open_attempts(state)}
    for container in await services.engine.list({LABEL_STATE: records.state_id, LABEL_RUN: records.run}):
        about = container.labels
        is_open = (about.get(LABEL_TASK, ""), about.get(LABEL_ATTEMPT, "")) in open_attempts
        if about[LABEL_KIND] == "attempt" and is_open:
            await kill(services.engine, container.id)
        else:
            await remove_container(services.engine, container.id)


async def recover_attempt(
    services: Services, records: RunRecords, workspace: Workspace, task: str, attempt: AttemptState
) -> None:
    """Record an attempt that was begun and never ended; its tree is saved first, nobody is charged."""
    reason = "its end was not seen: the orchestrator was killed, or the engine went away"
    await interrupt(services, records, workspace, task, attempt, Interrupted(reason=reason))


async def stop_all(
    services: Services, records: RunRecords, workspace: Workspace | None, state: RunState, reason: str
) -> None:
    """Leave nothing of the run at work: its containers are gone, and every attempt has an end."""
    await remove_leftovers(services, records, state)
    for task, attempt in _open_attempts(state):
        await interrupt(services, records, workspace, task, attempt, Cancelled(reason=reason))


def _open_attempts(state: RunState) -> list[tuple[str, AttemptState]]:
    phases = [(task, phase(state, known)) for task, known in state.tasks.items()]
    return [(task, found.attempt) for task, found in phases if isinstance(found, Working)]
