"""What a killed owner left behind, brought back in line with the journal before the loop goes on."""

from orchestrator.containers.base import LABEL_RUN, LABEL_STATE
from orchestrator.engine.attempt import record_interrupted
from orchestrator.engine.context import RunContext


async def remove_leftover_containers(context: RunContext) -> None:
    """Remove this run's containers: its lock is ours, so nobody follows them any more."""
    labels = {LABEL_STATE: context.specs.state_id, LABEL_RUN: context.run}
    for container in await context.engine.list(labels):
        await context.engine.remove(container.id)


async def close_attempt(context: RunContext, task: str, number: int) -> None:
    """Record an attempt that was begun and never ended; its tree is saved first, nobody is charged."""
    await remove_leftover_containers(context)
    await record_interrupted(
        context, task, number, "its end was not seen: the orchestrator was killed, or the engine went away"
    )
