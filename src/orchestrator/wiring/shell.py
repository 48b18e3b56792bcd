"""`shell`: a container by hand, with the profile, the image and the mounts that an attempt would get."""

import os
import sys
from collections.abc import Sequence

from orchestrator.config import Settings, load_settings
from orchestrator.containers.base import ContainerEngine
from orchestrator.containers.coding_agent_container import CodingAgentContainer
from orchestrator.containers.engine import connect_engine
from orchestrator.containers.names import labels
from orchestrator.engine.context import configured_mounts, limits_of
from orchestrator.engine.environment import validate_environment
from orchestrator.engine.machine import machine_of
from orchestrator.errors import EnvironmentInvalid
from orchestrator.state_folder import open_state_folder
from orchestrator.subprocesses import attached
from orchestrator.wiring.image import run_image

HOME = "/tmp/home"  # noqa: S108 - a path inside the container, on its own tmpfs
WITHOUT_COMMAND = ("bash",)
_IN_HOME = 'mkdir -p "$HOME" && exec "$@"'


async def shell(command: Sequence[str]) -> int:
    """Start a container on the code folder, run a command in it at our terminal, and stop it again.

    Gives the command's exit code. When the container of another shell of this folder runs, it is joined and
    left running.
    """
    folder = validate_environment()
    settings = load_settings(folder, environ=os.environ).settings
    state = open_state_folder(os.environ, outside=folder)
    async with await connect_engine() as engine:
        image = await run_image(engine, folder, settings, earlier_context=None, on_line=_say)
        container = _container(engine, settings, image.id, state.id)
        if await _runs_already(engine, container, str(folder)):
            return await attached(_argv(container.container_name, command))
        try:
            await container.start(folder)
            return await attached(_argv(container.container_name, command))
        finally:
            await container.stop()


def _container(
    engine: ContainerEngine, settings: Settings, image: str, state_id: str
) -> CodingAgentContainer:
    machine = machine_of(os.environ)
    return CodingAgentContainer(
        image_name=image,
        mounts=(*machine.mounts, *configured_mounts(settings)),
        env={**machine.proxies, **dict(settings.environment.variables), "HOME": HOME},
        labels=labels(kind="shell", state=state_id),
        limits=limits_of(settings),
        engine=engine,
    )


async def _runs_already(engine: ContainerEngine, container: CodingAgentContainer, folder: str) -> bool:
    """Whether a container of that name runs on this folder; one on another folder is not ours to stop."""
    found = await engine.inspect(container.container_name)
    if found is None or found.status != "running":
        return False
    if folder not in found.mount_sources:
        raise EnvironmentInvalid(
            f"the container {found.name} runs on another folder",
            hint=f"Leave that shell first, or: docker rm -f {found.name}",
        )
    return True


def _argv(name: str, command: Sequence[str]) -> tuple[str, ...]:
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    how = ("--interactive", "--tty") if at_terminal else ("--interactive",)
    return ("docker", "exec", *how, name, "sh", "-c", _IN_HOME, "sh", *(command or WITHOUT_COMMAND))


def _say(line: str) -> None:
    print(line, file=sys.stderr)
