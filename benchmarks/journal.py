"""Facts a second into the journal, as ratios to bare SQLite with the same durability, in the same run.

The floor inserts a row of the same size into a table of its own, one transaction each, WAL, synchronous
FULL. Batches alternate, so that what else the disk does weighs on both. No container is started.
Run: python benchmarks/journal.py [FACTS]
"""

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.clock import SystemClock
from orchestrator.journal.journal import Journal
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.facts import AgentTool, BaseRunEnded, RunOptions, RunStarted, TaskEntry
from orchestrator.run.state import fold

Work = Callable[[], Awaitable[None]]

BATCH = 100
OLD_FACTS = 100_000
TOOL = AgentTool(name="Bash", summary="python -m pytest tests/ -x -q  # twenty more words of a command line")
STARTED = RunStarted(
    plan="plan.md",
    plan_title="A benchmark",
    folder="/code",
    branch="work",
    base="b",
    head="b",
    tasks=(TaskEntry(id="1", title="One", type="CODING", hash="h"),),
    end_to_end=False,
    options=RunOptions(agent="nop"),
)


def bare(path: Path) -> Work:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, body TEXT)")
    body = "x" * 200

    async def insert() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO rows (body) VALUES (?)", (body,))
        connection.execute("COMMIT")

    return insert


async def journal_in(path: Path) -> tuple[Journal, Work]:
    journal = Journal.open(path, SystemClock())
    run = await RunJournal.begin(journal, "run", STARTED)

    async def append() -> None:
        await run.append(TOOL, task="1", attempt=1)

    return journal, append


async def fill(journal: Journal, path: Path) -> None:
    """An old journal: many facts of another run, written in one go."""
    with sqlite3.connect(path) as raw:
        raw.executemany(
            "INSERT INTO facts (run, n, at, kind, body) VALUES ('old', ?, 't', 'agent_text', ?)",
            ((n, '{"text": "' + "x" * 150 + '"}') for n in range(OLD_FACTS)),
        )
    raw.close()
    await journal.append("old", BaseRunEnded())


async def rate(work: Work) -> float:
    begun = time.perf_counter()
    for _ in range(BATCH):
        await work()
    return BATCH / (time.perf_counter() - begun)


async def main() -> None:
    facts = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    with tempfile.TemporaryDirectory() as area:
        folder = Path(area)
        young, append = await journal_in(folder / "young.sqlite")
        old, append_old = await journal_in(folder / "old.sqlite")
        await fill(old, folder / "old.sqlite")
        sides = {
            "bare SQLite": bare(folder / "bare.sqlite"),
            "journal": append,
            f"journal with {OLD_FACTS} old facts": append_old,
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(max(3, facts // BATCH)):
            for name, work in sides.items():
                rates[name].append(await rate(work))
        report(rates)
        reading(young)
        young.close()
        old.close()


def report(rates: dict[str, list[float]]) -> None:
    floor = statistics.median(rates["bare SQLite"])
    print("containers started: 0")
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"{name}: {middle:.0f} facts/s = {middle / floor:.2f} x the floor")


def reading(journal: Journal) -> None:
    """Time to read and fold everything, as `resume` and `status` do."""
    begun = time.perf_counter()
    everything = journal.facts("run")
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    fold(everything)
    folded = time.perf_counter() - begun
    print(f"{len(everything)} facts read in {read * 1000:.0f} ms, folded in {folded * 1000:.0f} ms")


if __name__ == "__main__":
    asyncio.run(main())
