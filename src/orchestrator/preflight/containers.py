"""Checks of what containers start from: the image, the setup, and the agent's program."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator.config.settings import Image, Setup
from orchestrator.containers.base import ContainerEngine, ContainerSpec, ImageInfo
from orchestrator.containers.project_image import context_hash, name_with_dockerfile, name_with_packages
from orchestrator.containers.start import create_container, remove_container
from orchestrator.errors import CannotStart, CodingAgentError, EnvironmentInvalid
from orchestrator.gates.detection import DetectedProject
from orchestrator.gates.discovery import PackageManager, discover
from orchestrator.preflight.site import Finding, Site, report_failed, report_passed, report_warning
from orchestrator.programs import suggest_packages
from orchestrator.project.manifest_files import find_project
from orchestrator.text import first_line, one_line
from orchestrator.workspace.folder import list_tracked


async def check_image(site: Site) -> Finding:
    """The image, and what a run would build on top of it."""
    settings = site.loaded.settings
    engine = await site.engine()
    base = await engine.image(settings.image.name)
    if base is None:
        return report_failed(f"there is no image {settings.image.name}", "orchestrator image build")
    about = f"{settings.image.name} ({base.id.removeprefix('sha256:')[:12]})"
    added = [f"packages {' '.join(settings.image.packages)}"] if settings.image.packages else []
    if settings.image.dockerfile is not None:
        added.insert(0, f"{settings.image.dockerfile}")
    if not added:
        return report_passed(about)
    built = await find_project_image(engine, base, site.host.folder or Path("/"), settings.image)
    state = "already built" if built is not None else "the first run builds it, which can take minutes"
    return report_passed(f"{about} with {' and '.join(added)}: {state}")


async def find_project_image(
    engine: ContainerEngine, base: ImageInfo, folder: Path, image: Image
) -> ImageInfo | None:
    """The image with the project's Dockerfile and packages, as a run would use it; None if it is to be built.

    Raises EnvironmentInvalid when the Dockerfile's folder cannot be read.
    """
    found: ImageInfo | None = base
    if image.dockerfile is not None:
        context = await asyncio.to_thread(context_hash, folder / image.dockerfile)
        found = await engine.image(name_with_dockerfile(base, context))
    if image.packages and found is not None:
        found = await engine.image(name_with_packages(found, image.packages))
    return found


async def check_setup(site: Site) -> Finding:
    """Reports the commands that a run installs with before its first task, by the files that git tracks."""
    folder, settings = site.host.current_folder(), site.loaded.settings
    tracked = await list_tracked(folder, site.host.environ, ())
    managers = discover(tracked, settings.setup.folders)
    return setup_finding(settings.setup, managers, find_project(folder))


def setup_finding(setup: Setup, managers: Sequence[PackageManager], project: DetectedProject) -> Finding:
    if setup.commands:
        commands = ", ".join(f"`{first_line(each, 80)}`" for each in setup.commands)
        return report_passed(f"setup.commands: {commands}")
    if not setup.discover:
        return report_passed("nothing is installed (setup.discover is false)")
    unused = [folder for folder in project.folders if folder not in {each.folder for each in managers}]
    if unused:
        named = ", ".join(f'"{folder}"' for folder in unused)
        return report_warning(
            f"lock files in {', '.join(unused)} are not used",
            f"Set setup.folders = [{named}] in orchestrator.toml",
        )
    if project.setup:
        what = "no lock file found: nothing will be installed"
        if managers:
            what = f"only {', '.join(each.lock for each in managers)} will be installed"
        # The strings of JSON are also strings of TOML: a command of several lines can be pasted as it is.
        commands = json.dumps(list(project.setup), ensure_ascii=False)
        return report_warning(what, f"Set setup.commands = {one_line(commands, 400)} in orchestrator.toml")
    if not managers:
        return report_passed("nothing to install was found")
    return report_passed(", ".join(f"{each.lock} ({each.name})" for each in managers))


async def check_agent(site: Site) -> Finding:
    """The agent is known, and its program exists: in the image, or in the code folder if it has a slash.

    A run requires this twice: before it locks anything, and again with the image that it has built.
    """
    settings = site.loaded.settings
    driver = site.host.agent_driver(settings.agent.name)
    program = driver.program(settings.agent.command)
    about = driver.name if program == driver.name else f"{driver.name}: {program}"
    if "/" in program:
        found = _is_program(site.host.current_folder() / program, program)
        where, fix = "code folder", _SET_ANOTHER
    else:
        probe = await site.probe()
        # A run knows that our own image has the programs of the built-in agents.
        is_known = site.planned is not None and not driver.takes_command and _is_our_image(settings.image)
        if probe is None or is_known:
            return report_passed(f"{about} (a run looks it up in the image)")
        found = await _is_in_image(await site.engine(), probe, program)
        where, fix = settings.image.name, _suggest_agent_fix(program, is_configured=driver.takes_command)
    if not found:
        raise EnvironmentInvalid(f"the agent's program {program} does not exist", where=where, hint=fix)
    return report_passed(f"{about} (in the {'folder' if '/' in program else 'image'})")


_SET_ANOTHER = "Set another program: --agent-command, agent.command."


def _is_our_image(image: Image) -> bool:
    """Whether it is the agent image that we build; packages that are added to it take nothing away."""
    return image.name == Image().name and image.dockerfile is None


def _suggest_agent_fix(program: str, *, is_configured: bool) -> str:
    if is_configured:
        return f"{suggest_packages(program)} {_SET_ANOTHER}"
    return (
        "Begin your Dockerfile with FROM ktrdr-coding-agent:latest (image.dockerfile), "
        "or use that image (image.name)."
    )


def _is_program(path: Path, program: str) -> bool:
    if path.is_file() and not os.access(path, os.X_OK):
        raise EnvironmentInvalid(
            f"the agent's program {program} is not executable", hint=f"Make it executable: chmod +x {program}"
        )
    return path.is_file()


async def _is_in_image(engine: ContainerEngine, spec: ContainerSpec, program: str) -> bool:
    await engine.remove(spec.name)  # a killed start may have left one
    try:
        container = await create_container(engine, spec)
    except CodingAgentError as error:
        raise CannotStart(
            error.what,
            hint="Fix the setting that this is about, in [container], [image] or [agent].",
        ) from error
    try:
        await engine.start(container)
        done = await engine.exec(container, ("sh", "-c", 'command -v -- "$1"', "sh", program), timeout=30)
        return done.exit_code == 0
    finally:
        await remove_container(engine, container)
