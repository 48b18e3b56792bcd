"""One SQLite file per state folder, in WAL mode; short IMMEDIATE transactions.

A file of a newer version is refused, an older one is migrated by the numbered files beside this module.
Measured rates: `benchmarks/journal.py`.

Writing can wait up to BUSY_SECONDS for another process and always waits for the disk, so it happens in one
thread that belongs to the journal and has a connection of its own.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TypeVar

import msgspec

from orchestrator.errors import FREE_SPACE, StorageError
from orchestrator.journal.reader import JournalReader, connect, facts_by, query, unusable_journals, version_of
from orchestrator.run.facts import Body, Fact

T = TypeVar("T")


def utc_now() -> str:
    """The time as facts carry it: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Transaction:
    """Reading and writing with the journal locked: nobody appends in between."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def facts(self, run: str, *, after: int) -> tuple[Fact, ...]:
        return facts_by(self._connection, "of_run", run=run, after=after)

    def append(
        self,
        run: str,
        body: Body,
        *,
        task: str | None = None,
        attempt: int | None = None,
        key: str | None = None,
    ) -> Fact:
        at = utc_now()
        row = {
            "run": run,
            "at": at,
            "kind": body.kind,
            "task": task,
            "attempt": attempt,
            "key": key,
            "body": msgspec.json.encode(body).decode(),
        }
        n = self._connection.execute(query("append"), row).fetchone()[0]
        return Fact(run=run, n=n, at=at, task=task, attempt=attempt, body=body)


class Journal(JournalReader):
    """Append and read facts."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._writing: sqlite3.Connection | None = None
        """Used in the thread only."""

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open or make the journal; raises EnvironmentInvalid when it is damaged or of a newer version."""
        with unusable_journals(path):
            return cls(path, _opened(path))

    def close(self) -> None:
        """Finish what is being written, then close."""
        self._thread.shutdown()
        if self._writing is not None:
            self._writing.close()
        super().close()

    async def append(
        self,
        run: str,
        body: Body,
        *,
        task: str | None = None,
        attempt: int | None = None,
        key: str | None = None,
    ) -> Fact:
        """Store one fact durably and give it with its number.

        Raises sqlite3.IntegrityError when a fact of this kind and `key` exists already, StorageError when
        it cannot be stored.
        """
        return await self.transact(
            lambda transaction: transaction.append(run, body, task=task, attempt=attempt, key=key)
        )

    async def transact(
        self, work: Callable[[Transaction], T], *, stored: Callable[[T], None] = lambda result: None
    ) -> T:
        """Do `work` in a transaction, in the journal's thread; `stored` gets its result back in the loop.

        Transactions take place in the order in which they are asked for. One that was asked for takes place
        and is reported to `stored` even when the waiting task is cancelled; CancelledError is raised after
        that, so that whoever cleans up finds the journal and what was folded from it in step.
        """

        def report(done: asyncio.Future[T]) -> None:
            if done.exception() is None:
                stored(done.result())

        doing = asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)
        doing.add_done_callback(report)
        cancelled: asyncio.CancelledError | None = None
        while not doing.done():
            try:
                await asyncio.wait((doing,))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return doing.result()

    def _do(self, work: Callable[[Transaction], T]) -> T:
        if self._writing is None:
            self._writing = connect(self._path)
        with _transaction(self._writing):
            return work(Transaction(self._writing))


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        held = error.sqlite_errorname.startswith("SQLITE_BUSY")
        hint = "Another program holds it. Once that has ended: orchestrator resume" if held else FREE_SPACE
        raise StorageError(f"the journal cannot be written: {error}", hint=hint) from error
    finally:
        # A full disk has SQLite roll back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _opened(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    try:
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        _migrate(connection, path)
    except BaseException:
        # An open one would keep its locks on the file.
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    migrations = _migrations()
    if version_of(connection, path) == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    # Read again under the lock: another process may have migrated in between.
    for number in range(version_of(connection, path) + 1, len(migrations) + 1):
        for statement in _statements(migrations[number - 1]):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
    connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """Single statements of a script; `executescript` would end the transaction around it."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@cache
def _migrations() -> tuple[str, ...]:
    folder = resources.files(__package__) / "sql" / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda e: e.name)
    return tuple(entry.read_text("utf-8") for entry in files)
