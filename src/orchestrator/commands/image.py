"""The image a run works in: the agent image, with the project's own needs on top."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.config import Settings, load_settings
from orchestrator.containers.base import ContainerEngine, ImageInfo
from orchestrator.containers.images import build_image
from orchestrator.containers.project_image import (
    build_with_dockerfile,
    build_with_packages,
    context_hash,
    name_with_dockerfile,
)
from orchestrator.errors import EnvironmentInvalid
from orchestrator.project.host import Host


class BuiltImage(NamedTuple):
    name: str
    id: str


async def build(host: Host, *, base: str | None, on_line: Callable[[str], None]) -> BuiltImage:
    """`image build`: the agent image, under the name that the user's settings give it.

    The repository's file has no say in it, so it is not read. Raises as `build_image` does.
    """
    name = load_settings(None, environ=host.environ).settings.image.name
    return BuiltImage(name, await build_image(name=name, base=base, on_line=on_line))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunImage:
    id: str
    context: str
    """The hash of the Dockerfile's folder that it was built from; empty without a Dockerfile."""


async def run_image(
    engine: ContainerEngine,
    folder: Path,
    settings: Settings,
    *,
    earlier_context: str | None,
    environ: Mapping[str, str],
    on_line: Callable[[str], None],
) -> RunImage:
    """Look the image up, and build what the project adds to it.

    `earlier_context` is what the run was begun with, None for a new one. An agent may have written to the
    Dockerfile's folder since, so what lies there then is built only when it is still the same.
    Raises EnvironmentInvalid when there is no image, or none can be built.
    """
    name = settings.image.name
    base = await _required(engine, name)
    context = ""
    if settings.image.dockerfile is not None:
        dockerfile = folder / settings.image.dockerfile
        context = await _context(engine, base, dockerfile, earlier_context)
        name = await build_with_dockerfile(engine, base, dockerfile, context, environ, on_line)
    if settings.image.packages:
        below = await _required(engine, name)
        name = await build_with_packages(engine, name, below, settings.image.packages, environ, on_line)
    return RunImage(id=(await _required(engine, name)).id, context=context)


async def _context(engine: ContainerEngine, base: ImageInfo, dockerfile: Path, earlier: str | None) -> str:
    now = await asyncio.to_thread(context_hash, dockerfile)
    if not earlier or earlier == now:
        return now
    if await engine.image(name_with_dockerfile(base, earlier)) is None:
        raise EnvironmentInvalid(
            "what the image was built from has changed since the run started, and the image is gone",
            where=str(dockerfile.parent),
            hint="Start over with what is there now: orchestrator run --new PLAN",
        )
    return earlier


async def _required(engine: ContainerEngine, name: str) -> ImageInfo:
    found = await engine.image(name)
    if found is None:
        raise EnvironmentInvalid(f"there is no image {name}", hint="Build it: orchestrator image build")
    return found
