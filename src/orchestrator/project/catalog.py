"""The runs that a state folder remembers, for whoever looks: reads the journal, makes nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from orchestrator.errors import UsageError
from orchestrator.journal.reader import JournalReader
from orchestrator.project.host import Host
from orchestrator.project.locks import RunLock
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.facts import SetupEnded
from orchestrator.run.report import Owner
from orchestrator.run.state import RunState, begin, fold
from orchestrator.state_folder import state_folder


class RunCatalog(Struct, frozen=True, kw_only=True):
    state: Path
    """The state folder."""
    journal: JournalReader | None
    """None: there is none yet."""
    here: Path | None
    """What a plan's path is relative to; None when the current folder is gone."""

    def all(self) -> tuple[RunState, ...]:
        """Every run, newest first."""
        return tuple(self._folded(start) for start in self._starts())

    def around(self, project: Path) -> tuple[RunState, ...]:
        """Runs of the repository that a folder lies in, newest first; none where it lies in none."""
        for folder in (project, *project.parents):
            if os.path.lexists(folder / ".git"):
                return tuple(self.of(folder))
        return ()

    def of(self, folder: Path, plan: str | None = None) -> list[RunState]:
        """Runs of a code folder, and of one plan of it, newest first."""
        return [
            self._folded(state)
            for state in self._starts()
            if state.start.folder == str(folder) and plan in (None, state.start.plan)
        ]

    def named(self, wanted: str) -> RunState:
        """By id, unambiguous prefix, or a plan's path (its latest run). Raises UsageError."""
        starts = self._starts()
        found = [state for state in starts if state.run == wanted] or [
            state for state in starts if state.run.startswith(wanted)
        ]
        if not found and self.here is not None:
            path = _normal(self.here / wanted)
            found = [s for s in starts if _normal(Path(s.start.folder) / s.start.plan) == path][:1]
        if len(found) == 1:
            return self._folded(found[0])
        what = f"several runs begin with {wanted}" if found else f"there is no run {wanted}"
        listed = "".join(f"\n  {state.run}  {state.start.plan}" for state in found[:5])
        raise UsageError(what + listed, hint="`orchestrator status` lists all runs.")

    def images(self, run: str) -> frozenset[str]:
        """Ids of the setup images that a run has used."""
        facts = () if self.journal is None else self.journal.state_facts(run)
        ended = [fact.body for fact in facts if isinstance(fact.body, SetupEnded)]
        return frozenset(body.image for body in ended if body.image is not None)

    def owner(self, run: str) -> Owner | None:
        """The living process that carries the run out."""
        holder = RunLock.holder(self.folder(run).lock)
        return None if holder is None else Owner(pid=holder.pid, host=holder.host, since=holder.since)

    def folder(self, run: str) -> RunFolder:
        return RunFolder(root=self.state / "runs" / run)

    def _starts(self) -> list[RunState]:
        return [] if self.journal is None else [begin(fact) for fact in self.journal.starts()]

    def _folded(self, start: RunState) -> RunState:
        assert self.journal is not None
        return fold(self.journal.state_facts(start.run))


@contextmanager
def opened_catalog(host: Host) -> Iterator[RunCatalog]:
    """The records of the caller's state folder; empty when there is no journal yet."""
    state = state_folder(host.environ)
    path = state / "journal.sqlite"
    journal = JournalReader.open_existing(path, host.clock)
    try:
        yield RunCatalog(state=state, journal=journal, here=host.folder)
    finally:
        if journal is not None:
            journal.close()


def _normal(path: Path) -> str:
    """Without `..`; links stay, because a code folder may be one."""
    return os.path.normpath(path)
