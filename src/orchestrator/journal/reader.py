"""Reading the journal. In WAL mode a reader never waits for a writer, nor a writer for a reader."""

import re
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from orchestrator.clock import Clock
from orchestrator.errors import FREE_SPACE, EnvironmentInvalid, StorageError
from orchestrator.run.facts import BODIES, Fact

VERSION = 3
"""The newest version of a journal that this program reads, and the one that it writes."""
NEWER_HINT = "Use the newer orchestrator, or another state folder (XDG_STATE_HOME)."
BUSY_SECONDS = 10.0
POLL_SECONDS = 0.5
"""How long it can take until a fact of another process is noticed."""


class Start(NamedTuple):
    """Enough about a run to find those of a folder or a plan without reading all their facts."""

    run: str
    at: str
    folder: str
    plan: str


class JournalReader:
    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    @staticmethod
    def open_existing(path: Path, clock: Clock) -> "JournalReader | None":
        """The journal, never migrated; None if there is none yet. Raises EnvironmentInvalid."""
        if not path.exists():
            return None
        with explain_unusable_journal(path):
            connection = connect(path)
            try:
                if version_of(connection, path) > 0:
                    return JournalReader(connection, clock)
            except BaseException:
                connection.close()
                raise
        connection.close()
        return None

    def close(self) -> None:
        self._connection.close()

    def data_version(self) -> int:
        """A number that changes when another connection has written; a call takes microseconds."""
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def facts(self, run: str, *, after: int = 0) -> tuple[Fact, ...]:
        return facts_by(self._connection, "of_run", run=run, after=after)

    def state_facts(self, run: str) -> tuple[Fact, ...]:
        """The facts from which a state is folded: without agent output, except for the last fact."""
        return facts_by(self._connection, "of_run_without_agent_output", run=run)

    def count_reported_bytes(self, run: str, task: str, attempt: int, *, after: int) -> int:
        """How many bytes of an attempt's standard output its facts after this number cover."""
        named = {"run": run, "task": task, "attempt": attempt, "after": after}
        row = self._connection.execute(query("count_reported_bytes"), named).fetchone()
        return 0 if row is None else row[0] or 0

    async def follow(self, run: str, after: int) -> AsyncGenerator[Fact, None]:
        """The run's facts after this number, of all processes, as they are appended; never ends by itself.

        Raises StorageError when the journal cannot be read.
        """
        while True:
            with convert_sqlite_errors("read"):
                # The version is read first: a fact that is stored between the two reads is found now, and the
                # changed version leads to one more read. In the other order it would be missed.
                version, facts = self.data_version(), self.facts(run, after=after)
            for fact in facts:
                after = fact.n
                yield fact
            while not self._has_changed_since(version):
                await self.pause()

    def _has_changed_since(self, version: int) -> bool:
        with convert_sqlite_errors("read"):
            return self.data_version() != version

    async def pause(self) -> None:
        """Wait for the poll interval."""
        await self._clock.sleep(POLL_SECONDS)

    def starts(self) -> tuple[Start, ...]:
        """Every run, newest first, without reading all of its first fact."""
        return tuple(Start(*row) for row in self._connection.execute(query("starts_newest_first")))

    def facts_of_kinds(
        self, runs: Iterable[str], kinds: Iterable[str], *, tasks: Iterable[str] | None = None
    ) -> tuple[Fact, ...]:
        """Facts of these kinds of several runs, run by run, in order; with `tasks` none of another task."""
        only = None if tasks is None else _json_list(tasks)
        named = {"runs": _json_list(runs), "kinds": _json_list(kinds), "tasks": only}
        return facts_by(self._connection, "of_kinds", **named)


def copy_journal(path: Path, into: Path) -> None:
    """Copy a journal as it is at this moment. Raises EnvironmentInvalid."""
    with explain_unusable_journal(path):
        source, target = connect(path), sqlite3.connect(into)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _json_list(words: Iterable[str]) -> str:
    return msgspec.json.encode(list(words)).decode()


@contextmanager
def explain_unusable_journal(path: Path) -> Iterator[None]:
    """Inside, an error of SQLite about the file becomes an EnvironmentInvalid with a next step."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # SQLite writes beside a journal even to read it, and only says that it cannot open a file.
        is_refused = getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY"))
        raise EnvironmentInvalid(
            f"the journal cannot be used: {error}",
            where=str(path),
            hint="Make its folder writable for you: SQLite writes beside a journal even to read it."
            if is_refused
            else "Free disk space. If the file is damaged, move it away to start with an empty journal.",
        ) from error


@contextmanager
def convert_sqlite_errors(done: str) -> Iterator[None]:
    """Inside, an OperationalError of SQLite becomes a StorageError: the journal cannot be `done`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        # An error that the sqlite3 module raises by itself has no name.
        name = getattr(error, "sqlite_errorname", "")
        held = name.startswith("SQLITE_BUSY")
        hint = "Another program has locked the journal. Close that program, then: orchestrator resume"
        if not held:
            hint = FREE_SPACE
        storage = StorageError(f"the journal cannot be {done}: {error}", hint=hint)
        storage.fault = "disk_full" if name == "SQLITE_FULL" else "journal_unwritable"
        raise storage from error


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """0 if nothing is stored yet. Raises EnvironmentInvalid if a newer program wrote the journal."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise EnvironmentInvalid(
            f"the journal has version {version}, but this program reads versions up to {VERSION}",
            where=str(path),
            hint=NEWER_HINT,
        )
    return version


@cache
def _queries() -> dict[str, str]:
    text = (Path(__file__).parent / "sql" / "queries.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def query(name: str) -> str:
    return _queries()[name]


def facts_by(connection: sqlite3.Connection, name: str, **values: str | int | None) -> tuple[Fact, ...]:
    """Raises EnvironmentInvalid if one of the facts has a kind that only a newer program knows."""
    try:
        return tuple(_fact(row) for row in connection.execute(query(name), values))
    except _UnknownKind as error:
        raise EnvironmentInvalid(
            f"this program does not know facts of the kind {error}",
            where=connection.execute("PRAGMA database_list").fetchone()[2],
            hint=NEWER_HINT,
        ) from None


class _UnknownKind(Exception):
    pass


def _fact(row: tuple[Any, ...]) -> Fact:
    run, n, at, kind, task, attempt, stored = row
    if kind not in BODIES:
        raise _UnknownKind(kind)
    body = msgspec.json.decode(stored, type=BODIES[kind])
    return Fact(run=run, n=n, at=at, task=task, attempt=attempt, body=body)
