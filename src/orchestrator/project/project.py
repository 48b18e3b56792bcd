"""A code folder, and the state folder with its runs."""

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config import REPOSITORY_FILE
from orchestrator.errors import FolderBusy, UsageError
from orchestrator.journal.journal import Journal
from orchestrator.project.catalog import RunCatalog, list_finished_commits
from orchestrator.project.host import Host
from orchestrator.project.locks import FolderLock, RunLock
from orchestrator.project.records import OpenRecords, open_records
from orchestrator.run.endings import is_base_run
from orchestrator.run.state import RunState
from orchestrator.state_folder import StateFolder
from orchestrator.supervision.choose_run import is_unfinished
from orchestrator.workspace import history
from orchestrator.workspace.delivery import remove_drafts, remove_scratch_folders
from orchestrator.workspace.user_index import remove_own_stale_lock
from orchestrator.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    host: Host
    folder: Path
    state: StateFolder
    journal: Journal
    workspace: Workspace
    catalog: RunCatalog

    @property
    def records(self) -> OpenRecords:
        return OpenRecords(self.state, self.journal, self.catalog)

    async def runs_of_plan(self, plan: str, *, tasks: Collection[str] | None = None) -> list[RunState]:
        """Outlines of this plan's runs, without those of an earlier repository in this folder."""
        records = self.catalog.outlines(self.folder, plan, tasks=tasks)
        bases = frozenset(record.start.base for record in records)
        there = await history.filter_existing(self.workspace.store, bases)
        return [record for record in records if record.start.base in there]

    async def commits_on_branch(self, records: list[RunState]) -> frozenset[str]:
        """The commits of these runs that HEAD contains."""
        return await self.workspace.filter_landed(
            frozenset[str]().union(*map(list_finished_commits, records))
        )

    async def list_untracked_files(self, plan: str, state: RunState | None = None) -> frozenset[str]:
        """The plan and the configuration where git does not track them: the user's files, never committed.

        A configuration that the run (`state`) did not start with or take is not excluded: an attempt may have
        written it.
        """
        configuration = self.folder / REPOSITORY_FILE
        if state is not None:
            configuration = self.catalog.folder(state.run).terms(state.terms_stored).configuration
        had_one = configuration.is_file() and configuration.stat().st_size > 0
        paths = (plan, REPOSITORY_FILE) if had_one else (plan,)
        return frozenset([path for path in paths if not await self.workspace.user.is_tracked(path)])

    def find_run_of_folder(self, wanted: str) -> RunState:
        """A run by id, prefix or plan; raises UsageError when it belongs elsewhere."""
        state = self.catalog.find(wanted)
        if state.start.folder != str(self.folder):
            raise UsageError(
                f"run {state.run} belongs to another folder", hint=f"Change to it: cd {state.start.folder}"
            )
        return state

    def find_unfinished(self, wanted: str | None) -> RunState:
        """The run that `resume` means. Raises UsageError when there is none, or several."""
        if wanted is not None:
            state = self.find_run_of_folder(wanted)
            if not is_unfinished(state):
                status = state.end.status if state.end is not None else "finished"
                raise UsageError(
                    f"run {state.run} is {status}", hint="Start a new one: orchestrator run PLAN"
                )
            return state
        latest: dict[str, RunState] = {}
        for record in self.catalog.outlines(self.folder, tasks=()):
            if not is_base_run(record):
                latest.setdefault(record.start.plan, record)
        candidates = [record for record in latest.values() if is_unfinished(record)]
        if len(candidates) == 1:
            return self.catalog.run(candidates[0].run)
        what = "several unfinished runs" if candidates else "no unfinished run"
        listed = "".join(f"\n  {record.run}  {record.start.plan}" for record in candidates[:5])
        raise UsageError(f"{what} in {self.folder}{listed}", hint="List all runs: orchestrator status")

    def folder_lock(self, run: str) -> FolderLock:
        """The right to change the code folder. Raises FolderBusy, which names the holder."""
        holders = self.state.path / "holders"
        holders.mkdir(mode=0o700, exist_ok=True)
        return FolderLock.take(
            self.workspace.user.git_dir, holders / self.workspace.store.name, self.host.clock, run=run
        )

    async def remove_scratch(self, lock: FolderLock) -> None:
        """Remove what a killed orchestrator left in the code folder and the folder for temporary files.

        Most of all the lock on the user's index: until it is removed, every git command of the user that
        writes the index fails. A draft of a file would be committed as an edit of the user's.
        """
        remove_own_stale_lock(self.workspace.user.git_dir)
        remove_scratch_folders(self.workspace.user)
        if lock.follows_kill:
            await remove_drafts(self.workspace.user)

    @contextmanager
    def run_lock(self, run: str) -> Iterator[None]:
        """The right to write the run's state. Raises FolderBusy, which names the holder."""
        folder = self.catalog.folder(run)
        folder.root.mkdir(parents=True, mode=0o700, exist_ok=True)
        lock = RunLock.take(folder.lock, self.host.clock)
        if lock is None:
            owner = self.catalog.owner(run)
            who = "an unknown process" if owner is None else f"process {owner.pid}"
            raise FolderBusy(
                f"run {run} is being carried out by {who}",
                hint=f"Wait for it, or stop it: orchestrator cancel {run}",
            )
        try:
            yield
        finally:
            lock.release()


@asynccontextmanager
async def open_project(host: Host) -> AsyncIterator[Project]:
    """Check the folder and open its records. Raises EnvironmentInvalid before anything is changed."""
    folder = host.code_folder()
    with open_records(host, outside=folder) as (state, journal, catalog):
        workspace = await Workspace.open(
            folder, repositories=state.repositories, environ=host.environ, clock=host.clock
        )
        yield Project(
            host=host, folder=folder, state=state, journal=journal, workspace=workspace, catalog=catalog
        )
