"""A run's journal as a feed: every fact of the run, folded and reported in the order of its number."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial, reduce
from types import MappingProxyType

from orchestrator.journal.journal import Facts, Journal
from orchestrator.run.facts import Body, Fact, Listener, NamesReserved, Notice, RunStarted, TaskFinished
from orchestrator.run.state import AttemptState, RunState, advance, fold

_log = logging.getLogger(__name__)


class RunTransaction:
    """A run while no other process can append: its state after all facts, those written here included."""

    def __init__(self, facts: Facts, known: RunState) -> None:
        self._facts = facts
        self.others = facts.of(known.run, after=known.last_n)
        """Facts that were stored since `known`, oldest first."""
        self.own: list[Fact] = []
        """Facts written in this transaction."""
        self.state = reduce(advance, self.others, known)

    def append(self, body: Body, *, task: str | None = None, attempt: int | None = None) -> None:
        """Raises ValueError when the fact cannot follow; then nothing of the transaction is stored."""
        fact = self._facts.append(self.state.run, body, task=task, attempt=attempt)
        self.state = advance(self.state, fact)
        self.own.append(fact)


class RunJournal:
    """The owner's side of a run's journal: what it and other processes append, and the state after all of it.

    Other processes append facts of the run as well; `cancel` does. An owner that knew only its own facts
    would continue a run that was cancelled, so each transaction first reads what others have stored since the
    one before. State and listeners therefore get all facts, each once, in the order of their numbers.

    Facts are written in the journal's own thread. State and listeners change in the event loop only, so code
    between two `await`s sees one state.
    """

    def __init__(self, journal: Journal, state: RunState, listeners: tuple[Listener, ...] = ()) -> None:
        self._journal = journal
        self._listeners = listeners
        self._waiting: dict[asyncio.Future[None], Callable[[RunState], bool]] = {}
        """Who waits for a state, and for which."""
        self._others_appended = False
        """Since `wait_for_change` returned last."""
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
        """Store a new run's first facts in one transaction.

        `finished` are tasks that this run does not carry out. A kill between two transactions would leave a
        run without some of them, and `resume` would do those tasks.
        """
        bodies: list[Body] = [started, *notices]

        def store(facts: Facts) -> list[Fact]:
            return [
                *(facts.append(run, body) for body in bodies),
                *(facts.append(run, body, task=task) for task, body in finished.items()),
            ]

        stored = await journal.transact(store, stored=partial(_notify, listeners))
        return cls(journal, fold(stored), listeners)

    @classmethod
    def open(cls, journal: Journal, run: str, listeners: tuple[Listener, ...] = ()) -> "RunJournal":
        """The run after the facts stored so far; listeners receive only later ones."""
        return cls(journal, fold(journal.state_facts(run)), listeners)

    async def refresh(self) -> None:
        """Fold what other processes have appended: every fact stored before this call is in the state."""
        await self._journal.read(lambda facts: RunTransaction(facts, self.state), seen=self._take_over)

    async def wait_until(self, is_met: Callable[[RunState], bool]) -> None:
        """Returns once the state meets the condition.

        Facts of other processes are seen while another task refreshes the state, as `wait_for_change` does.
        """
        if is_met(self.state):
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = is_met
        try:
            await waiting
        finally:
            del self._waiting[waiting]

    async def wait_for_change(self) -> None:
        """Returns once a fact of another process was folded, at the earliest since this returned last.

        A read that fails is tried again after the poll interval. If it ended the waiting, a request to cancel
        would go unnoticed for the rest of the run.
        """
        logged: str | None = None
        while not self._others_appended:
            try:
                await self._next_change()
            except Exception as error:
                # An error that repeats is logged once, without its hint: the user need not do anything yet.
                what = str(error).partition("\n")[0]
                if what != logged:
                    logged = what
                    _log.warning("listening_failed: run %s, trying again: %s", self.state.run, logged)
                await self._journal.pause()
        self._others_appended = False

    async def _next_change(self) -> None:
        async with aclosing(self._journal.follow(self.state.run, self.state.last_n)) as facts:
            while not self._others_appended:
                await anext(facts)
                await self.refresh()

    async def append(
        self,
        body: Body | Callable[[RunState, int], Body],
        *,
        task: str | None = None,
        attempt: int | None = None,
    ) -> Fact:
        """Store one fact and return it. Raises StorageError; ValueError when the fact cannot follow.

        `body` can be a function of the state before the fact and of the fact's number. It is called inside
        the transaction, so it can give out a name (an evidence id, a ref) that no other fact has.
        """

        def write(run: RunTransaction) -> None:
            built = body(run.state, run.state.last_n + 1) if callable(body) else body
            run.append(built, task=task, attempt=attempt)

        return (await self.transact(write)).own[0]

    async def transact(self, write: Callable[[RunTransaction], None]) -> RunTransaction:
        """Store all facts that `write` appends, or none. Raises StorageError, and the errors of `write`.

        `write` runs in the journal's thread. When the caller is cancelled, the facts are stored and folded
        nevertheless, before CancelledError is raised. Otherwise the code that cleans up would not know the
        container that the last fact announces.
        """

        def work(facts: Facts) -> RunTransaction:
            transaction = RunTransaction(facts, self.state)
            write(transaction)
            return transaction

        return await self._journal.transact(work, stored=self._take_over)

    def count_reported_bytes(self, task: str, attempt: AttemptState) -> int:
        """How many bytes of the attempt's standard output are in the journal as facts."""
        return self._journal.count_reported_bytes(
            self.state.run, task, attempt.number, after=attempt.started_n
        )

    async def append_all(self, bodies: Sequence[Body], *, task: str, attempt: int) -> None:
        """Store several facts about an attempt, or none of them. Raises StorageError."""

        def write(run: RunTransaction) -> None:
            for body in bodies:
                run.append(body, task=task, attempt=attempt)

        await self.transact(write)

    async def reserve_evidence(self, count: int, *, task: str | None = None) -> tuple[str, ...]:
        """So many new evidence ids, which nothing else in the run ever gets."""

        def name_evidence(state: RunState, _n: int) -> NamesReserved:
            return NamesReserved(evidence=tuple(f"e{state.evidence_given + i + 1}" for i in range(count)))

        return (await self._reserve(name_evidence, task)).evidence if count else ()

    async def reserve_ref(self, kind: str, *, suffix: str = "", task: str | None = None) -> str:
        """A new ref of this kind in our own repository, which nothing else in the run ever gets."""

        def name_ref(state: RunState, n: int) -> NamesReserved:
            return NamesReserved(ref=f"refs/ktrdr/{kind}/{state.run}/{n}{suffix}")

        ref = (await self._reserve(name_ref, task)).ref
        assert ref is not None
        return ref

    async def _reserve(
        self, build: Callable[[RunState, int], NamesReserved], task: str | None
    ) -> NamesReserved:
        body = (await self.append(build, task=task)).body
        assert isinstance(body, NamesReserved)
        return body

    def _take_over(self, transaction: RunTransaction) -> None:
        # The thread can begin a transaction before the loop has taken over the one before it, and then reads
        # the facts of that one as facts of others. By now they are known.
        others = [fact for fact in transaction.others if fact.n > self.state.last_n]
        self._others_appended = self._others_appended or bool(others)
        self.state = transaction.state
        for waiting, is_met in self._waiting.items():
            if not waiting.done() and is_met(self.state):
                waiting.set_result(None)
        _notify(self._listeners, [*others, *transaction.own])


def _notify(listeners: tuple[Listener, ...], facts: Iterable[Fact]) -> None:
    """Call each listener with each fact. A listener that raises misses that fact; the run continues."""
    for fact in facts:
        for listener in listeners:
            try:
                listener(fact)
            except Exception:
                _log.exception("listener_failed: fact %d of run %s, %s", fact.n, fact.run, fact.body.kind)
