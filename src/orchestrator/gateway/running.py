"""Asks the engine which attempts of a state folder have a running container."""

import logging
from collections.abc import Mapping

from orchestrator.containers.base import LABEL_ATTEMPT, LABEL_KIND, LABEL_RUN, LABEL_STATE, LABEL_TASK
from orchestrator.containers.engine import connect_engine
from orchestrator.errors import OrchestratorError
from orchestrator.gateway.access import AttemptKey

log = logging.getLogger(__name__)


async def list_running_attempts(state_id: str) -> frozenset[AttemptKey] | None:
    """The attempts with a container that has not ended; None when the engine does not answer.

    It connects again each time: a gateway may outlive a restart of the engine.
    """
    try:
        engine = await connect_engine()
        try:
            containers = await engine.list({LABEL_STATE: state_id, LABEL_KIND: "attempt"})
        finally:
            await engine.close()
    except OrchestratorError as error:
        log.warning("gateway.engine %s", error.what)
        return None
    # A paused container continues, and one that was only created may be started by the next owner of its run.
    keys = (_key(container.labels) for container in containers if container.exit_code is None)
    return frozenset(key for key in keys if key is not None)


def _key(labels: Mapping[str, str]) -> AttemptKey | None:
    try:
        return AttemptKey(labels[LABEL_RUN], labels[LABEL_TASK], int(labels[LABEL_ATTEMPT]))
    except (KeyError, ValueError):
        return None
