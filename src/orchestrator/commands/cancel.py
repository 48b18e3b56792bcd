"""`cancel`: stop a run for good and keep its commits."""

from pathlib import Path
from sqlite3 import IntegrityError
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.commands.undo import list_lost, refuse_lost, stop_work
from orchestrator.errors import FolderBusy, OrchestratorError
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.host import Host
from orchestrator.project.locks import RunLock
from orchestrator.project.project import open_project
from orchestrator.project.records import OpenRecords, open_records
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.endings import run_ended_fact
from orchestrator.run.facts import CancelRequested
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import is_unfinished

OWNER_STOPS_SECONDS = 60.0
POLL_SECONDS = 0.2


class LostContainer(NamedTuple):
    name: str
    endpoint: str
    """Where the engine that made it was reached."""


async def list_unreachable(host: Host, wanted: str) -> tuple[LostContainer, ...]:
    """The containers of a run's agents that the engine which answers now has not made."""
    with open_records(host) as records:
        state = records.catalog.find(wanted)
        return tuple(
            LostContainer(attempt.start.container, attempt.created.endpoint)
            for _, attempt in await list_lost(host, state)
            if attempt.created is not None
        )


async def cancel(host: Host, wanted: str, *, lost_engine: bool = False) -> RunState:
    """Stop a run for good: its owner stops as with ^C; without an owner its containers are removed here.

    Raises EnvironmentInvalid if another engine than its own answers, unless `lost_engine` is set: then the
    ends of the agents there are recorded without that engine.
    """
    with open_records(host) as records:
        state = records.catalog.find(wanted)
        if state.end is not None and not is_unfinished(state):
            return state
        if not lost_engine and records.catalog.owner(state.run) is None:
            await refuse_lost(host, state)
        try:
            await records.journal.append(state.run, CancelRequested(), key=f"{state.epoch}")
        except IntegrityError:
            pass  # requested before
        # Only the holder of the lock may end the run. While its owner lives, that is the owner, which reads
        # the request from the journal.
        lock = await _wait_for_lock(host, records.catalog, state.run)
        try:
            await _end_without_owner(host, records, state.run, lost_engine=lost_engine)
        finally:
            lock.release()
        return records.catalog.run(state.run)


async def _end_without_owner(host: Host, records: OpenRecords, run: str, *, lost_engine: bool) -> None:
    """Do what the owner would have done, unless it has; requires the run's lock."""
    state = records.catalog.run(run)
    if state.end is not None and state.end.status == "cancelled":
        return
    # The killed owner may have left a lock on the user's index, with which every git command of the user
    # would fail. It is removed, too. Changes of the attempt are saved if no other process uses the folder.
    journal = RunJournal(records.journal, state)
    try:
        async with open_project(replace(host, folder=Path(state.start.folder))) as project:
            with project.folder_lock(state.run) as lock:
                await project.remove_scratch(lock)
                await stop_work(host, records, journal, project.workspace, lost_engine=lost_engine)
    except OrchestratorError:
        await stop_work(host, records, journal, None, lost_engine=lost_engine)
    await records.journal.append(run, run_ended_fact("cancelled", "cancelled"))


async def _wait_for_lock(host: Host, catalog: RunCatalog, run: str) -> RunLock:
    """The run's lock, once its living owner has stopped."""
    for _ in range(int(OWNER_STOPS_SECONDS / POLL_SECONDS)):
        lock = RunLock.take(catalog.folder(run).lock, host.clock)
        if lock is not None:
            return lock
        await host.clock.sleep(POLL_SECONDS)
    owner = catalog.owner(run)
    who = "its owner" if owner is None else f"process {owner.pid}"
    raise FolderBusy(
        f"{who} has not stopped within {OWNER_STOPS_SECONDS:g} s",
        hint="The request is stored. Try again, or kill the process.",
    )
