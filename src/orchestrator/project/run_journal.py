"""A run's journal as a feed: every fact of the run, folded and told in the order of its number."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from functools import reduce
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.journal.journal import Journal, Transaction
from orchestrator.run.facts import Body, CancelWished, Fact, Listener, Notice, RunStarted, TaskFinished
from orchestrator.run.state import RunState, advance, fold

WISH_POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


class RunJournal:
    """The owner's side of a run's journal: what it and other processes append, and the state after all of it.

    The state is folded, and listeners hear, in the event loop only, at each `append` and `refresh`.
    """

    def __init__(self, journal: Journal, state: RunState, listeners: tuple[Listener, ...] = ()) -> None:
        self._journal = journal
        self._listeners = listeners
        self.state = state
        """After all facts up to `state.last_n`."""

    @classmethod
    async def begin(
        cls,
        journal: Journal,
        run: str,
        started: RunStarted,
        notices: Iterable[Notice] = (),
        finished: Mapping[str, TaskFinished] = MappingProxyType({}),
        listeners: tuple[Listener, ...] = (),
    ) -> "RunJournal":
        """Store a new run's first facts, all of them or none: without the last it would do other tasks."""

        bodies: list[Body] = [started, *notices]

        def store(transaction: Transaction) -> list[Fact]:
            return [
                *(transaction.append(run, body) for body in bodies),
                *(transaction.append(run, body, task=task) for task, body in finished.items()),
            ]

        def tell(facts: Iterable[Fact]) -> None:
            for fact in facts:
                _tell(listeners, fact)

        return cls(journal, fold(await journal.transact(store, stored=tell)), listeners)

    @classmethod
    def open(cls, journal: Journal, run: str, listeners: tuple[Listener, ...] = ()) -> "RunJournal":
        """The run as it stands; listeners hear what comes from now on."""
        return cls(journal, fold(journal.state_facts(run)), listeners)

    async def cancel_wish(self) -> None:
        """Returns once somebody wishes the run cancelled; other processes write that wish."""
        seen = -1
        while True:
            version = self._journal.data_version()
            if version != seen and self._journal.has(self.state.run, CancelWished.kind):
                return
            seen = version
            await asyncio.sleep(WISH_POLL_SECONDS)

    async def append(self, body: Body, *, task: str | None = None, attempt: int | None = None) -> Fact:
        """Store the fact after all others; the state is the one after it. Raises StorageError.

        A fact that cannot follow is not stored and raises ValueError. A cancelled `append` is stored and
        folded all the same, before CancelledError is raised.
        """

        def store(transaction: Transaction) -> _Seen:
            state = self.state
            others = transaction.facts(state.run, after=state.last_n)
            state = reduce(advance, others, state)
            mine = transaction.append(state.run, body, task=task, attempt=attempt)
            return _Seen(advance(state, mine), (*others, mine))

        seen = await self._journal.transact(store, stored=self._see)
        return seen.facts[-1]

    def _see(self, seen: "_Seen") -> None:
        # Of two appends at the same time the second may bring the fact of the first as well.
        fresh = [fact for fact in seen.facts if fact.n > self.state.last_n]
        if fresh:
            self.state = seen.state
        for fact in fresh:
            _tell(self._listeners, fact)


class _Seen(NamedTuple):
    state: RunState
    facts: tuple[Fact, ...]
    """Those that led to it, oldest first."""


def _tell(listeners: tuple[Listener, ...], fact: Fact) -> None:
    """A listener that fails misses the fact; the run goes on."""
    for listener in listeners:
        try:
            listener(fact)
        except Exception:
            _log.exception("listener_failed: fact %d of run %s, %s", fact.n, fact.run, fact.body.kind)
