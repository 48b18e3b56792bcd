"""What earlier runs left: containers, and on request what old runs keep beside their evidence."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.containers.base import (
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_RUN,
    LABEL_STATE,
    LABEL_TASK,
    ContainerEngine,
    ContainerState,
    StoredImage,
)
from orchestrator.errors import EnvironmentInvalid
from orchestrator.gates.setup_image import LABEL_SETUP, REPOSITORY
from orchestrator.preflight.site import Finding, Site, passed
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.locks import RunLock
from orchestrator.project.project import Project
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.phase import has_ended_for_good
from orchestrator.run.state import RunState
from orchestrator.supervision.cleanup import FoundContainer, is_leftover


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    over: tuple[ContainerState, ...]
    """Ours, and nobody needs them."""
    kept: tuple[ContainerState, ...]
    """Ours, of runs that may go on."""
    foreign: tuple[ContainerState, ...]
    """Of state folders that are not ours."""


async def list_containers(engine: ContainerEngine, state_id: str, catalog: RunCatalog) -> Containers:
    """All containers with our labels, sorted by what may happen to them."""
    # Without a kind: somebody's own, started from an image of ours.
    ours = [each for each in await engine.list({LABEL_KIND: None}) if each.labels[LABEL_KIND]]
    runs = catalog.known(each.labels.get(LABEL_RUN, "") for each in ours)
    over, kept, foreign = [], [], []
    for container in ours:
        if container.labels.get(LABEL_STATE) != state_id:
            foreign.append(container)
        elif is_leftover(_found(container), runs):
            over.append(container)
        else:
            kept.append(container)
    return Containers(over=tuple(over), kept=tuple(kept), foreign=tuple(foreign))


async def look_for_living_containers(site: Site) -> Finding:
    """No container of another run, or of another state folder, may be at work in this folder."""
    folder = site.host.current_folder()
    await refuse_living_containers(
        await site.engine(), folder, run=site.planned.run if site.planned is not None else None
    )
    return passed("none is at work in this folder")


async def refuse_living_containers(engine: ContainerEngine, folder: Path, *, run: str | None) -> None:
    """Raises EnvironmentInvalid for a container that works in the folder and is not of this run."""
    for container in await engine.list({LABEL_KIND: None}):
        here = str(folder) in container.mount_sources and container.labels[LABEL_KIND]
        other = container.labels.get(LABEL_RUN)
        if not here or container.status != "running" or (run is not None and other == run):
            continue
        hint = f"docker rm -f {container.name}"
        if other:
            hint = f"orchestrator resume {other}, or orchestrator cancel {other}; else {hint}"
        raise EnvironmentInvalid(
            f"the container {container.name} is at work in this folder", where=str(folder), hint=hint
        )


async def remove(engine: ContainerEngine, containers: Iterable[ContainerState]) -> None:
    for container in containers:
        await engine.remove(container.id)


async def remove_ended(engine: ContainerEngine, project: Project) -> None:
    """Remove our containers that nobody needs any more."""
    found = await list_containers(engine, project.state.id, project.catalog)
    await remove(engine, found.over)


async def remove_unrecorded(project: Project, *, besides: str) -> None:
    """Remove what starts left that were killed before their run's first fact, but not this start's own.

    The folder of such a run is in no journal. Whoever starts a run holds the lock in its folder until after
    the first fact, so the journal is asked once more with that lock held.
    """
    for run in project.catalog.unrecorded():
        folder = project.catalog.folder(run)
        lock = RunLock.take(folder.lock, project.host.clock) if run != besides else None
        if lock is None:
            continue
        try:
            if not project.journal.state_facts(run):
                await project.workspace.forget(run)
                shutil.rmtree(folder.root)
        finally:
            lock.release()


def remove_scratch(folder: RunFolder) -> None:
    """Remove what setup and gates of a killed owner were made from; needs the run's lock."""
    shutil.rmtree(folder.gates, ignore_errors=True)


def _found(container: ContainerState) -> FoundContainer:
    number = container.labels.get(LABEL_ATTEMPT, "")
    return FoundContainer(
        name=container.name,
        kind=container.labels[LABEL_KIND],
        run=container.labels.get(LABEL_RUN),
        task=container.labels.get(LABEL_TASK),
        attempt=int(number) if number.isdigit() else None,
        ended=container.status in ("exited", "dead"),
    )


async def old_images(
    engine: ContainerEngine, state_id: str, catalog: RunCatalog, before: datetime
) -> tuple[StoredImage, ...]:
    """Setup images of ours that were made before a moment and that no run needs to go on.

    One to which somebody gave a name of their own is not among them.
    """
    unfinished = (state.run for state in catalog.outlines(tasks=()) if not has_ended_for_good(state))
    needed = {image for run in unfinished for image in catalog.images(run)}
    found = await engine.images({LABEL_SETUP: None, LABEL_STATE: state_id})
    return tuple(
        image
        for image in found
        if image.made < before
        and image.id not in needed
        and all(name.startswith(f"{REPOSITORY}:") for name in image.names)
    )


async def remove_image(engine: ContainerEngine, image: StoredImage) -> bool:
    """Whether nothing of it is left; what a container or another image needs stays."""
    return all([await engine.remove_image(name) for name in image.names or (image.id,)])


def old_runs(states: Iterable[RunState], before: str) -> tuple[RunState, ...]:
    """Runs that were completed or cancelled before a moment (ISO 8601, UTC)."""
    return tuple(
        state
        for state in states
        if has_ended_for_good(state) and state.ended_at is not None and state.ended_at < before
    )


def remove_private_folders(folder: RunFolder) -> None:
    """Git directories and HOMEs of a run's attempts; transcripts and evidence stay."""
    for attempt in (folder.root / "attempts").glob("*/*"):
        for name in ("in", "out", "home", "git", "moved-away"):
            shutil.rmtree(attempt / name, ignore_errors=True)
