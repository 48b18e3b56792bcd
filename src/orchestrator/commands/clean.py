"""`clean`: containers that are over, and on request what old runs keep so that it can be had back."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.clock import utc_text
from orchestrator.containers.base import LABEL_RUN, ContainerEngine
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.journal.journal import Journal
from orchestrator.preflight import leftovers
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.host import Host
from orchestrator.run.state import RunState
from orchestrator.state_folder import StateFolder, open_state_folder
from orchestrator.workspace.workspace import Workspace

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Say = Callable[[str], None]


def parse_age(text: str) -> timedelta:
    """`30d`, `12h`, `2w`, `90m`; raises UsageError for anything else."""
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if found is None:
        raise UsageError(f"{text} is no age", where="--older-than", hint="Write 12h, 30d or 2w.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


async def clean(host: Host, *, dry_run: bool, older_than: timedelta | None, say: Say) -> None:
    """Remove what is over and say each thing; with `dry_run` say it only."""
    state = open_state_folder(host.environ)
    journal = Journal.open(state.path / "journal.sqlite", host.clock)
    try:
        catalog = RunCatalog(state=state.path, journal=journal, here=host.folder)
        async with host.connect_engine() as engine:
            await _clean_containers(engine, state, catalog, dry_run=dry_run, say=say)
            if older_than is not None:
                before = host.clock.now() - older_than
                await _clean_old(engine, host.environ, state, catalog, before, dry_run=dry_run, say=say)
    finally:
        journal.close()


async def _clean_containers(
    engine: ContainerEngine, state: StateFolder, catalog: RunCatalog, *, dry_run: bool, say: Say
) -> None:
    found = await leftovers.look(engine, state.id, catalog)
    verb = "would remove" if dry_run else "removed"
    if not dry_run:
        await leftovers.remove(engine, found.over)
    for container in found.over:
        say(f"{verb} the container {container.name}")
    for container in found.kept:
        whose = (
            "its run is not over"
            if container.labels.get(LABEL_RUN)
            else "a shell by hand (docker rm -f ends it)"
        )
        say(f"kept the container {container.name}: {whose}")
    for container in found.foreign:
        say(f"not ours: docker rm -f {container.name}")
    if not (found.over or found.kept or found.foreign):
        say("no containers")


async def _clean_old(
    engine: ContainerEngine,
    environ: Mapping[str, str],
    state: StateFolder,
    catalog: RunCatalog,
    before: datetime,
    dry_run: bool,
    say: Say,
) -> None:
    for run in leftovers.old_runs(catalog.all(), utc_text(before)):
        await _clean_run(environ, state, catalog, run, dry_run=dry_run, say=say)
    for image in await leftovers.old_images(engine, state.id, catalog, before):
        name = ", ".join(image.names) or image.id
        if dry_run:
            say(f"would remove the image {name}")
        elif await leftovers.remove_image(engine, image):
            say(f"removed the image {name}")
        else:
            say(f"kept the image {name}: something was made from it")


async def _clean_run(
    environ: Mapping[str, str],
    state: StateFolder,
    catalog: RunCatalog,
    run: RunState,
    *,
    dry_run: bool,
    say: Say,
) -> None:
    """Drop what could bring a run's work back: candidates, saved trees, git directories, the pinned base."""
    if dry_run:
        say(f"would drop candidates, saved trees and private folders of run {run.run}")
        return
    try:
        workspace = await Workspace.open(
            Path(run.start.folder), repositories=state.path / "repositories", environ=environ
        )
        await workspace.forget(run.run)
    except OrchestratorError as error:
        say(f"kept what run {run.run} has in {run.start.folder}: {error.what}")
        return
    leftovers.remove_private_folders(catalog.folder(run.run))
    say(f"dropped candidates, saved trees and private folders of run {run.run}")
