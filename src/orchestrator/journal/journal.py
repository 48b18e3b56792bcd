"""One SQLite file per state folder, in WAL mode, written in short IMMEDIATE transactions.

A file of a newer version is refused; an older one is migrated by the numbered files in `sql/migrations/`.
Measured rates: `benchmarks/journal.py`.

`synchronous = FULL` makes each commit wait for the disk. An intent that a power failure could undo would
be worthless: the container or the moved branch would be there and its fact would not.

A write waits for the disk, and up to BUSY_SECONDS for another process. In the event loop that would stop the
output of all agents, so all writing happens in one thread that belongs to the journal and has its own
connection.
"""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TypeVar

import msgspec

from orchestrator.clock import Clock
from orchestrator.errors import EnvironmentInvalid
from orchestrator.files import open_own
from orchestrator.journal.reader import (
    POLL_SECONDS,
    VERSION,
    JournalReader,
    connect,
    convert_sqlite_errors,
    explain_unusable_journal,
    facts_by,
    query,
    version_of,
)
from orchestrator.run.facts import Body, Fact
from orchestrator.state_folder import GATEWAY_LOCK
from orchestrator.text import utc_text

T = TypeVar("T")

LOCK_SECONDS = 5.0
"""How long a migration waits for a gateway; an idle gateway exits sooner."""


class Facts:
    """Reading and writing facts inside a transaction, in the journal's thread."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def of(self, run: str, *, after: int) -> tuple[Fact, ...]:
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
        """Store the fact with the next number of its run. Raises IntegrityError as `Journal.append` does."""
        at = utc_text(self._clock.now())
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

    def __init__(self, reading: sqlite3.Connection, writing: sqlite3.Connection, clock: Clock) -> None:
        super().__init__(reading, clock)
        self._writing = writing
        """Used in the journal's thread only."""
        self._facts = Facts(writing, clock)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._pauses: set[asyncio.Future[None]] = set()
        """The waiting `follow` calls of this process."""

    @classmethod
    def open(cls, path: Path, clock: Clock) -> "Journal":
        """Open the journal or create it. Raises EnvironmentInvalid if it is damaged or of a newer version."""
        with explain_unusable_journal(path):
            writing = connect(path)
            try:
                path.chmod(0o600)
                writing.execute("PRAGMA journal_mode = WAL")
                _migrate(writing, path)
            except BaseException:
                # A connection that stays open would keep its locks on the file.
                writing.close()
                raise
            return cls(connect(path), writing, clock)

    def close(self) -> None:
        """Finish all transactions that were asked for, then close."""
        # Waits for what was asked for: a fact that a caller believes stored must not be lost on the way out.
        self._thread.shutdown()
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
        """Store one fact durably and return it with its number.

        Raises sqlite3.IntegrityError if the run has a fact of this kind and `key` already, StorageError if
        the fact cannot be stored.
        """
        return await self.transact(lambda facts: facts.append(run, body, task=task, attempt=attempt, key=key))

    async def transact(
        self, work: Callable[[Facts], T], *, stored: Callable[[T], None] = lambda result: None
    ) -> T:
        """Do `work` while no other process can write; then call `stored` with its result in the event loop.

        All of `work` is stored or, if it raises, nothing. Transactions are carried out in the order of the
        calls. When the waiting task is cancelled, the transaction is carried out and reported to `stored`
        nevertheless, and CancelledError is raised afterwards. Otherwise the code that cleans up after the
        cancellation would work with a state that lacks the last fact: it would not remove the container that
        this fact announces.
        """

        def write() -> T:
            with convert_sqlite_errors("written"), _transaction(self._writing):
                return work(self._facts)

        def report(result: T) -> None:
            stored(result)
            # Those who follow the journal in this process need not wait for the next poll.
            for pause in self._pauses:
                pause.cancel()

        return await self._in_thread(write, report)

    async def read(self, work: Callable[[Facts], T], *, seen: Callable[[T], None]) -> T:
        """As `transact`, in one order with it. `work` only reads, so it does not wait for other processes."""

        def read() -> T:
            with convert_sqlite_errors("read"):
                return work(self._facts)

        return await self._in_thread(read, seen)

    async def _in_thread(self, work: Callable[[], T], report: Callable[[T], None]) -> T:
        def done(doing: asyncio.Future[T]) -> None:
            if doing.exception() is None:
                report(doing.result())

        doing = asyncio.get_running_loop().run_in_executor(self._thread, work)
        # A callback, and not a line after the wait: the result is reported even if this task is cancelled,
        # and results are reported in the order of the transactions, which is the order of the facts.
        doing.add_done_callback(done)
        cancelled: asyncio.CancelledError | None = None
        while not doing.done():
            try:
                await asyncio.wait((doing,))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return doing.result()

    async def pause(self) -> None:
        """Wait until other processes may have written, or until this one has."""
        pausing = asyncio.ensure_future(self._clock.sleep(POLL_SECONDS))
        self._pauses.add(pausing)
        try:
            await asyncio.wait((pausing,))
        finally:
            self._pauses.discard(pausing)
            pausing.cancel()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        # IMMEDIATE takes the write lock at once. Otherwise another process could write after our first read,
        # and SQLite would refuse our write, because it rests on what is no longer so.
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    finally:
        # When the disk is full, SQLite has rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    migrations = _migrations()
    if version_of(connection, path) == len(migrations):
        return
    with _hold_gateway_lock(connection, path):
        connection.execute("BEGIN IMMEDIATE")
        # Read the version again inside the transaction: another process may have migrated in the meantime.
        for number in range(version_of(connection, path) + 1, len(migrations) + 1):
            for statement in _statements(migrations[number - 1]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


@contextmanager
def _hold_gateway_lock(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Inside, no gateway of this state folder is running.

    A gateway serves attempts of a run that a program of its own version carries out. If a newer program
    migrated the journal beside them, they would meet tables and kinds of facts that they do not know, in the
    middle of an attempt. A gateway holds `gateway.lock` while it lives, so a process that migrates takes that
    lock first. The holder can also be another process that migrates, for a moment only: so this waits a
    little before it fails. A new journal has no gateway.
    """
    lock = open_own(path.parent / GATEWAY_LOCK)
    try:
        # Real time, and blocking: a journal is opened before the loop runs anything that could wait.
        deadline = time.monotonic() + LOCK_SECONDS
        while 0 < version_of(connection, path) < VERSION:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EnvironmentInvalid(
                        "the journal was written by an older orchestrator whose gateway is still running",
                        where=str(path),
                        hint="Wait until its attempts have ended, then try again; or use that orchestrator.",
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(lock)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one; `executescript` would commit the transaction around it."""
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
