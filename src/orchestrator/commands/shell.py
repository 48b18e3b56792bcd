"""`shell`: a container for the user, with the profile, image and mounts of an attempt."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.commands.image import container_specs, run_image, show_building
from orchestrator.config import Settings, load_settings
from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.containers.start import remove_container, start_container
from orchestrator.engine.container_specs import SHELL_NAME
from orchestrator.engine.overlays import mask_mounts, remove_overlay_folders
from orchestrator.engine.setup import cover_with_setup
from orchestrator.engine.setup_overlays import OverlaySupport
from orchestrator.engine.stop_signals import cancel_on_signals
from orchestrator.errors import EnvironmentInvalid
from orchestrator.gates.setup_image import SetupImage, find_setup, plan_setup
from orchestrator.preflight.environment import validate_environment
from orchestrator.preflight.leftovers import refuse_living_containers
from orchestrator.project.host import Host
from orchestrator.project.project import Project, open_project
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.subprocesses import own_environment, run_attached
from orchestrator.text import plain
from orchestrator.workspace import history

WITHOUT_COMMAND = ("bash",)
_IN_HOME = 'mkdir -p "$HOME" && exec "$@"'


async def shell(host: Host, command: Sequence[str]) -> int:
    """Start a container on the code folder, run a command in it at our terminal, and remove it again.

    Returns the command's exit code. If a shell of this folder is open, the command runs in its container,
    which then keeps running. SIGTERM, SIGHUP or a closed terminal remove the container and then raise
    CancelledError. (^C at a terminal sends no signal: docker passes it on as a key.)
    """
    folder = validate_environment(host)
    if shutil.which("docker", path=own_environment().get("PATH")) is None:
        raise EnvironmentInvalid(
            "the `docker` command is not installed; it connects your terminal to the container",
            hint="Install it: sudo apt-get install docker.io",
        )
    with cancel_on_signals():
        async with host.connect_engine() as engine:
            if await _is_open(engine, folder):
                return await run_attached(_exec_argv(command))
            async with open_project(host) as project:
                folders = AttemptFolders(root=project.state.path / "shell")
                spec = await _build_spec(engine, project, folders)
            try:
                await engine.remove(spec.name)  # a killed shell may have left one
                try:
                    container = await start_container(engine, spec)
                finally:
                    if spec.volumes_from is not None:
                        await remove_container(engine, spec.volumes_from)
                try:
                    return await run_attached(_exec_argv(command))
                finally:
                    await remove_container(engine, container)
            finally:
                remove_overlay_folders(folder, folders)


async def _build_spec(engine: ContainerEngine, project: Project, folders: AttemptFolders) -> ContainerSpec:
    """A container like an attempt's, without agent and gateway: nothing in it is hidden from agents."""
    await refuse_living_containers(engine, project.folder, run=None)
    settings = load_settings(project.folder, environ=project.host.environ).settings
    async with show_building(project.host.clock, note=_print_note, pass_on=_print_at_terminal) as on_line:
        image = await run_image(engine, project, settings, kept=None, on_line=on_line)
    specs = container_specs(project, settings, run=None)
    setup = await _find_setup_image(engine, project, settings, image.id, specs.variables)
    folders.root.mkdir(mode=0o700, exist_ok=True)
    holder = specs.overlay_holder(image=setup.id)
    cover = await cover_with_setup(engine, setup, project.workspace, folders, OverlaySupport(), specs, holder)
    if cover.copied:
        _print_note(f"{', '.join(cover.copied)}: copied for the shell, because {cover.reason}")
    covers = (*mask_mounts(project.folder, settings.masked.files, folders), *cover.mounts)
    return specs.shell(image=setup.id, covers=covers, volumes_from=cover.holder)


async def _find_setup_image(
    engine: ContainerEngine, project: Project, settings: Settings, image: str, variables: dict[str, str]
) -> SetupImage:
    """The setup image of HEAD if a run has built it: a shell does not install dependencies."""
    plan = plan_setup(
        await history.files(project.workspace.store, (await project.workspace.user.head()).commit),
        commands=settings.setup.commands,
        discovering=settings.setup.discover,
        folders=settings.setup.folders,
        image=image,
        repository=project.workspace.store.name,
        owner=project.workspace.tree.owner,
        env=variables,
    )
    found = None if plan is None else await find_setup(engine, plan)
    if plan is not None and found is None:
        _print_note(
            "The dependencies of this commit are not installed; a run installs them before its first task."
        )
    return found or SetupImage(id=image)


async def _is_open(engine: ContainerEngine, folder: Path) -> bool:
    """Whether a shell of this folder is open. Raises EnvironmentInvalid for one of another folder."""
    found = await engine.inspect(SHELL_NAME)
    if found is None or found.status != "running":
        return False
    if str(folder) not in found.mount_sources:
        raise EnvironmentInvalid(
            f"a shell of another folder is open (container {found.name})",
            hint=f"Close that shell first, or remove its container: docker rm -f {found.name}",
        )
    return True


def _exec_argv(command: Sequence[str]) -> tuple[str, ...]:
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    how = ("--interactive", "--tty") if at_terminal else ("--interactive",)
    return ("docker", "exec", *how, SHELL_NAME, "sh", "-c", _IN_HOME, "sh", *(command or WITHOUT_COMMAND))


def _print_note(line: str) -> None:
    print(line, file=sys.stderr)


def _print_at_terminal(line: str) -> None:
    """A line of a build: to be watched, not to be stored; an error carries the end of the output anyway."""
    if sys.stderr.isatty():
        _print_note(plain(line))
