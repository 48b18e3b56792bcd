"""The runs in a state folder. Reads the journal, and creates nothing."""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from msgspec import Struct

from orchestrator.clock import Clock
from orchestrator.errors import UsageError
from orchestrator.journal.reader import JournalReader, Start
from orchestrator.project.host import Host
from orchestrator.project.locks import RunLock
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.endings import is_base_run
from orchestrator.run.facts import (
    BaseMoved,
    Fact,
    PlanTaken,
    RunEnded,
    RunResumed,
    RunStarted,
    RunWaiting,
    SettingsTaken,
    SetupEnded,
    TaskFinished,
    UndoStarted,
    WaitEnded,
    WorkUndone,
)
from orchestrator.run.report import Owner
from orchestrator.run.state import RunState, fold
from orchestrator.state_folder import state_folder

OUTLINE = tuple(
    body.kind
    for body in (
        RunStarted,
        BaseMoved,
        RunResumed,
        RunWaiting,
        WaitEnded,
        PlanTaken,
        SettingsTaken,
        TaskFinished,
        UndoStarted,
        WorkUndone,
        RunEnded,
    )
)
"""Kinds of facts that decide where a run began, and how it and its tasks ended."""


class RunCatalog(Struct, frozen=True, kw_only=True):
    state: Path
    """The state folder."""
    journal: JournalReader | None
    """None when no run has been started yet."""
    here: Path | None
    """The folder that a plan's path is relative to; None when the current folder is gone."""
    clock: Clock

    def runs_around(self, project: Path, *, whole: bool) -> tuple[RunState, ...]:
        """Runs of the repository that contains a folder, newest first; empty outside of a repository.

        Without `whole`, they are outlines.
        """
        for folder in (project, *project.parents):
            if os.path.lexists(folder / ".git"):
                if whole:
                    return tuple(self.run(start.run) for start in self._starts_of(folder))
                return tuple(self.outlines(folder))
        return ()

    def outlines(
        self,
        folder: Path | None = None,
        plan: str | None = None,
        *,
        besides: str | None = None,
        tasks: Collection[str] | None = None,
    ) -> list[RunState]:
        """Runs of a code folder, of one plan or of all `besides` one, newest first: how they and tasks ended.

        An outline has no attempts, questions or gates. It costs a small part of a whole state, and each start
        reads it of every run that may matter. With `tasks` it says how these ended, and nothing of others.
        """
        runs = [start.run for start in self._starts_of(folder, plan) if start.plan != besides]
        if self.journal is None or not runs:
            return []
        facts = self.journal.facts_of_kinds(runs, OUTLINE, tasks=tasks)
        outlined = {run: fold(found) for run, found in groupby(facts, lambda fact: fact.run)}
        return [outlined[run] for run in runs]

    def find_existing(self, runs: Iterable[str]) -> dict[str, RunState]:
        """The runs with these ids, as far as they exist."""
        wanted = set(runs)
        return {start.run: self.run(start.run) for start in self._starts() if start.run in wanted}

    def run(self, run: str) -> RunState:
        """An existing run, by its whole id."""
        assert self.journal is not None
        return fold(self.journal.state_facts(run))

    def facts(self, run: str) -> tuple[Fact, ...]:
        """The facts of an existing run from which its state is folded: without agent output."""
        assert self.journal is not None
        return self.journal.state_facts(run)

    def find(self, wanted: str) -> RunState:
        """By id, unambiguous prefix, or a plan's path (its latest run). Raises UsageError."""
        starts = self._starts()
        found = [start for start in starts if start.run == wanted] or [
            start for start in starts if start.run.startswith(wanted)
        ]
        if not found and self.here is not None:
            path = _normalize(self.here / wanted)
            of_plan = [start for start in starts if _normalize(Path(start.folder) / start.plan) == path]
            latest = next((start for start in of_plan if not is_base_run(self.run(start.run))), None)
            found = of_plan[:1] if latest is None else [latest]
        if len(found) == 1:
            return self.run(found[0].run)
        what = f"several runs start with {wanted}" if found else f"there is no run {wanted}"
        listed = "".join(f"\n  {start.run}  {start.plan}" for start in found[:5])
        raise UsageError(what + listed, hint="List all runs: orchestrator status")

    def setup_images(self, run: str) -> frozenset[str]:
        """Ids of the setup images that a run has used."""
        facts = () if self.journal is None else self.journal.state_facts(run)
        ended = [fact.body for fact in facts if isinstance(fact.body, SetupEnded)]
        return frozenset(body.image for body in ended if body.image is not None)

    def owner(self, run: str) -> Owner | None:
        """The process that carries the run out now."""
        holder = RunLock.holder(self.folder(run).lock, self.clock)
        return None if holder is None else Owner(pid=holder.pid, host=holder.host, since=holder.since)

    def folder(self, run: str) -> RunFolder:
        return RunFolder(root=self.state / "runs" / run)

    def list_unrecorded(self) -> list[str]:
        """Runs with a folder but without a fact: their start was killed, or is in progress."""
        folders = self.state / "runs"
        named = {entry.name for entry in folders.iterdir()} if folders.is_dir() else set()
        return sorted(named.difference(start.run for start in self._starts()))

    def _starts(self) -> tuple[Start, ...]:
        return () if self.journal is None else self.journal.starts()

    def _starts_of(self, folder: Path | None, plan: str | None = None) -> list[Start]:
        return [
            start
            for start in self._starts()
            if (folder is None or start.folder == str(folder)) and plan in (None, start.plan)
        ]


def list_finished_commits(record: RunState) -> frozenset[str]:
    """The commits with which a run's tasks were finished."""
    ends = [task.finished for task in record.tasks.values()]
    return frozenset(end.commit for end in ends if end is not None and end.commit is not None)


@contextmanager
def open_catalog(host: Host) -> Iterator[RunCatalog]:
    """The runs in the caller's state folder; empty when there is no journal yet."""
    state = state_folder(host.environ)
    path = state / "journal.sqlite"
    journal = JournalReader.open_existing(path, host.clock)
    try:
        yield RunCatalog(state=state, journal=journal, here=host.folder, clock=host.clock)
    finally:
        if journal is not None:
            journal.close()


def _normalize(path: Path) -> str:
    """Without `..`; links stay, because a code folder may be one."""
    return os.path.normpath(path)
