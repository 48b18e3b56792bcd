"""The image that a run's containers start from, and how these containers are specified."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.config import Settings, load_settings
from orchestrator.containers.base import ContainerEngine, ImageInfo
from orchestrator.containers.images import build_image
from orchestrator.containers.machine import read_machine
from orchestrator.containers.project_image import (
    build_with_dockerfile,
    build_with_packages,
    context_hash,
    name_with_dockerfile,
)
from orchestrator.engine.container_specs import ContainerSpecs
from orchestrator.errors import EnvironmentInvalid
from orchestrator.project.host import Host
from orchestrator.project.project import Project
from orchestrator.run.state import RunState


class BuiltImage(NamedTuple):
    name: str
    id: str


async def build(host: Host, *, base: str | None, on_line: Callable[[str], None]) -> BuiltImage:
    """`image build`: the agent image, under the name that the user's settings give it.

    The name never comes from the repository's file, so that file is not read. Raises as `build_image` does.
    """
    name = load_settings(None, environ=host.environ).settings.image.name
    return BuiltImage(name, await build_image(name=name, base=base, on_line=on_line))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunImage:
    id: str
    context: str
    """The hash of the Dockerfile's folder that it was built from; empty without a Dockerfile."""


def container_specs(project: Project, settings: Settings, *, run: str | None) -> ContainerSpecs:
    """How the containers of a run, or of a shell (None), are specified."""
    return ContainerSpecs(
        folder=project.folder,
        owner=project.workspace.tree.owner,
        state_id=project.state.id,
        run=run,
        settings=settings,
        machine=read_machine(project.host.environ),
    )


async def run_image(
    engine: ContainerEngine,
    project: Project,
    settings: Settings,
    *,
    earlier: RunState | None,
    on_line: Callable[[str], None],
) -> RunImage:
    """Find the configured image, and build what the project adds to it.

    An agent may have written to the Dockerfile's folder since the run started. A resumed run (`earlier`)
    therefore never builds from a changed folder: it uses the image that was built at its start.
    Raises EnvironmentInvalid when an image is missing or cannot be built.
    """
    name, environ = settings.image.name, project.host.environ
    base = await _require_image(engine, name)
    context = ""
    if settings.image.dockerfile is not None:
        dockerfile = project.folder / settings.image.dockerfile
        recorded = project.catalog.folder(earlier.run).build_context if earlier is not None else None
        known = recorded.read_text("utf-8") if recorded is not None and recorded.exists() else None
        context = await _choose_context(engine, base, dockerfile, known)
        name = await build_with_dockerfile(engine, base, dockerfile, context, environ, on_line)
    if settings.image.packages:
        below = await _require_image(engine, name)
        name = await build_with_packages(engine, name, below, settings.image.packages, environ, on_line)
    return RunImage(id=(await _require_image(engine, name)).id, context=context)


async def _choose_context(
    engine: ContainerEngine, base: ImageInfo, dockerfile: Path, earlier: str | None
) -> str:
    now = await asyncio.to_thread(context_hash, dockerfile)
    if not earlier or earlier == now:
        return now
    if await engine.image(name_with_dockerfile(base, earlier)) is None:
        raise EnvironmentInvalid(
            "the Dockerfile's folder has changed since the run started, and the image built from it is gone",
            where=str(dockerfile.parent),
            hint="Start a new run with the present files: orchestrator run --new PLAN",
        )
    return earlier


async def _require_image(engine: ContainerEngine, name: str) -> ImageInfo:
    found = await engine.image(name)
    if found is None:
        raise EnvironmentInvalid(f"there is no image {name}", hint="Build it: orchestrator image build")
    return found
