"""Refuses mounts that would put the container engine's own socket into a container."""

import os

from orchestrator.config.mounts import ENGINE_SOCKETS
from orchestrator.containers.base import ContainerSpec
from orchestrator.containers.profile import refuse_engine_socket
from orchestrator.mounts import Bind


def refuse_sockets(spec: ContainerSpec, endpoint: str) -> None:
    """Raises ConfigurationError when a mount is, holds or leads to a socket of the engine at `endpoint`."""
    sources = [str(mount.source) for mount in spec.mounts if isinstance(mount, Bind)]
    sockets = [*ENGINE_SOCKETS]
    if endpoint.startswith("unix://"):
        sockets.append(endpoint.removeprefix("unix://"))
    refuse_engine_socket(
        [*sources, *map(os.path.realpath, sources)], [*sockets, *map(os.path.realpath, sockets)]
    )
