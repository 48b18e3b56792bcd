"""Finds and removes leftovers of earlier runs: containers, scratch folders, and the data of old runs."""

import asyncio
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.containers import project_image
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
from orchestrator.containers.project_image import LABEL_PROJECT
from orchestrator.errors import EnvironmentInvalid
from orchestrator.files import measure_folder
from orchestrator.gates import evidence
from orchestrator.gates.setup_image import LABEL_SETUP, REPOSITORY
from orchestrator.preflight.site import Finding, Site, report_passed
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.locks import RunLock
from orchestrator.project.project import Project
from orchestrator.project.run_folder import RunFolder
from orchestrator.project.stored_terms import read_terms
from orchestrator.run.phase import has_ended_for_good
from orchestrator.run.state import RunState
from orchestrator.state_folder import state_folder
from orchestrator.supervision.choose_run import is_unfinished
from orchestrator.supervision.cleanup import FoundContainer, is_leftover
from orchestrator.text import describe_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    ended: tuple[ContainerState, ...]
    """Of our state folder, and no longer needed."""
    kept: tuple[ContainerState, ...]
    """Of our state folder, and needed: of runs that may be resumed, or a shell."""
    foreign: tuple[ContainerState, ...]
    """Of other state folders."""


async def list_containers(engine: ContainerEngine, state_id: str, catalog: RunCatalog) -> Containers:
    """All containers with our labels, by whether they can be removed."""
    # Without a kind: the user started it from one of our images and it inherited the image's labels.
    ours = [each for each in await engine.list({LABEL_KIND: None}) if each.labels[LABEL_KIND]]
    runs = catalog.find_existing(each.labels.get(LABEL_RUN, "") for each in ours)
    ended, kept, foreign = [], [], []
    for container in ours:
        if container.labels.get(LABEL_STATE) != state_id:
            foreign.append(container)
        elif is_leftover(_describe_container(container), runs):
            ended.append(container)
        else:
            kept.append(container)
    return Containers(ended=tuple(ended), kept=tuple(kept), foreign=tuple(foreign))


async def check_living_containers(site: Site) -> Finding:
    """No container of another run, or of another state folder, may be at work in this folder."""
    folder = site.host.current_folder()
    await refuse_living_containers(
        await site.engine(), folder, run=site.planned.run if site.planned is not None else None
    )
    return report_passed("no other container works in this folder")


_AT_WORK = ("running", "paused", "restarting")


async def refuse_living_containers(engine: ContainerEngine, folder: Path, *, run: str | None) -> None:
    """Raises EnvironmentInvalid for a container that works in the folder and is not of this run."""
    for container in await engine.list({LABEL_KIND: None}):
        here = str(folder) in container.mount_sources and container.labels[LABEL_KIND]
        other = container.labels.get(LABEL_RUN)
        if not here or container.status not in _AT_WORK or (run is not None and other == run):
            continue
        hint = f"To remove the container: docker rm -f {container.name}"
        if other:
            ways = f"orchestrator resume {other}, or orchestrator cancel {other}"
            hint = f"Continue or stop its run: {ways}. {hint}"
        raise EnvironmentInvalid(
            f"the container {container.name} works in this folder", where=str(folder), hint=hint
        )


async def remove_ended(engine: ContainerEngine, project: Project) -> None:
    """Remove containers of our state folder that are no longer needed."""
    found = await list_containers(engine, project.state.id, project.catalog)
    for container in found.ended:
        await engine.remove(container.id)


async def remove_unrecorded(project: Project, *, besides: str) -> None:
    """Remove the folders of runs in this code folder whose start was killed before the run's first fact.

    That the journal does not know a run proves nothing: the user may have moved a damaged journal away or
    restored an older one, and the folder then holds the only evidence and transcripts of work that was paid
    for. So only a folder that says itself that its start has not finished is removed. Another process may be
    starting the run right now: it holds the run's lock until after the first fact. So the lock is taken
    first, and then the journal is asked once more.
    """
    for run in project.catalog.list_unrecorded():
        folder = project.catalog.folder(run)
        if run == besides or not _is_start_in(project, folder):
            continue
        lock = RunLock.take(folder.lock, project.host.clock)
        if lock is None:
            continue
        try:
            if _is_start_in(project, folder) and not project.journal.state_facts(run):
                await project.workspace.forget(run)
                shutil.rmtree(folder.root)
        finally:
            lock.release()


def _is_start_in(project: Project, folder: RunFolder) -> bool:
    """Whether the folder is that of an unfinished start of a run in this code folder.

    One that holds nothing but the lock was killed before it could say so.
    """
    if {path.name for path in folder.root.iterdir()} == {folder.lock.name}:
        return True
    return folder.starting.is_file() and folder.starting.read_bytes() == os.fsencode(project.folder)


def remove_scratch(folder: RunFolder) -> None:
    """Remove the scratch folders of a killed owner's setup and gates; requires the run's lock."""
    shutil.rmtree(folder.gates, ignore_errors=True)
    evidence.remove_drafts(folder.evidence)


def _describe_container(container: ContainerState) -> FoundContainer:
    number = container.labels.get(LABEL_ATTEMPT, "")
    return FoundContainer(
        name=container.name,
        kind=container.labels[LABEL_KIND],
        run=container.labels.get(LABEL_RUN),
        task=container.labels.get(LABEL_TASK),
        attempt=int(number) if number.isdigit() else None,
        ended=container.status in ("exited", "dead"),
    )


async def find_old_images(
    engine: ContainerEngine, state_id: str, catalog: RunCatalog, before: datetime
) -> tuple[StoredImage, ...]:
    """Our setup and project images that were made before a moment and that no unfinished run needs.

    The newest come first, because it may be made from an older one. An image to which the user gave another
    name is not among them.
    """
    needed: set[str] = set()
    for outline in catalog.outlines(tasks=()):
        if is_unfinished(outline):
            needed |= catalog.setup_images(outline.run) | _list_run_images(catalog, outline.run)
    setups = await engine.images({LABEL_SETUP: None, LABEL_STATE: state_id})
    of_projects = await engine.images({LABEL_PROJECT: state_id})
    found = {
        *(each for each in setups if _is_named(each, REPOSITORY)),
        *(each for each in of_projects if each.names and _is_named(each, project_image.REPOSITORY)),
    }
    old = [image for image in found if image.made < before and image.id not in needed]
    return tuple(sorted(old, key=lambda image: image.made, reverse=True))


async def list_unlabelled_images(engine: ContainerEngine) -> tuple[StoredImage, ...]:
    """Project images of earlier versions, which did not say whose they are."""
    known = {image.id for image in await engine.images({LABEL_PROJECT: None})}
    found = await engine.images({})
    return tuple(
        image
        for image in found
        if image.id not in known and image.names and _is_named(image, project_image.REPOSITORY)
    )


async def check_storage(site: Site) -> Finding:
    """Reports the size of the state folder and of the images that runs made; `clean` frees it."""
    state = state_folder(site.host.environ)
    size = await asyncio.to_thread(measure_folder, state)
    images = await (await site.engine()).images({})
    base = next((each.size for each in images if site.loaded.settings.image.name in each.names), 0)
    ours = [
        each
        for each in images
        if each.names and (_is_named(each, REPOSITORY) or _is_named(each, project_image.REPOSITORY))
    ]
    on_top = sum(max(each.size - base, 0) for each in ours)
    counted = f"{len(ours)} image{'' if len(ours) == 1 else 's'} of setup and projects"
    return report_passed(
        f"{describe_size(size)} in {state}; {describe_size(on_top)} in {counted} "
        "(to free what is old: orchestrator clean --older-than 30d)"
    )


def _is_named(image: StoredImage, repository: str) -> bool:
    return all(name.startswith(f"{repository}:") for name in image.names)


def _list_run_images(catalog: RunCatalog, run: str) -> frozenset[str]:
    """The image that a run's containers start from, and the one below it."""
    terms = read_terms(catalog.folder(run).terms(catalog.run(run).terms_stored))
    return frozenset() if terms is None else frozenset((terms.image.id, terms.image.base))


async def remove_image(engine: ContainerEngine, image: StoredImage) -> bool:
    """Whether the image is gone; one that a container or another image needs stays."""
    return all([await engine.remove_image(name) for name in image.names or (image.id,)])


def find_old_runs(states: Iterable[RunState], before: str) -> tuple[RunState, ...]:
    """Runs that were completed or cancelled before a moment (ISO 8601, UTC)."""
    return tuple(
        state
        for state in states
        if has_ended_for_good(state) and state.ended_at is not None and state.ended_at < before
    )


def is_cleaned(folder: RunFolder, state: RunState) -> bool:
    """Whether `clean` has removed the run's data, and nothing has happened in the run since."""
    return folder.cleaned.is_file() and folder.cleaned.read_text("utf-8") == str(state.last_n)


def mark_cleaned(folder: RunFolder, state: RunState) -> None:
    if folder.root.is_dir():
        folder.cleaned.write_text(str(state.last_n), "utf-8")


def remove_private_folders(folder: RunFolder) -> None:
    """Git directories and HOMEs of a run's attempts; transcripts and evidence stay."""
    for attempt in (folder.root / "attempts").glob("*/*"):
        for name in ("in", "out", "home", "git", "moved-away"):
            shutil.rmtree(attempt / name, ignore_errors=True)
