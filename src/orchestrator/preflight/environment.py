"""Whether the place we stand in is fit for a run, seen before any container of it is started."""

import os
import shlex
import shutil
import tempfile
from pathlib import Path

from orchestrator import subprocesses
from orchestrator.agents.base import AgentDriver
from orchestrator.config import CheckSetting, Settings, load_settings
from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.errors import CannotStart, CodingAgentError, EnvironmentInvalid
from orchestrator.project.host import Host
from orchestrator.text import one_line, plain
from orchestrator.workspace.workspace import Workspace

DISK_BYTES = 500_000_000
CHECK_LINES = 5  # of a failed check's output, so that the whole message stays within ten


def validate_environment(host: Host) -> Path:
    """The code folder, which is a repository's root and holds the required files.

    Raises EnvironmentInvalid with the next step. No container is started and nothing is changed.
    """
    folder = host.code_folder()
    settings = load_settings(folder, environ=host.environ).settings
    check_required_files(folder, settings.environment.required_files)
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


async def run_checks(folder: Path, checks: tuple[CheckSetting, ...]) -> None:
    """Run each command of the configuration on the host; they came from the user or have their approval.

    Raises EnvironmentInvalid with the hint of the first that fails or takes too long.
    """
    for check in checks:
        with tempfile.TemporaryFile() as output:
            argv = ["bash", "-c", check.run]
            try:
                status = await subprocesses.run_alone(argv, timeout=check.timeout, cwd=folder, output=output)
            except subprocesses.ProcessTimeout:
                raise _check_failed(check, f"took longer than {check.timeout:g} s", b"") from None
            if status != 0:
                output.seek(max(0, output.seek(0, os.SEEK_END) - 4000))
                raise _check_failed(check, f"failed (exit {status})", output.read())


def _check_failed(check: CheckSetting, how: str, output: bytes) -> EnvironmentInvalid:
    lines = plain(output.decode("utf-8", "replace")).strip().splitlines()
    shown = "".join(f"\n  {one_line(line, 200)}" for line in lines[-CHECK_LINES:])
    return EnvironmentInvalid(
        f"the check `{one_line(check.run, 200)}` {how}{shown}",
        where="environment.checks",
        hint=check.hint or "It has to succeed in the code folder before anything starts.",
    )


def check_disk(*places: Path) -> None:
    """Raises EnvironmentInvalid for the first that lies on a file system with next to no room."""
    for place in places:
        free = shutil.disk_usage(place).free
        if disk_nearly_full(free):
            raise EnvironmentInvalid(
                f"the disk is nearly full: {free / 1e6:.0f} of the {DISK_BYTES / 1e6:.0f} MB needed are free",
                where=str(place),
                hint="Free some: orchestrator clean --older-than 30d; XDG_STATE_HOME moves the state folder.",
            )


def check_mounts(settings: Settings) -> None:
    """Raises EnvironmentInvalid for a host path that is not there; missing volumes are made by the engine."""
    for mount in settings.mounts:
        if not mount.is_volume and not Path(mount.source).exists():
            raise EnvironmentInvalid(
                f"there is no {mount.source} to mount at {mount.target}",
                where="mounts",
                hint=f"mkdir -p {shlex.quote(mount.source)}",
            )


def disk_nearly_full(free_bytes: int) -> bool:
    """Too little for transcripts, candidates and git's own files: they would be cut off half-way."""
    return free_bytes < DISK_BYTES


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
    if driver.name != "command":
        return
    program = driver.program(settings.agent.command)
    if "/" in program:
        found = _is_program(workspace.tree.folder / program, program)
    else:
        found = await _in_image(engine, spec, program)
    if not found:
        raise EnvironmentInvalid(
            f"the agent's program {program} is not there",
            where="code folder" if "/" in program else settings.image.name,
            hint="Name one that exists (--agent-command, agent.command), or an image that has it.",
        )


def _is_program(path: Path, program: str) -> bool:
    if path.is_file() and not os.access(path, os.X_OK):
        raise EnvironmentInvalid(f"the agent's program {program} may not be run", hint=f"chmod +x {program}")
    return path.is_file()


async def _in_image(engine: ContainerEngine, spec: ContainerSpec, program: str) -> bool:
    await engine.remove(spec.name)  # what a killed start left
    try:
        container = await engine.create(spec)
    except CodingAgentError as error:
        raise CannotStart(
            error.what, hint="Change the setting that the engine names: `orchestrator doctor` shows them all."
        ) from error
    try:
        await engine.start(container)
        done = await engine.exec(container, ("sh", "-c", 'command -v -- "$1"', "sh", program), timeout=30)
        return done.exit_code == 0
    finally:
        await engine.remove(container)
