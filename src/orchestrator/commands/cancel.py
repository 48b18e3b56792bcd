"""`cancel`: stop a run for good and keep its commits."""

from functools import partial
from pathlib import Path
from sqlite3 import IntegrityError

from msgspec.structs import replace

from orchestrator.commands.undo import stop_work
from orchestrator.errors import FolderBusy, OrchestratorError
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.host import Host
from orchestrator.project.locks import RunLock
from orchestrator.project.project import opened_project
from orchestrator.project.records import OpenRecords, opened_records
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.endings import run_ended
from orchestrator.run.facts import CancelRequested
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import is_unfinished

OWNER_STOPS_SECONDS = 60.0
POLL_SECONDS = 0.2


async def cancel(host: Host, wanted: str) -> RunState:
    """The living owner of the run stops as with ^C; without one its containers are removed here."""
    with opened_records(host) as records:
        state = records.catalog.named(wanted)
        if not is_unfinished(state):
            return state
        await _request_cancel(records, state)
        lock = await _lock_in_time(host, records.catalog, state.run)
        try:
            await _end_without_owner(host, records, state.run)
        finally:
            lock.release()
        return records.catalog.run(state.run)


async def _request_cancel(records: OpenRecords, state: RunState) -> None:
    try:
        await records.journal.append(state.run, CancelRequested(), key=f"{state.epoch}")
    except IntegrityError:
        pass  # requested before


async def _end_without_owner(host: Host, records: OpenRecords, run: str) -> None:
    """With the run's lock held: what its owner would have done, unless it has."""
    state = records.catalog.run(run)
    if state.end is not None and state.end.status == "cancelled":
        return
    await _stop_work(host, records, state)
    await records.journal.append(run, run_ended("cancelled", "cancelled"))


async def _lock_in_time(host: Host, catalog: RunCatalog, run: str) -> RunLock:
    """The run's lock, once its living owner has stopped."""
    for _ in range(int(OWNER_STOPS_SECONDS / POLL_SECONDS)):
        lock = RunLock.take(catalog.folder(run).lock, host.clock)
        if lock is not None:
            return lock
        await host.clock.sleep(POLL_SECONDS)
    owner = catalog.owner(run)
    who = "its owner" if owner is None else f"process {owner.pid}"
    raise FolderBusy(
        f"{who} has not stopped for {OWNER_STOPS_SECONDS:g} s",
        hint="The request stays; try again, or stop the process.",
    )


async def _stop_work(host: Host, records: OpenRecords, state: RunState) -> None:
    """What an attempt left in the code folder is saved, if the folder is there and nobody works in it.

    A lock on the index that the killed owner left is removed: it would stop every git command of the user's.
    """
    journal = RunJournal(records.journal, state)
    stop = partial(
        stop_work, host, journal, state_id=records.state.id, folder=records.catalog.folder(state.run)
    )
    try:
        async with opened_project(replace(host, folder=Path(state.start.folder))) as project:
            with project.folder_lock(state.run):
                project.remove_stale_index_lock()
                await stop(workspace=project.workspace)
    except OrchestratorError:
        await stop(workspace=None)
