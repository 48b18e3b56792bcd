"""The state folder and its journal, for a command that writes to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from orchestrator.journal.journal import Journal
from orchestrator.journal.reader import JournalReader
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.host import Host
from orchestrator.state_folder import StateFolder, open_state_folder


class ReadRecords(NamedTuple):
    state: StateFolder
    catalog: RunCatalog


class OpenRecords(NamedTuple):
    state: StateFolder
    journal: Journal
    catalog: RunCatalog


@contextmanager
def open_records(host: Host, *, outside: Path | None = None) -> Iterator[OpenRecords]:
    """Open the caller's state folder, or create it; `outside` is a folder that must not contain it."""
    state = open_state_folder(host.environ, outside=outside)
    journal = Journal.open(state.path / "journal.sqlite", host.clock)
    try:
        catalog = RunCatalog(state=state.path, journal=journal, here=host.folder, clock=host.clock)
        yield OpenRecords(state, journal, catalog)
    finally:
        journal.close()


@contextmanager
def read_records(host: Host) -> Iterator[ReadRecords]:
    """Open the caller's state folder, or create it, for a command that appends no fact.

    The journal is not migrated: an older orchestrator may be carrying out a run with it.
    """
    state = open_state_folder(host.environ)
    journal = JournalReader.open_existing(state.path / "journal.sqlite", host.clock)
    try:
        yield ReadRecords(
            state, RunCatalog(state=state.path, journal=journal, here=host.folder, clock=host.clock)
        )
    finally:
        if journal is not None:
            journal.close()
