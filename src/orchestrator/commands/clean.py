"""`clean`: remove leftover containers, and on request what old runs keep for undoing and restoring."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.containers.base import LABEL_RUN, ContainerEngine
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.files import measure_folder, write_atomically
from orchestrator.preflight import leftovers
from orchestrator.project.compression import (
    compress_outputs,
    has_compressible,
    list_compressible,
    may_compress,
)
from orchestrator.project.host import Host
from orchestrator.project.locks import RunLock
from orchestrator.project.records import ReadRecords, read_records
from orchestrator.stored_output import measure_compressible
from orchestrator.text import describe_size, utc_text
from orchestrator.workspace.workspace import Workspace

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

LISTED_IMAGES = "listed-images"
"""The file in the state folder with the ids of images that were reported because their owner is not known."""

MOST_AGE = timedelta(days=36_500)
"""An age that is older than every run; a larger one may lead to a date before the first year."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanRequest:
    dry_run: bool = False
    """Report what would be removed, and remove nothing."""
    older_than: timedelta | None = None
    """Also remove the data of runs that ended at least this long ago."""


def parse_age(text: str) -> timedelta:
    """`30d`, `12h`, `2w`, `90m`; raises UsageError for anything else."""
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if found is None:
        raise UsageError(
            f"{text} is not a valid age",
            where="--older-than",
            hint="Use a number and a unit (m, h, d, w), for example 12h, 30d or 2w.",
        )
    return min(timedelta(**{_UNITS[found[2]]: int(found[1])}), MOST_AGE)


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
            _compress_outputs(host, records, request, say)
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


def _compress_outputs(host: Host, records: ReadRecords, request: CleanRequest, say: Say) -> None:
    """Compress what agents and gates of finished runs have printed; `logs` reads it as before."""
    runs, size = 0, 0
    for outline in records.catalog.outlines(tasks=()):
        folder = records.catalog.folder(outline.run)
        if not may_compress(outline) or not has_compressible(folder):
            continue
        if request.dry_run:
            of_run = sum(
                map(measure_compressible, list_compressible(records.catalog.run(outline.run), folder))
            )
        else:
            of_run = _compress_run(host, records, outline.run, say)
        runs, size = runs + (of_run > 0), size + of_run
    whose = f"the output of {runs} finished run{'' if runs == 1 else 's'}"
    if runs and request.dry_run:
        say(f"would compress {whose}, {describe_size(size)}")
    elif runs:
        say(f"compressed {whose}, and freed {describe_size(size)}")


def _compress_run(host: Host, records: ReadRecords, run: str, say: Say) -> int:
    """How many bytes that has freed."""
    folder = records.catalog.folder(run)
    # Held while the files are replaced: a resume would add attempts, and another `clean` the same files.
    lock = RunLock.take(folder.lock, host.clock)
    if lock is None:
        return 0
    try:
        state = records.catalog.run(run)  # as it is under the lock
        return compress_outputs(list_compressible(state, folder)) if may_compress(state) else 0
    except OSError as error:
        say(f"kept the output of run {run} as it is: {error.strerror}")
        return 0
    finally:
        lock.release()


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
    # Listed once: their owner is not known, so the user cannot do more about them at the next `clean`.
    listed = records.state.path / LISTED_IMAGES
    known = set(listed.read_text("utf-8").split()) if listed.is_file() else set()
    unlabelled = await leftovers.list_unlabelled_images(engine)
    for image in (each for each in unlabelled if each.id not in known):
        say(f"kept the image {', '.join(image.names)}: an earlier version made it and did not say for whom")
    if not request.dry_run:
        write_atomically(listed, "\n".join(sorted(each.id for each in unlabelled)).encode())
