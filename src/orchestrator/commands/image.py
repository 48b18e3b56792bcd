"""The image that a run's containers start from, and how these containers are specified."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.clock import Clock
from orchestrator.commands.request import StartOptions
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
from orchestrator.engine.heartbeat import Heartbeat, report_signs_of_life
from orchestrator.errors import EnvironmentInvalid
from orchestrator.preflight.authors import reason_to_keep_image
from orchestrator.project.host import Host
from orchestrator.project.project import Project
from orchestrator.project.stored_terms import RunImageTerms, read_context, read_terms
from orchestrator.run.facts import StillRunning
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
    stored: RunImageTerms
    context: str
    """The hash of the Dockerfile's folder that it was built from; empty without a Dockerfile."""

    @property
    def id(self) -> str:
        return self.stored.id


class KeptImage(NamedTuple):
    """The image that a resumed run has used so far."""

    stored: RunImageTerms | None
    """None for a run of a version that did not store it."""
    context: str


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


class ChosenImage(NamedTuple):
    image: RunImage
    changes: tuple[str, ...] = ()
    """How the current image differs from that of a resumed run, a line for each difference."""
    notices: tuple[str, ...] = ()


async def choose_image(
    engine: ContainerEngine,
    project: Project,
    settings: Settings,
    earlier: RunState | None,
    given: StartOptions,
) -> ChosenImage:
    """The image of a new run, or of a resumed one: its own, or with `--take-config` the current one.

    Raises as `run_image` does, and ConfigurationError when the current one would be built from a Dockerfile
    that an attempt has changed.
    """
    async with show_building(project.host.clock, note=given.warn, pass_on=given.progress) as on_line:
        return await _choose_image(engine, project, settings, earlier, given, on_line)


@asynccontextmanager
async def show_building(
    clock: Clock, *, note: Callable[[str], object], pass_on: Callable[[str], object]
) -> AsyncIterator[Callable[[str], None]]:
    """Gives a function for the lines of a build: it passes each on, and notes now and then that it lasts."""
    beat, beating = Heartbeat(clock), list[asyncio.Task[None]]()

    async def show(sign: StillRunning) -> None:
        note(f"{sign.what}, {sign.seconds:.0f} s" + (f": {sign.text}" if sign.text else ""))

    def on_line(line: str) -> None:
        if not beating:
            beat.begin("building the image")
            beating.append(asyncio.create_task(report_signs_of_life(clock, beat, show)))
        beat.note_output(f"{line}\n".encode("utf-8", "replace"))
        pass_on(line)

    try:
        yield on_line
    finally:
        for task in beating:
            task.cancel()
        await asyncio.gather(*beating, return_exceptions=True)


async def _choose_image(
    engine: ContainerEngine,
    project: Project,
    settings: Settings,
    earlier: RunState | None,
    given: StartOptions,
    on_line: Callable[[str], None],
) -> ChosenImage:
    if earlier is None:
        return ChosenImage(await run_image(engine, project, settings, kept=None, on_line=on_line))
    terms = project.catalog.folder(earlier.run).terms(earlier.terms_stored)
    stored = read_terms(terms)
    kept = KeptImage(None if stored is None else stored.image, read_context(terms))
    changes = await _list_changes(engine, project, settings, kept)
    if given.take_config:
        reason = await _reason_to_keep(project, settings, earlier, kept)
        if reason is None:
            for change in changes:
                given.warn(f"taken: {change}")
            image = await run_image(engine, project, settings, kept=None, on_line=on_line)
            return ChosenImage(image, changes)
        image = await run_image(engine, project, settings, kept=kept, on_line=on_line)
        return ChosenImage(image, notices=(reason,))
    image = await run_image(engine, project, settings, kept=kept, on_line=on_line)
    is_gone = kept.stored is not None and kept.stored != image.stored
    gone = (
        "the image of this run no longer exists or was built with other settings; "
        "the run continues with the current image"
    )
    return ChosenImage(image, changes, (gone,) if is_gone else ())


async def _reason_to_keep(
    project: Project, settings: Settings, earlier: RunState, kept: KeptImage
) -> str | None:
    if settings.image.dockerfile is None or not kept.context:
        return None
    dockerfile = project.folder / settings.image.dockerfile
    if not dockerfile.is_relative_to(project.folder):
        return None  # no agent can write there
    if await asyncio.to_thread(context_hash, dockerfile) == kept.context:
        return None
    return await reason_to_keep_image(project, earlier, dockerfile.relative_to(project.folder).as_posix())


async def run_image(
    engine: ContainerEngine,
    project: Project,
    settings: Settings,
    *,
    kept: KeptImage | None,
    on_line: Callable[[str], None],
) -> RunImage:
    """Find the configured image, and build what the project adds to it.

    A resumed run (`kept`) uses its image again as long as that exists, even if its name now refers to another
    image. An agent may have written to the Dockerfile's folder since the run started, so nothing is built
    from a changed folder then. Raises EnvironmentInvalid when an image is missing or cannot be built.
    """
    image = settings.image
    made_of = (image.name, str(image.dockerfile or ""), *image.packages)
    if kept is not None and await _is_usable(engine, kept, made_of):
        assert kept.stored is not None
        return RunImage(stored=kept.stored, context=kept.context)
    name, environ, state_id = settings.image.name, project.host.environ, project.state.id
    base = await require_image(engine, name)
    context = ""
    if settings.image.dockerfile is not None:
        dockerfile = project.folder / settings.image.dockerfile
        context = await _choose_context(engine, base, dockerfile, None if kept is None else kept.context)
        name = await build_with_dockerfile(engine, base, dockerfile, context, state_id, environ, on_line)
    if settings.image.packages:
        below = await require_image(engine, name)
        packages = settings.image.packages
        name = await build_with_packages(engine, name, below, packages, state_id, environ, on_line)
    found = RunImageTerms(id=(await require_image(engine, name)).id, base=base.id, made_of=made_of)
    return RunImage(stored=found, context=context)


async def _list_changes(
    engine: ContainerEngine, project: Project, settings: Settings, kept: KeptImage
) -> tuple[str, ...]:
    """How the current image differs from that of a resumed run, apart from its settings; a line for each."""
    found = []
    if kept.stored is not None:
        now = await engine.image(settings.image.name)
        if now is not None and now.id != kept.stored.base:
            before, after = _shorten_id(kept.stored.base), _shorten_id(now.id)
            found.append(f"image {settings.image.name}: {before} -> {after}")
    if settings.image.dockerfile is not None and kept.context:
        dockerfile = project.folder / settings.image.dockerfile
        if await asyncio.to_thread(context_hash, dockerfile) != kept.context:
            found.append(f"image.dockerfile: the files in the folder of {settings.image.dockerfile}")
    return tuple(found)


async def _is_usable(engine: ContainerEngine, kept: KeptImage, made_of: tuple[str, ...]) -> bool:
    """Whether the image exists, and no flag asks for another one now."""
    if kept.stored is None or kept.stored.made_of != made_of:
        return False
    return await engine.image(kept.stored.id) is not None


def _shorten_id(id: str) -> str:
    return id.removeprefix("sha256:")[:12]


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
            hint="Use the current files: orchestrator resume --take-config\n"
            "Or start a new run with them: orchestrator run --new PLAN",
        )
    return earlier


async def require_image(engine: ContainerEngine, name: str) -> ImageInfo:
    """The image of this name. Raises EnvironmentInvalid if it has not been built."""
    found = await engine.image(name)
    if found is None:
        raise EnvironmentInvalid(f"there is no image {name}", hint="Build it: orchestrator image build")
    return found
