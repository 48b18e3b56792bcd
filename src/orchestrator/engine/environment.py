"""Whether the place we stand in is a code folder, seen without starting anything."""

import os
from pathlib import Path

from orchestrator.agents.base import AgentDriver
from orchestrator.config import Settings, load_settings
from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.errors import EnvironmentInvalid
from orchestrator.workspace.workspace import Workspace


def validate_environment() -> Path:
    """The code folder: the current directory, which is a repository's root and holds the required files.

    Raises EnvironmentInvalid with the next step. No container is started and nothing is changed.
    """
    try:
        folder = Path.cwd()
    except FileNotFoundError:
        raise EnvironmentInvalid(
            "the current folder is gone", hint="Change to a folder that exists: cd FOLDER"
        ) from None
    if not os.path.lexists(folder / ".git"):
        raise EnvironmentInvalid("is not a repository's root", where=str(folder), hint=_root_hint(folder))
    check_required_files(
        folder, load_settings(folder, environ=os.environ).settings.environment.required_files
    )
    return folder


def check_required_files(folder: Path, required: tuple[str, ...]) -> None:
    """Raises EnvironmentInvalid naming the first that is absent."""
    for name in required:
        if not os.path.lexists(folder / name):
            raise EnvironmentInvalid(
                f"{name} is required here and absent (environment.required_files)",
                where=str(folder),
                hint="Is this the right folder? Make the file, or change the setting.",
            )


async def check_agent_program(
    engine: ContainerEngine,
    workspace: Workspace,
    driver: AgentDriver,
    settings: Settings,
    spec: ContainerSpec,
) -> None:
    """Look up a configured agent's first word: in the image, or with a slash in it in the code folder.

    Raises EnvironmentInvalid. Starts a container of kind probe only for a word without a slash.
    """
    if not settings.agent.command or driver.name != "command":
        return
    program = driver.program(settings.agent.command)
    if "/" in program:
        found = os.access(workspace.folder / program, os.X_OK)
    else:
        found = await _in_image(engine, spec, program)
    if not found:
        raise EnvironmentInvalid(
            f"the agent's program {program} is not there",
            where="code folder" if "/" in program else settings.image.name,
            hint="Name one that exists (--agent-command, agent.command), or an image that has it.",
        )


async def _in_image(engine: ContainerEngine, spec: ContainerSpec, program: str) -> bool:
    await engine.remove(spec.name)  # what a killed start left
    container = await engine.create(spec)
    try:
        await engine.start(container)
        done = await engine.exec(container, ("sh", "-c", 'command -v -- "$1"', "sh", program), timeout=30)
        return done.exit_code == 0
    finally:
        await engine.remove(container)


def _root_hint(folder: Path) -> str:
    for parent in folder.parents:
        if os.path.lexists(parent / ".git"):
            return f"Run it at the root: cd {parent}"
    return "Make one: git init && git add -A && git commit -m 'start'"
