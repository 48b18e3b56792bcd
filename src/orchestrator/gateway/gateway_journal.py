"""The gateway as a writer of the journal: facts of its own kinds, about attempts that it serves.

The gateway outlives the owner of a run, so what it sees must not depend on one. It appends in the journal's
thread, like every writer, and opens the journal for its first fact only.
"""

import asyncio
import logging
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.clock import Clock
from orchestrator.errors import OrchestratorError
from orchestrator.gateway.access import AttemptKey
from orchestrator.gateway.limit_recorder import LimitFact
from orchestrator.journal.journal import Journal

log = logging.getLogger(__name__)


class GatewayJournal:
    def __init__(self, state: Path, clock: Clock) -> None:
        self._path = state / "journal.sqlite"
        self._clock = clock
        self._journal: Journal | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._journal is not None:
            await asyncio.to_thread(self._journal.close)

    async def append(self, attempt: AttemptKey, body: LimitFact, key: str) -> None:
        """Store a fact about an attempt, unless there is one of its kind with this key already.

        A journal that cannot be written is logged, and nothing is raised: the agent gets the provider's
        answer all the same.
        """
        unique = f"{attempt.task}/{attempt.attempt}/{key}"
        try:
            journal = await self._open()
            await journal.append(attempt.run, body, task=attempt.task, attempt=attempt.attempt, key=unique)
        except sqlite3.IntegrityError:
            return  # the first fact of a key counts; a gateway that was restarted does not know it
        except (OrchestratorError, sqlite3.Error, OSError) as error:
            log.warning("gateway.journal run=%s %s not stored: %s", attempt.run, body.kind, error)

    async def _open(self) -> Journal:
        async with self._opening:
            if self._journal is None:
                self._journal = await asyncio.to_thread(Journal.open, self._path, self._clock)
            return self._journal
