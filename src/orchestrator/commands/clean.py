"""`clean`: remove leftover containers, and on request what old runs keep for undoing and restoring."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.containers.base import LABEL_RUN, ContainerEngine
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.files import measure_folder
from orchestrator.preflight import leftovers
from orchestrator.project.host import Host
from orchestrator.project.locks import RunLock
from orchestrator.project.records import ReadRecords, read_records
from orchestrator.text import describe_size, utc_text
from orchestrator.workspace.workspace import Workspace

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanRequest:
    dry_run: bool = False
    """Report what would be removed, and remove nothing."""
    older_than: timedelta | None = None
    """Also remove the data of runs that ended at least this long ago."""


def parse_age(text: str) -> timedelta:
    """`30d`, `12h`, `2w`, `90m`; raises UsageError for anything else."""
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if found is None:
        raise UsageError(
            f"{text} is not a valid age",
            where="--older-than",
            hint="Use a number and a unit (m, h, d, w), for example 12h, 30d or 2w.",
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


async def clean(host: Host, request: CleanRequest, *, say: Say) -> None:
    """Remove what is no longer needed, and report each thing with `say`."""
    with read_records(host) as records:
        async with host.connect_engine() as engine:
            await _clean_containers(engine, records, request, say)
            if not request.dry_run:
                # A run whose lock is free has no living owner, so its scratch folder is a leftover.
                for scratch in (records.state.path / "runs").glob("*/gates"):
                    folder = records.catalog.folder(scratch.parent.name)
                    lock = RunLock.take(folder.lock, host.clock)
                    if lock is not None:
                        leftovers.remove_scratch(folder)
                        lock.release()
            if request.older_than is not None:
                before = host.clock.now() - request.older_than
                await _clean_runs(host, records, before, request, say)
                await _clean_images(engine, records, before, request, say)


async def _clean_containers(
    engine: ContainerEngine, records: ReadRecords, request: CleanRequest, say: Say
) -> None:
    found = await leftovers.list_containers(engine, records.state.id, records.catalog)
    verb = "would remove" if request.dry_run else "removed"
    for container in found.ended:
        if not request.dry_run:
            await engine.remove(container.id)
        say(f"{verb} the container {container.name}")
    for container in found.kept:
        whose = (
            "its run can be resumed"
            if container.labels.get(LABEL_RUN)
            else f"it is an open shell (to remove it: docker rm -f {container.name})"
        )
        say(f"kept the container {container.name}: {whose}")
    for container in found.foreign:
        # Another user may be at work in it, so no command here would end it.
        removal = "" if container.status == "running" else f" (to remove it: docker rm {container.name})"
        say(f"kept the container {container.name}: it belongs to another state folder{removal}")
    if not (found.ended or found.kept or found.foreign):
        say("no containers")


async def _clean_runs(
    host: Host, records: ReadRecords, before: datetime, request: CleanRequest, say: Say
) -> None:
    """Remove what could restore a run's work: candidates, saved trees, git directories, the pinned base."""
    freed = 0
    for run in leftovers.find_old_runs(records.catalog.outlines(tasks=()), utc_text(before)):
        kept = records.catalog.folder(run.run)
        if leftovers.is_cleaned(kept, run):
            continue
        if request.dry_run:
            say(f"would remove candidates, saved trees and private folders of run {run.run}")
            continue
        try:
            folder, repositories = Path(run.start.folder), records.state.repositories
            workspace = await Workspace.open(
                folder, repositories=repositories, environ=host.environ, clock=host.clock
            )
            await workspace.forget(run.run)
        except OrchestratorError as error:
            say(f"kept the data of run {run.run} in {run.start.folder}: {error.what}")
            continue
        size = measure_folder(kept.root)
        leftovers.remove_private_folders(kept)
        freed += size - measure_folder(kept.root)
        leftovers.mark_cleaned(kept, run)
        say(f"removed candidates, saved trees and private folders of run {run.run}")
    if freed:
        say(f"freed {describe_size(freed)} in the state folder")


async def _clean_images(
    engine: ContainerEngine, records: ReadRecords, before: datetime, request: CleanRequest, say: Say
) -> None:
    old = await leftovers.find_old_images(engine, records.state.id, records.catalog, before)
    size = await engine.disk_bytes() if old and not request.dry_run else 0
    for image in old:
        name = ", ".join(image.names) or image.id
        if request.dry_run:
            say(f"would remove the image {name}")
        elif await leftovers.remove_image(engine, image):
            say(f"removed the image {name}")
        else:
            say(f"kept the image {name}: a container or another image uses it")
    freed = size - await engine.disk_bytes() if size else 0
    if freed > 0:
        say(f"freed {describe_size(freed)} of images")
    for image in await leftovers.list_unlabelled_images(engine):
        say(f"kept the image {', '.join(image.names)}: an earlier version made it and did not say for whom")
