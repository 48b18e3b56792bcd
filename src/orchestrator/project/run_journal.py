"""A run's journal as a feed: every fact of the run, folded and told in the order of its number."""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial, reduce
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.journal.journal import Facts, Journal
from orchestrator.run.facts import Body, Fact, Listener, NamesReserved, Notice, RunStarted, TaskFinished
from orchestrator.run.state import RunState, advance, fold

_log = logging.getLogger(__name__)


class RunJournal:
    """The owner's side of a run's journal: what it and other processes append, and the state after all of it.

    The state is folded, and listeners hear, in the event loop only, at each `append` and `refresh`.
    """

    def __init__(self, journal: Journal, state: RunState, listeners: tuple[Listener, ...] = ()) -> None:
        self._journal = journal
        self._listeners = listeners
        self._others_appended = False
        """Since `changed` returned last."""
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

        def store(facts: Facts) -> list[Fact]:
            return [
                *(facts.append(run, body) for body in bodies),
                *(facts.append(run, body, task=task) for task, body in finished.items()),
            ]

        return cls(journal, fold(await journal.transact(store, stored=partial(_tell, listeners))), listeners)

    @classmethod
    def open(cls, journal: Journal, run: str, listeners: tuple[Listener, ...] = ()) -> "RunJournal":
        """The run as it stands; listeners hear what comes from now on."""
        return cls(journal, fold(journal.state_facts(run)), listeners)

    async def refresh(self) -> None:
        """Fold what other processes have appended; after it the state has every fact stored before."""
        await self._journal.read(self._read, seen=self._see)

    async def changed(self) -> None:
        """Returns once a fact of another process was folded, at the earliest since this returned last."""
        async with aclosing(self._journal.follow(self.state.run, self.state.last_n)) as facts:
            while not self._others_appended:
                await anext(facts)
                await self.refresh()
        self._others_appended = False

    async def append(
        self,
        body: Body | Callable[[RunState, int], Body],
        *,
        task: str | None = None,
        attempt: int | None = None,
    ) -> Fact:
        """Store the fact after all others; the state is the one after it. Raises StorageError.

        `body` may be made of the state before it and of its number: nobody appends in between.

        A fact that cannot follow is not stored and raises ValueError. A cancelled `append` is stored and
        folded all the same, before CancelledError is raised.
        """

        def store(facts: Facts) -> _Seen:
            seen = self._read(facts)
            made = body(seen.state, seen.state.last_n + 1) if callable(body) else body
            mine = facts.append(seen.state.run, made, task=task, attempt=attempt)
            return _Seen(advance(seen.state, mine), seen.others, mine)

        seen = await self._journal.transact(store, stored=self._see)
        assert seen.mine is not None
        return seen.mine

    async def reserve_evidence(self, count: int, *, task: str | None = None) -> tuple[str, ...]:
        """So many new evidence ids, which nothing else in the run ever gets."""

        def reserved(state: RunState, _n: int) -> NamesReserved:
            return NamesReserved(evidence=tuple(f"e{state.evidence_given + i + 1}" for i in range(count)))

        return (await self._reserve(reserved, task)).evidence if count else ()

    async def reserve_ref(self, kind: str, *, suffix: str = "", task: str | None = None) -> str:
        """A new ref of this kind in our own repository, which nothing else in the run ever gets."""

        def reserved(state: RunState, n: int) -> NamesReserved:
            return NamesReserved(ref=f"refs/ktrdr/{kind}/{state.run}/{n}{suffix}")

        ref = (await self._reserve(reserved, task)).ref
        assert ref is not None
        return ref

    async def _reserve(
        self, reserved: Callable[[RunState, int], NamesReserved], task: str | None
    ) -> NamesReserved:
        body = (await self.append(reserved, task=task)).body
        assert isinstance(body, NamesReserved)
        return body

    def _read(self, facts: Facts) -> "_Seen":
        state = self.state
        others = facts.of(state.run, after=state.last_n)
        return _Seen(reduce(advance, others, state), others, None)

    def _see(self, seen: "_Seen") -> None:
        # An append that was asked for while an earlier one was not yet reported has read the fact of that
        # one, too: it is known by now.
        others = [fact for fact in seen.others if fact.n > self.state.last_n]
        self._others_appended = self._others_appended or bool(others)
        self.state = seen.state
        _tell(self._listeners, [*others, *([seen.mine] if seen.mine is not None else [])])


class _Seen(NamedTuple):
    """What a transaction found and did."""

    state: RunState
    others: tuple[Fact, ...]
    """Facts that were stored since the state it began with, oldest first."""
    mine: Fact | None


def _tell(listeners: tuple[Listener, ...], facts: Iterable[Fact]) -> None:
    """A listener that fails misses the fact; the run continues."""
    for fact in facts:
        for listener in listeners:
            try:
                listener(fact)
            except Exception:
                _log.exception("listener_failed: fact %d of run %s, %s", fact.n, fact.run, fact.body.kind)
