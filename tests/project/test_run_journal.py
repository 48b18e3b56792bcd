"""A run's journal: state and listeners get every fact of every process, in order, once."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.clock import SystemClock
from orchestrator.errors import StorageError
from orchestrator.journal import journal as module
from orchestrator.journal import reader
from orchestrator.journal.journal import Journal
from orchestrator.journal.reader import JournalReader
from orchestrator.project.run_journal import RunJournal, RunTransaction
from orchestrator.run.facts import (
    AgentText,
    AttemptStarted,
    CancelRequested,
    Fact,
    Notice,
    QuestionAnswered,
    QuestionAsked,
    RunOptions,
    RunStarted,
    TaskEntry,
    TaskFinished,
    TaskStarted,
)
from orchestrator.run.state import RunState, fold

STARTED = RunStarted(
    plan="plan.md",
    plan_title="A greeting",
    folder="/code",
    branch="work",
    base="b",
    head="b",
    tasks=tuple(TaskEntry(id=id, title=id, type=None, hash="h") for id in ("1", "2")),
    end_to_end=False,
    options=RunOptions(agent="nop"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal.open(path, SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def other(path: Path, journal: Journal) -> Iterator[Journal]:
    """The journal as another process has it open."""
    opened = Journal.open(path, SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def received() -> list[Fact]:
    return []


@pytest.fixture
async def run(journal: Journal, received: list[Fact]) -> RunJournal:
    return await RunJournal.begin(journal, "r", STARTED, listeners=(received.append,))


async def test_a_runs_first_facts_are_stored_and_received_in_order(journal: Journal) -> None:
    received: list[Fact] = []
    skipped = TaskFinished(status="skipped", reason="left out")
    run = await RunJournal.begin(
        journal, "r", STARTED, [Notice(text="a")], {"2": skipped}, (received.append,)
    )
    assert [fact.body for fact in received] == [STARTED, Notice(text="a"), skipped]
    assert journal.facts("r") == tuple(received)
    assert run.state == fold(received)


async def test_what_others_append_is_folded_and_received_in_its_order(
    run: RunJournal, journal: Journal, other: Journal, received: list[Fact]
) -> None:
    await run.append(QuestionAsked(question="q1", text="which?"), task="1", attempt=1)
    await other.append("r", QuestionAnswered(question="q1", by="ada", text="this"), task="1")
    await other.append("another run", Notice(text="of another run"))
    mine = await run.append(Notice(text="mine"))
    assert mine.n == 4
    assert not run.state.open_questions
    assert [fact.n for fact in received] == [1, 2, 3, 4]
    assert tuple(received) == journal.facts("r")
    assert run.state == fold(received)


async def test_a_refresh_folds_what_others_appended(
    run: RunJournal, other: Journal, received: list[Fact]
) -> None:
    await run.refresh()
    assert run.state.last_n == 1
    await other.append("r", CancelRequested())
    assert not run.state.cancel_requested
    await asyncio.gather(run.refresh(), run.refresh(), run.append(Notice(text="mine")), run.refresh())
    assert run.state.cancel_requested
    assert [fact.n for fact in received] == [1, 2, 3]


async def test_a_change_is_a_fact_of_another_process(run: RunJournal, other: Journal) -> None:
    changed = asyncio.create_task(run.wait_for_change())
    await run.append(Notice(text="mine"))
    await asyncio.sleep(0.05)
    assert not changed.done()
    await other.append("r", CancelRequested())
    await asyncio.wait_for(changed, 20)
    assert run.state.cancel_requested


async def test_a_change_that_an_append_has_folded_is_reported_once(run: RunJournal, other: Journal) -> None:
    await other.append("r", CancelRequested())
    await run.append(Notice(text="mine"))
    await asyncio.wait_for(run.wait_for_change(), 20)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run.wait_for_change(), 0.1)


async def test_a_read_that_fails_is_tried_again(
    run: RunJournal, other: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read, failures = JournalReader.data_version, 0

    def fail_at_first(journal: JournalReader) -> int:
        nonlocal failures
        if failures < 3:
            failures += 1
            raise sqlite3.OperationalError("disk I/O error")
        return read(journal)

    monkeypatch.setattr(reader, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(JournalReader, "data_version", fail_at_first)
    changed = asyncio.create_task(run.wait_for_change())
    await asyncio.sleep(0.05)
    await other.append("r", CancelRequested())
    await asyncio.wait_for(changed, 20)
    assert run.state.cancel_requested and failures == 3
    (record,) = caplog.records
    assert record.getMessage().startswith("listening_failed: run r, trying again: the journal cannot be read")


async def test_those_who_ask_at_once_never_get_the_same_name(
    run: RunJournal, journal: Journal, other: Journal
) -> None:
    another = RunJournal.open(other, "r")
    evidence = await asyncio.gather(*(each.reserve_evidence(2) for each in (run, another) for _ in range(5)))
    refs = await asyncio.gather(*(each.reserve_ref("edits") for each in (run, another) for _ in range(5)))
    numbers = sorted(int(id.removeprefix("e")) for ids in evidence for id in ids)
    assert numbers == list(range(1, 21))
    assert len(set(refs)) == 10
    named = {f"refs/ktrdr/edits/r/{fact.n}" for fact in journal.facts("r")}
    assert set(refs) <= named
    await run.refresh()
    assert run.state.evidence_given == 20


async def test_without_names_nothing_is_stored(run: RunJournal) -> None:
    assert await run.reserve_evidence(0) == ()
    assert run.state.last_n == 1


async def test_listeners_of_an_opened_run_receive_only_later_facts(run: RunJournal, journal: Journal) -> None:
    await run.append(AgentText(text="the last word"), task="1", attempt=1)
    received: list[Fact] = []
    again = RunJournal.open(journal, "r", (received.append,))
    fact = await again.append(Notice(text="new"))
    assert received == [fact]


async def test_a_fact_that_cannot_follow_is_not_stored(run: RunJournal, journal: Journal) -> None:
    before = run.state
    with pytest.raises(ValueError, match="cannot follow"):
        await run.append(TaskStarted(title="t", parent="p"), task="no such task")
    assert run.state == before
    assert len(journal.facts("r")) == 1


async def test_facts_of_one_transaction_are_stored_together(
    run: RunJournal, journal: Journal, other: Journal, received: list[Fact]
) -> None:
    await other.append("r", Notice(text="of another process"))
    seen: list[RunState] = []

    def write(transaction: RunTransaction) -> None:
        transaction.append(TaskStarted(title="t", parent="p"), task="1")
        seen.append(transaction.state)
        transaction.append(Notice(text="after it"))

    await run.transact(write)
    assert (seen[0].last_n, seen[0].tasks["1"].parent) == (3, "p")
    assert [fact.n for fact in received] == [1, 2, 3, 4]
    assert tuple(received) == journal.facts("r")
    assert run.state == fold(received)


async def test_a_transaction_that_fails_halfway_stores_nothing(
    run: RunJournal, journal: Journal, received: list[Fact]
) -> None:
    def write(transaction: RunTransaction) -> None:
        transaction.append(Notice(text="the first"))
        transaction.append(TaskStarted(title="t", parent="p"), task="no such task")

    with pytest.raises(ValueError, match="cannot follow"):
        await run.transact(write)
    assert len(journal.facts("r")) == len(received) == run.state.last_n == 1


async def test_appends_at_the_same_time_keep_their_order(
    run: RunJournal, other: Journal, received: list[Fact]
) -> None:
    foreign = [other.append("r", Notice(text=f"foreign {number}")) for number in range(20)]
    mine = [run.append(Notice(text=f"mine {number}")) for number in range(20)]
    facts = await asyncio.gather(*(one for pair in zip(mine, foreign, strict=True) for one in pair))
    await run.append(Notice(text="last"))
    assert [fact.n for fact in received] == list(range(1, 43))
    own = [fact.n for fact in facts if isinstance(fact.body, Notice) and fact.body.text.startswith("mine")]
    assert own == sorted(own)


async def test_a_listener_that_fails_is_logged_and_the_others_receive_everything(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[Fact] = []

    def fails(fact: Fact) -> None:
        raise LookupError("mine")

    with caplog.at_level(logging.ERROR):
        run = await RunJournal.begin(journal, "r", STARTED, listeners=(fails, received.append))
        await run.append(Notice(text="a"))
    assert [fact.n for fact in received] == [1, 2] and run.state.last_n == 2
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["listener_failed"] * 2


async def held(path: Path, seconds: float) -> None:
    """Another process is in the middle of writing for that long."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(seconds)
        connection.execute("ROLLBACK")


async def test_the_loop_continues_while_another_process_holds_the_journal(
    run: RunJournal, path: Path
) -> None:
    holding = asyncio.create_task(held(path, 0.5))
    await asyncio.sleep(0.05)
    appending = asyncio.create_task(run.append(Notice(text="waits")))
    ticks = 0
    while not appending.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 20
    await holding


async def test_an_append_that_is_cancelled_is_stored_and_folded_nevertheless(
    run: RunJournal, journal: Journal, received: list[Fact], path: Path
) -> None:
    holding = asyncio.create_task(held(path, 0.3))
    await asyncio.sleep(0.05)
    started = AttemptStarted(container="c", session="s", resumed=False, parent="p", folder="f")
    appending = asyncio.create_task(run.append(started, task="1", attempt=1))
    for _ in range(3):  # once is not enough to get away
        await asyncio.sleep(0.05)
        appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    await holding
    assert run.state.tasks["1"].last is not None
    assert [fact.n for fact in received] == [1, 2]
    assert tuple(received) == journal.facts("r")


async def test_cancelled_at_every_turn_of_the_loop_state_and_journal_agree(
    run: RunJournal, journal: Journal, received: list[Fact]
) -> None:
    for turns in range(12):
        appending = asyncio.create_task(run.append(Notice(text=str(turns))))
        for _ in range(turns):
            await asyncio.sleep(0)
        appending.cancel()
        await asyncio.gather(appending, return_exceptions=True)
        assert tuple(received) == journal.facts("r")
        assert run.state.last_n == len(received)


async def test_an_append_that_is_cancelled_and_cannot_be_stored_raises_cancelled(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BUSY_SECONDS", 0.2)
    journal = Journal.open(path, SystemClock())
    run = await RunJournal.begin(journal, "r", STARTED)
    holding = asyncio.create_task(held(path, 0.6))
    await asyncio.sleep(0.05)
    with pytest.raises(StorageError, match="locked"):
        await run.append(Notice(text="lost"))
    appending = asyncio.create_task(run.append(Notice(text="lost as well")))
    await asyncio.sleep(0.05)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    await holding
    assert (await run.append(Notice(text="stored"))).n == 2
    journal.close()
