"""One SQLite file per state folder, in WAL mode; short IMMEDIATE transactions.

A file of a newer version is refused, an older one is migrated by the numbered files beside this module.
Measured rates: `benchmarks/journal.py`.

Writing can wait up to BUSY_SECONDS for another process and always waits for the disk, so it happens in one
thread that belongs to the journal and has a connection of its own.
"""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import TypeVar

import msgspec

from orchestrator.clock import Clock
from orchestrator.errors import FREE_SPACE, EnvironmentInvalid, StorageError
from orchestrator.files import open_own
from orchestrator.journal.reader import (
    POLL_SECONDS,
    VERSION,
    JournalReader,
    connect,
    facts_by,
    query,
    unusable_journals,
    version_of,
)
from orchestrator.run.facts import Body, Fact
from orchestrator.state_folder import GATEWAY_LOCK
from orchestrator.text import utc_text

T = TypeVar("T")

LOCK_SECONDS = 5.0
"""A gateway that nobody needs any more ends sooner."""


class Facts:
    """The facts as the journal's thread reads and writes them."""

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
        """Only in a transaction."""
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
        """Used in the thread only."""
        self._facts = Facts(writing, clock)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._pauses: set[asyncio.Future[None]] = set()
        """Of those who follow the journal in this process."""

    @classmethod
    def open(cls, path: Path, clock: Clock) -> "Journal":
        """Open or make the journal; raises EnvironmentInvalid when it is damaged or of a newer version."""
        with unusable_journals(path):
            writing = _opened(path)
            return cls(connect(path), writing, clock)

    def close(self) -> None:
        """Finish what is being written, then close."""
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
        """Store one fact durably and give it with its number.

        Raises sqlite3.IntegrityError when a fact of this kind and `key` exists already, StorageError when
        it cannot be stored.
        """
        return await self.transact(lambda facts: facts.append(run, body, task=task, attempt=attempt, key=key))

    async def transact(
        self, work: Callable[[Facts], T], *, stored: Callable[[T], None] = lambda result: None
    ) -> T:
        """Do `work` while nobody else can write; once it is durable, `stored` gets its result in the loop.

        Transactions take place in the order in which they are asked for. One that was asked for takes place
        and is reported to `stored` even when the waiting task is cancelled; CancelledError is raised after
        that, so that whoever cleans up finds the journal and what was folded from it in step.
        """

        def report(result: T) -> None:
            stored(result)
            for pause in self._pauses:
                pause.cancel()

        return await self._in_thread(partial(self._transact, work), report)

    async def read(self, work: Callable[[Facts], T], *, seen: Callable[[T], None]) -> T:
        """As `transact` and in the same order, but `work` only reads and waits for no other process."""
        return await self._in_thread(partial(self._read, work), seen)

    async def _in_thread(self, work: Callable[[], T], report: Callable[[T], None]) -> T:
        def done(doing: asyncio.Future[T]) -> None:
            if doing.exception() is None:
                report(doing.result())

        doing = asyncio.get_running_loop().run_in_executor(self._thread, work)
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

    def _transact(self, work: Callable[[Facts], T]) -> T:
        with _failing_storage("written"), _transaction(self._writing):
            return work(self._facts)

    def _read(self, work: Callable[[Facts], T]) -> T:
        with _failing_storage("read"):
            return work(self._facts)

    async def _pause(self) -> None:
        """Cut short when this process appends."""
        pausing = asyncio.ensure_future(self._clock.sleep(POLL_SECONDS))
        self._pauses.add(pausing)
        try:
            await asyncio.wait((pausing,))
        finally:
            self._pauses.discard(pausing)
            pausing.cancel()


@contextmanager
def _failing_storage(done: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        held = error.sqlite_errorname.startswith("SQLITE_BUSY")
        hint = "Another program holds it. Once that has ended: orchestrator resume" if held else FREE_SPACE
        raise StorageError(f"the journal cannot be {done}: {error}", hint=hint) from error


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
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
    with _no_gateway(connection, path):
        _carry_out(migrations, connection, path)


@contextmanager
def _no_gateway(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """A gateway serves attempts with the facts that its own version knows, so none may live meanwhile.

    A new journal has none. Whoever else holds the lock briefly is another process that migrates: waited for.
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
                        "the journal was written by an older orchestrator whose gateway is still at work",
                        where=str(path),
                        hint="Wait until its attempts have ended, then try again; or use the older one.",
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(lock)


def _carry_out(migrations: tuple[str, ...], connection: sqlite3.Connection, path: Path) -> None:
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
