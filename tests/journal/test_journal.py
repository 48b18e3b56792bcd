"""The journal in real SQLite files: durable, numbered, once-only, of one version."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess  # noqa: TID251 - processes of their own, to be killed
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.clock import SystemClock
from orchestrator.errors import EnvironmentInvalid, StorageError
from orchestrator.events import Usage
from orchestrator.journal import journal as module
from orchestrator.journal import reader
from orchestrator.journal.journal import Journal
from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptEnded,
    BaseRunEnded,
    Claim,
    Fact,
    Notice,
    RunOptions,
    RunStarted,
    TaskEntry,
)
from orchestrator.testing.clock import FakeClock

SOURCE = str(Path(module.__file__).parents[2])
STARTED = RunStarted(
    plan="plan.md",
    plan_title="A greeting",
    folder="/code",
    branch="work",
    base="b",
    head="b",
    tasks=(TaskEntry(id="1", title="One", type=None, hash="h"),),
    end_to_end=False,
    options=RunOptions(agent="nop", command=("a", "b c")),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal.open(path, SystemClock())
    yield opened
    opened.close()


def texts(facts: tuple[Fact, ...]) -> list[str]:
    return [fact.body.text for fact in facts if isinstance(fact.body, Notice)]


async def test_facts_are_read_as_they_were_written(journal: Journal, path: Path) -> None:
    end = AttemptEnded(
        status="failed",
        reason="näh\n\x00",
        exit_code=None,
        claim=Claim(status="failed", options=("a", "b")),
        usage=Usage(input_tokens=1, cost_usd=0.1),
    )
    written = (
        await journal.append("r", STARTED),
        await journal.append("r", end, task="1", attempt=2),
        await journal.append("r", BaseRunEnded()),
    )
    again = Journal.open(path, SystemClock())
    assert again.facts("r") == written
    assert [fact.n for fact in written] == [1, 2, 3]
    again.close()


@settings(max_examples=30)
@given(st.text(max_size=200))
async def test_any_text_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    journal = Journal.open(tmp_path_factory.mktemp("j") / "journal.sqlite", SystemClock())
    await journal.append("r", Notice(text=text))
    assert texts(journal.facts("r")) == [text]
    journal.close()


async def test_runs_are_numbered_apart(journal: Journal) -> None:
    numbers = [(await journal.append(run, BaseRunEnded())).n for run in ("a", "b", "a", "b", "b")]
    assert numbers == [1, 1, 2, 2, 3]


async def test_facts_after_a_number(journal: Journal) -> None:
    for text in "abc":
        await journal.append("r", Notice(text=text))
    assert texts(journal.facts("r", after=1)) == ["b", "c"]
    assert journal.facts("r", after=3) == () == journal.facts("other")


async def test_a_state_is_folded_without_agent_output(journal: Journal) -> None:
    await journal.append("r", STARTED)
    await journal.append("r", AgentText(text="a"), task="1", attempt=1)
    await journal.append("r", AgentTool(name="n", summary="s"), task="1", attempt=1)
    await journal.append("r", BaseRunEnded())
    assert [fact.n for fact in journal.state_facts("r")] == [1, 4]
    assert len(journal.facts("r")) == 4


async def test_starts_are_newest_first(path: Path) -> None:
    clock = FakeClock()
    journal = Journal.open(path, clock)
    for run in ("a", "b", "c"):
        await journal.append(run, STARTED)
        clock.advance(1)
    assert [start.run for start in journal.starts()] == ["c", "b", "a"]
    assert journal.starts()[0].at == "2026-01-01T12:00:02.000Z"
    journal.close()


async def test_the_first_of_a_kind_and_key_wins(journal: Journal) -> None:
    await journal.append("r", Notice(text="first"), key="k")
    with pytest.raises(sqlite3.IntegrityError):
        await journal.append("r", Notice(text="second"), key="k")
    await journal.append("r", Notice(text="another key"), key="l")
    await journal.append("r", BaseRunEnded(), key="k")
    await journal.append("other", Notice(text="another run"), key="k")
    await journal.append("r", Notice(text="no key"))
    await journal.append("r", Notice(text="no key"))
    assert texts(journal.facts("r")) == ["first", "another key", "no key", "no key"]
    assert [fact.n for fact in journal.facts("r")] == [1, 2, 3, 4, 5]


async def test_an_append_of_any_process_changes_the_data_version(journal: Journal, path: Path) -> None:
    before = journal.data_version()
    assert journal.data_version() == before
    python("await journal.append('r', Notice(text='other'))", path)
    then = journal.data_version()
    assert then != before
    await journal.append("r", Notice(text="mine"))
    assert journal.data_version() not in (before, then)


async def following(facts: AsyncIterator[Fact], received: list[str]) -> None:
    async for fact in facts:
        assert isinstance(fact.body, Notice)
        received.append(fact.body.text)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happened():
            await asyncio.sleep(0.01)


async def test_facts_of_all_processes_are_followed_in_order(path: Path) -> None:
    journal, other = Journal.open(path, SystemClock()), Journal.open(path, SystemClock())
    await journal.append("r", Notice(text="before"))
    received: list[str] = []
    task = asyncio.create_task(following(journal.follow("r", 1), received))
    for text in ("a", "b", "c"):
        await (journal if text == "b" else other).append("r", Notice(text=text))
        await other.append("another run", Notice(text="x"))
    await until(lambda: received == ["a", "b", "c"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    journal.close()
    other.close()


async def test_a_reader_can_follow_too(journal: Journal, path: Path) -> None:
    reading = reader.JournalReader.open_existing(path, SystemClock())
    assert reading is not None
    received: list[str] = []
    task = asyncio.create_task(following(reading.follow("r", 0), received))
    await journal.append("r", Notice(text="a"))
    await until(lambda: received == ["a"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    reading.close()


@pytest.mark.parametrize("read", ["data_version", "facts"])
async def test_following_a_journal_that_cannot_be_read_raises_storage_error(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    def fail(*_args: object, **_named: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    await journal.append("r", Notice(text="a"))
    facts = journal.follow("r", 0)
    await anext(facts)
    await journal.append("r", Notice(text="b"))
    monkeypatch.setattr(journal, read, fail)
    with pytest.raises(StorageError, match="the journal cannot be read: disk I/O error"):
        await anext(facts)


async def test_an_append_of_this_process_is_followed_at_once_that_of_another_after_a_poll(
    path: Path,
) -> None:
    clock = FakeClock()
    journal, other = Journal.open(path, clock), Journal.open(path, SystemClock())
    received: list[str] = []
    task = asyncio.create_task(following(journal.follow("r", 0), received))
    await asyncio.sleep(0.05)
    await journal.append("r", Notice(text="mine"))
    await until(lambda: received == ["mine"])
    await other.append("r", Notice(text="other"))
    await asyncio.sleep(0.05)
    assert received == ["mine"]  # the clock stands still
    clock.advance(reader.POLL_SECONDS)
    await until(lambda: received == ["mine", "other"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    journal.close()
    other.close()


@pytest.mark.parametrize("content", [None, b""], ids=["no file", "an empty file"])
def test_there_is_nothing_to_read_yet(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    assert reader.JournalReader.open_existing(path, SystemClock()) is None
    assert path.exists() == (content is not None)


def python(code: str, path: Path) -> None:
    with writer(code, path) as child:
        child.communicate(timeout=60)
    assert child.returncode == 0


def writer(code: str, path: Path) -> "subprocess.Popen[str]":
    """A process of its own with the journal open; what it prints comes back line by line."""
    head = (
        "import sys; from pathlib import Path\n"
        "import asyncio\n"
        "from orchestrator.clock import SystemClock\n"
        "from orchestrator.journal.journal import Journal\n"
        "from orchestrator.run.facts import Notice\n"
        "journal = Journal.open(Path(sys.argv[1]), SystemClock())\n"
        "async def main():\n"
    )
    body = textwrap.indent(f"{code}\njournal.close()", "    ")
    return subprocess.Popen(
        [sys.executable, "-c", f"{head}{body}\nasyncio.run(main())", str(path)],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdout=subprocess.PIPE,
        text=True,
    )


async def test_kill_9_loses_nothing_that_was_appended(path: Path) -> None:
    code = (
        "for number in range(10**6):\n"
        "    fact = await journal.append('r', Notice(text=str(number)))\n"
        "    print(fact.n, flush=True)\n"
    )
    with writer(code, path) as child:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(50)]
        child.send_signal(signal.SIGKILL)
        said += [int(line) for line in child.stdout.read().split("\n") if line]
    journal = Journal.open(path, SystemClock())
    found = [fact.n for fact in journal.facts("r")]
    assert found[: len(said)] == said == list(range(1, len(said) + 1))
    assert len(found) <= len(said) + 1
    assert (await journal.append("r", Notice(text="more"))).n == len(found) + 1
    journal.close()


@pytest.mark.parametrize(
    "runs", [("r", "r", "r"), ("a", "b", "c")], ids=["the same run", "runs of their own"]
)
async def test_processes_that_append_at_once_get_numbers_of_their_own(
    path: Path, runs: tuple[str, ...]
) -> None:
    each = 100
    code = (
        "run = {run!r}\n"
        "for number in range({each}):\n"
        "    print((await journal.append(run, Notice(text='x'))).n, flush=True)\n"
    )
    children = [writer(code.format(run=run, each=each), path) for run in runs]
    numbers: dict[str, list[int]] = {run: [] for run in runs}
    for run, child in zip(runs, children, strict=True):
        said, _ = child.communicate(timeout=120)
        assert child.returncode == 0
        mine = [int(line) for line in said.split()]
        assert mine == sorted(mine) and len(mine) == each
        numbers[run] += mine
    for found in numbers.values():
        assert sorted(found) == list(range(1, len(found) + 1))


def test_processes_that_open_a_new_journal_at_once_all_can(path: Path) -> None:
    children = [writer("await journal.append('r', Notice(text='x'))\n", path) for _ in range(8)]
    for child in children:
        child.communicate(timeout=120)
    assert [child.returncode for child in children] == [0] * 8
    journal = Journal.open(path, SystemClock())
    assert len(journal.facts("r")) == 8
    journal.close()


async def test_only_its_owner_can_read_it(journal: Journal, path: Path) -> None:
    await journal.append("r", STARTED)
    files = sorted(path.parent.glob("journal.sqlite*"))
    assert len(files) == 3  # with -wal and -shm
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_it_is_never_readable_by_others_not_even_while_it_is_made(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        (tmp_path / "a").mkdir()
        journal = Journal.open(tmp_path / "a" / "journal.sqlite", SystemClock())
        journal.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "journal.sqlite").stat().st_mode) == 0o600


async def test_a_newer_version_is_refused_and_left_alone(journal: Journal, path: Path) -> None:
    await journal.append("r", STARTED)
    journal.close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    content = path.read_bytes()
    with pytest.raises(EnvironmentInvalid, match="version 99") as caught:
        Journal.open(path, SystemClock())
    assert "XDG_STATE_HOME" in (caught.value.hint or "")
    assert path.read_bytes() == content


MIGRATIONS = module._migrations()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
async def test_a_file_of_every_version_is_migrated(path: Path, version: int) -> None:
    with sqlite3.connect(path) as raw:
        for script in MIGRATIONS[:version]:
            raw.executescript(script)
        raw.execute(f"PRAGMA user_version = {version}")
        raw.execute(
            "INSERT INTO facts (run, n, at, kind, body) VALUES ('r', 1, 't', 'notice', '{\"text\": \"old\"}')"
        )
    raw.close()
    journal = Journal.open(path, SystemClock())
    assert texts(journal.facts("r")) == ["old"]
    assert (await journal.append("r", Notice(text="new"))).n == 2
    journal.close()


def test_a_new_migration_is_carried_out_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Journal.open(path, SystemClock()).close()
    more = (*MIGRATIONS, "CREATE TABLE more (x);\nINSERT INTO more VALUES (1);\n")
    monkeypatch.setattr(module, "_migrations", lambda: more)
    monkeypatch.setattr(reader, "VERSION", len(more))
    for _ in range(2):
        Journal.open(path, SystemClock()).close()
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM more").fetchone() == (1,)
        assert raw.execute("PRAGMA user_version").fetchone() == (len(more),)
    raw.close()


async def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Journal.open(path, SystemClock()).close()
    broken = (*MIGRATIONS, "CREATE TABLE more (x);\nINSERT INTO nowhere VALUES (1);\n")
    with monkeypatch.context() as patched:
        patched.setattr(module, "_migrations", lambda: broken)
        with pytest.raises(EnvironmentInvalid, match="nowhere"):
            Journal.open(path, SystemClock())
    journal = Journal.open(path, SystemClock())
    assert (await journal.append("r", Notice(text="continues"))).n == 1
    journal.close()


DAMAGED = {"text": b"not a database, but long enough to be read as one" * 40, "zeros": b"\x01" * 8192}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_an_error_with_a_next_step(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(EnvironmentInvalid) as caught:
        Journal.open(path, SystemClock())
    assert caught.value.exit_code == 2 and caught.value.hint
    assert caught.value.where == str(path)
    assert path.read_bytes() == content


def test_a_folder_at_its_path_is_an_error_with_a_next_step(path: Path) -> None:
    path.mkdir()
    with pytest.raises(EnvironmentInvalid):
        Journal.open(path, SystemClock())


async def test_a_full_disk_is_an_error_of_storage_and_loses_nothing(path: Path) -> None:
    Journal.open(path, SystemClock()).close()
    with closing(sqlite3.connect(path)) as small:
        pages = small.execute("PRAGMA page_count").fetchone()[0]
    journal = Journal.open(path, SystemClock())

    async def limit(count: int) -> None:
        await journal.transact(lambda facts: facts._connection.execute(f"PRAGMA max_page_count = {count}"))

    await limit(pages + 2)
    with pytest.raises(StorageError, match="full") as full:
        for _ in range(100):
            await journal.append("r", AgentText(text="x" * 1000))
    assert full.value.fault == "disk_full"
    stored = len(journal.facts("r"))
    assert stored > 0
    await limit(pages + 1000)
    assert (await journal.append("r", AgentText(text="y"))).n == stored + 1
    journal.close()
