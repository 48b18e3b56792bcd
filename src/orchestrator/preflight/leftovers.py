"""Remove what is over: containers by the journal, and on request what old runs keep beside their evidence."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

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
from orchestrator.gates.setup_image import LABEL_SETUP, REPOSITORY
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.phase import has_ended_for_good
from orchestrator.run.state import RunState
from orchestrator.supervision.cleanup import FoundContainer, is_over


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    over: tuple[ContainerState, ...]
    """Ours, and nobody needs them."""
    kept: tuple[ContainerState, ...]
    """Ours, of runs that may go on."""
    foreign: tuple[ContainerState, ...]
    """Of state folders that are not ours."""


async def look(engine: ContainerEngine, state_id: str, catalog: RunCatalog) -> Containers:
    """All containers with our labels, sorted by what may happen to them."""
    runs: dict[str, RunState] = {state.run: state for state in catalog.all()}
    over, kept, foreign = [], [], []
    for container in await engine.list({LABEL_KIND: None}):
        if not container.labels[LABEL_KIND]:
            continue  # somebody's own, started from an image of ours
        if container.labels.get(LABEL_STATE) != state_id:
            foreign.append(container)
        elif is_over(_found(container), runs):
            over.append(container)
        else:
            kept.append(container)
    return Containers(over=tuple(over), kept=tuple(kept), foreign=tuple(foreign))


async def remove(engine: ContainerEngine, containers: Iterable[ContainerState]) -> None:
    for container in containers:
        await engine.remove(container.id)


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
    unfinished = (state.run for state in catalog.all() if not has_ended_for_good(state))
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
