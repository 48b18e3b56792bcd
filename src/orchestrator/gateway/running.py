"""Which attempts of a state folder have a running container: the engine is asked, nothing is remembered."""

import asyncio
import logging

import aiodocker
import aiohttp

from orchestrator.containers.base import LABEL_ATTEMPT, LABEL_KIND, LABEL_RUN, LABEL_STATE, LABEL_TASK
from orchestrator.gateway.access import AttemptKey

log = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0


async def running_attempts(state_id: str) -> frozenset[AttemptKey] | None:
    """None when the engine does not answer."""
    labels = [f"{LABEL_STATE}={state_id}", f"{LABEL_KIND}=attempt"]
    try:
        async with asyncio.timeout(ANSWER_SECONDS), aiodocker.Docker() as docker:
            containers = await docker.containers.list(filters={"label": labels, "status": ["running"]})
    except (aiodocker.DockerError, aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
        log.warning("gateway.engine does not answer: %s", type(error).__name__)
        return None
    keys = (_key(container["Labels"] or {}) for container in containers)
    return frozenset(key for key in keys if key is not None)


def _key(labels: dict[str, str]) -> AttemptKey | None:
    try:
        return AttemptKey(labels[LABEL_RUN], labels[LABEL_TASK], int(labels[LABEL_ATTEMPT]))
    except (KeyError, ValueError):
        return None
