"""The runs of the state folder, for commands that only look."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.journal.journal import Journal
from orchestrator.run.report import Owner
from orchestrator.run.state import RunState, begin, fold
from orchestrator.state_folder import state_folder
from orchestrator.workspace.locks import RunLock


class Runs:
    """Reads the journal; makes nothing."""

    def __init__(self, state: Path, journal: Journal | None) -> None:
        self._state = state
        self._journal = journal

    @classmethod
    @contextmanager
    def open(cls, environ: Mapping[str, str]) -> Iterator["Runs"]:
        """The runs of the caller's state folder; none when there is no journal yet."""
        state = state_folder(environ)
        path = state / "journal.sqlite"
        journal = Journal.open(path) if path.exists() else None
        try:
            yield cls(state, journal)
        finally:
            if journal is not None:
                journal.close()

    def all(self) -> tuple[RunState, ...]:
        """Every run, newest first."""
        if self._journal is None:
            return ()
        return tuple(fold(self._journal.state_facts(fact.run)) for fact in self._journal.starts())

    def named(self, wanted: str) -> RunState:
        """By id, unambiguous prefix, or the path of a plan (its latest run). Raises UsageError."""
        starts = [begin(fact) for fact in self._journal.starts()] if self._journal is not None else []
        ids = [state.run for state in starts]
        found = [wanted] if wanted in ids else [run for run in ids if run.startswith(wanted)]
        if not found:
            path = os.path.abspath(wanted)
            found = [
                s.run for s in starts if os.path.normpath(os.path.join(s.start.folder, s.start.plan)) == path
            ][:1]
        if len(found) != 1 or self._journal is None:
            what = (
                f"several runs begin with {wanted}: {', '.join(found)}"
                if found
                else f"there is no run {wanted}"
            )
            raise UsageError(what, hint="`orchestrator status` lists all runs.")
        return fold(self._journal.state_facts(found[0]))

    def owner(self, state: RunState) -> Owner | None:
        """The living process that carries the run out."""
        holder = RunLock.holder(self.folder(state) / "lock")
        return None if holder is None else Owner(pid=holder.pid, host=holder.host, since=holder.since)

    def folder(self, state: RunState) -> Path:
        """Where the run keeps transcripts and evidence."""
        return self._state / "runs" / state.run
