"""A code folder, and the state folder that remembers its runs."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.containers.base import LABEL_KIND, LABEL_RUN, ContainerEngine
from orchestrator.errors import EnvironmentInvalid, FolderBusy, UsageError
from orchestrator.journal.journal import Journal
from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.host import Host
from orchestrator.project.locks import FolderLock, RunLock
from orchestrator.run.state import RunState
from orchestrator.state_folder import StateFolder, open_state_folder
from orchestrator.supervision.choose_run import is_unfinished
from orchestrator.workspace import history
from orchestrator.workspace.user_index import remove_own_stale_lock
from orchestrator.workspace.workspace import Workspace

CONFIGURATION = "orchestrator.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    plan: Plan
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    host: Host
    folder: Path
    state: StateFolder
    journal: Journal
    workspace: Workspace

    @property
    def catalog(self) -> RunCatalog:
        return RunCatalog(state=self.state.path, journal=self.journal, here=self.host.folder)

    async def runs_of_plan(self, plan: str) -> list[RunState]:
        """Runs of this plan in this very repository; one that stood here before is another story."""
        records = self.catalog.of(self.folder, plan)
        store = self.workspace.store
        return [record for record in records if await history.has_commit(store, record.start.base)]

    async def on_branch(self, records: list[RunState]) -> frozenset[str]:
        """Which of these runs' commits HEAD holds."""
        commits = {
            task.finished.commit
            for record in records
            for task in record.tasks.values()
            if task.finished is not None and task.finished.commit is not None
        }
        store, head = self.workspace.store, (await self.workspace.user.head()).commit
        return frozenset([commit for commit in commits if await history.is_ancestor(store, commit, head)])

    async def untracked(self, plan: str, *, run: str | None = None) -> frozenset[str]:
        """The plan and the configuration, where git does not track them: theirs, not the work's.

        A configuration that was not there when `run` started is no exception: an attempt may have written it.
        """
        configuration = self.folder / CONFIGURATION if run is None else self.catalog.folder(run).configuration
        had_one = configuration.is_file() and configuration.stat().st_size > 0
        paths = (plan, CONFIGURATION) if had_one else (plan,)
        return frozenset([path for path in paths if not await self.workspace.user.is_tracked(path)])

    def stored_plan(self, state: RunState) -> ReadPlan:
        """The plan by which the run goes: as it was when it started, or as it was taken since."""
        content = self.catalog.folder(state.run).stored_plan(state.plan_stored).read_bytes()
        return ReadPlan(plan=read_plan(content, path=state.start.plan), content=content)

    def run_of_this_folder(self, wanted: str) -> RunState:
        """A run by id, prefix or plan; raises UsageError when it belongs elsewhere."""
        state = self.catalog.named(wanted)
        if state.start.folder != str(self.folder):
            raise UsageError(f"run {state.run} belongs to another folder", hint=f"cd {state.start.folder}")
        return state

    def unfinished(self, wanted: str | None) -> RunState:
        """The run that `resume` means. Raises UsageError when there is none, or several."""
        if wanted is not None:
            state = self.run_of_this_folder(wanted)
            if not is_unfinished(state):
                status = state.end.status if state.end is not None else "over"
                raise UsageError(f"run {state.run} is {status}", hint="`orchestrator run` starts a new one.")
            return state
        latest: dict[str, RunState] = {}
        for record in self.catalog.of(self.folder):
            latest.setdefault(record.start.plan, record)
        candidates = [record for record in latest.values() if is_unfinished(record)]
        if len(candidates) == 1:
            return candidates[0]
        what = "several unfinished runs" if candidates else "no unfinished run"
        listed = "".join(f"\n  {record.run}  {record.start.plan}" for record in candidates[:5])
        raise UsageError(
            f"there is {what} in {self.folder}{listed}", hint="`orchestrator status` lists all runs."
        )

    def folder_lock(self, run: str) -> FolderLock:
        """The right to change the code folder; raises FolderBusy naming who holds it."""
        holders = self.state.path / "holders"
        holders.mkdir(mode=0o700, exist_ok=True)
        lock = FolderLock.take(self.workspace.user.git_dir, holders / self.workspace.store.name, run=run)
        remove_own_stale_lock(self.workspace.user.git_dir)
        return lock

    @contextmanager
    def run_lock(self, run: str) -> Iterator[None]:
        """The right to write the run's state; raises FolderBusy naming who holds it."""
        folder = self.catalog.folder(run)
        folder.root.mkdir(parents=True, mode=0o700, exist_ok=True)
        lock = RunLock.take(folder.lock)
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
async def opened_project(host: Host) -> AsyncIterator[Project]:
    """Check the folder and open its records. Raises EnvironmentInvalid before anything is changed."""
    folder = host.code_folder()
    state = open_state_folder(host.environ, outside=folder)
    workspace = await Workspace.open(folder, repositories=state.path / "repositories", environ=host.environ)
    journal = Journal.open(state.path / "journal.sqlite", host.clock)
    try:
        yield Project(host=host, folder=folder, state=state, journal=journal, workspace=workspace)
    finally:
        journal.close()


async def check_living_containers(engine: ContainerEngine, project: Project, run: str) -> None:
    """No container of another run, or of another state folder, may be at work in this folder."""
    for container in await engine.list({LABEL_KIND: None}):
        here = str(project.folder) in container.mount_sources and container.labels[LABEL_KIND]
        if not here or container.status != "running" or container.labels.get(LABEL_RUN) == run:
            continue
        other = container.labels.get(LABEL_RUN)
        hint = f"docker rm -f {container.name}"
        if other:
            hint = f"orchestrator resume {other}, or orchestrator cancel {other}; else {hint}"
        raise EnvironmentInvalid(
            f"the container {container.name} is at work in this folder", where=str(project.folder), hint=hint
        )


def plan_path(folder: Path, plan: str | Path) -> str:
    """The plan's path relative to the code folder; raises UsageError when it lies, or leads, outside."""
    absolute = Path(os.path.normpath(folder / plan))
    if not absolute.is_relative_to(folder):
        raise UsageError(
            "the plan lies outside the code folder", where=str(plan), hint=f"Put it somewhere in {folder}."
        )
    if not Path(os.path.realpath(absolute)).is_relative_to(os.path.realpath(folder)):
        raise UsageError(
            "the plan is a link out of the code folder", where=str(plan), hint="Put the file itself there."
        )
    relative = absolute.relative_to(folder)
    if ".git" in (part.lower() for part in relative.parts):
        raise UsageError("the plan lies in a git directory", where=str(plan), hint="Put it beside the code.")
    return relative.as_posix()
