"""One SQLite file per state folder, in WAL mode; short IMMEDIATE transactions.

Only the holder of a run's lock appends facts of that run's state. A file of a newer version is refused,
an older one is migrated by the numbered files beside this module. Measured rates: `benchmarks/journal.py`.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import FREE_SPACE, EnvironmentInvalid, StorageError
from orchestrator.run.facts import BODIES, Body, Fact

BUSY_SECONDS = 10.0

Listener = Callable[[Fact], None]


def utc_now() -> str:
    """The time as facts carry it: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Journal:
    """Append and read facts. Listeners are told of every fact this process appends, after it is stored."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._listeners: list[Listener] = []

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open or make the journal; raises EnvironmentInvalid when it is damaged or of a newer version."""
        try:
            return cls(_opened(path))
        except sqlite3.DatabaseError as error:
            raise EnvironmentInvalid(
                f"the journal cannot be used: {error}",
                where=str(path),
                hint="Is the disk full, or the file damaged? Move it away to start with an empty one.",
            ) from error

    def close(self) -> None:
        self._connection.close()

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def append(
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
        with self._transaction():
            n = self._connection.execute(_query("append"), row).fetchone()[0]
        fact = Fact(run=run, n=n, at=at, task=task, attempt=attempt, body=body)
        for listener in self._listeners:
            listener(fact)
        return fact

    def has(self, run: str, kind: str) -> bool:
        """Whether the run has a fact of this kind, whoever wrote it."""
        found = self._connection.execute(_query("has"), {"run": run, "kind": kind})
        return found.fetchone() is not None

    def data_version(self) -> int:
        """Changes when another process has written; asking costs microseconds."""
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def facts(self, run: str, *, after: int = 0) -> tuple[Fact, ...]:
        rows = self._connection.execute(_query("of_run"), {"run": run, "after": after})
        return tuple(_fact(row) for row in rows)

    def state_facts(self, run: str) -> tuple[Fact, ...]:
        """All facts that a state is folded from: without what the agent said while it worked."""
        return tuple(
            _fact(row) for row in self._connection.execute(_query("of_run_without_chatter"), {"run": run})
        )

    def starts(self) -> tuple[Fact, ...]:
        """The first fact of every run, newest first."""
        return tuple(_fact(row) for row in self._connection.execute(_query("starts_newest_first")))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            held = error.sqlite_errorname.startswith("SQLITE_BUSY")
            hint = (
                "Another program holds it. Once that has ended: orchestrator resume" if held else FREE_SPACE
            )
            raise StorageError(f"the journal cannot be written: {error}", hint=hint) from error
        finally:
            # A full disk has SQLite roll back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, path)
    except BaseException:
        # An open one would keep its locks on the file.
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    migrations = _migrations()
    newest = len(migrations)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > newest:
        raise EnvironmentInvalid(
            f"the journal is of version {version}, this program knows {newest}",
            where=str(path),
            hint="Use the newer orchestrator, or another state folder (XDG_STATE_HOME).",
        )
    if version == newest:
        return
    connection.execute("BEGIN IMMEDIATE")
    # Read again under the lock: another process may have migrated in between.
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    for number in range(version + 1, newest + 1):
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


@cache
def _queries() -> dict[str, str]:
    text = (resources.files(__package__) / "sql" / "queries.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _query(name: str) -> str:
    return _queries()[name]


def _fact(row: tuple[Any, ...]) -> Fact:
    run, n, at, kind, task, attempt, body = row
    return Fact(
        run=run, n=n, at=at, task=task, attempt=attempt, body=msgspec.json.decode(body, type=BODIES[kind])
    )
