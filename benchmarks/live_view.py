"""The cost of a terminal that watches a run, and the time until it shows a fact.

`watch` runs at a pseudo-terminal of 100 x 30. This program stands for the one that carries out the run: it
holds the run's lock and appends facts. The processor time is that of the watching process. No container is
started.
Run: python benchmarks/live_view.py [SECONDS] [FACTS]
"""

import asyncio
import fcntl
import os
import pty
import select
import statistics
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orchestrator
from orchestrator.clock import SystemClock
from orchestrator.journal.journal import Facts, Journal
from orchestrator.project.locks import RunLock
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptStarted,
    BaseRunEnded,
    Body,
    BranchReady,
    RunOptions,
    RunStarted,
    TaskEntry,
    TaskStarted,
)
from orchestrator.state_folder import open_state_folder

RUN = "watched"
COMMAND = "import sys; from orchestrator.cli.main import console; sys.exit(console())"
BEATS_A_SECOND = 50


def first_facts() -> list[tuple[Body, str | None, int | None]]:
    entries = tuple(TaskEntry(id=str(n), title=f"Task {n}", type="CODING", hash="h") for n in range(1, 6))
    started = RunStarted(
        plan="plan.md",
        plan_title="A benchmark",
        folder="/code",
        branch="work",
        base="b" * 40,
        head="b" * 40,
        tasks=entries,
        end_to_end=False,
        options=RunOptions(agent="nop"),
    )
    attempt = AttemptStarted(
        container="c", session="s", resumed=False, parent="b" * 40, folder="attempts/1/1"
    )
    return [
        (started, None, None),
        (BaseRunEnded(), None, None),
        (BranchReady(branch="work", commit="b" * 40), None, None),
        (TaskStarted(title="Task 1", parent="b" * 40), "1", None),
        (attempt, "1", 1),
    ]


def output(number: int) -> Body:
    """The output of an agent: a text and a tool call in turn."""
    if number % 2:
        return AgentText(text=f"Now I read part {number} of the program, to find where it is used.")
    return AgentTool(name="Bash", summary=f"python -m pytest tests/test_part_{number}.py -x -q")


class Feeder:
    """The process that carries out the run, as far as `watch` can see it."""

    def __init__(self, environ: dict[str, str]) -> None:
        state = open_state_folder(environ).path
        self.journal = Journal.open(state / "journal.sqlite", SystemClock())
        folder = RunFolder(root=state / "runs" / RUN)
        folder.root.mkdir(parents=True)
        self.lock = RunLock.take(folder.lock, SystemClock())
        self.number = 0
        asyncio.run(self._append(first_facts()))

    async def _append(self, bodies: list[tuple[Body, str | None, int | None]]) -> None:
        def write(facts: Facts) -> None:
            for body, task, attempt in bodies:
                facts.append(RUN, body, task=task, attempt=attempt)

        await self.journal.transact(write)

    async def say(self, count: int) -> None:
        self.number += count
        await self._append([(output(self.number - count + n), "1", 1) for n in range(count)])

    async def feed(self, rate: int, seconds: float) -> None:
        """Append so many facts a second, evenly, for so long."""
        begun, done = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < seconds:
            due = int(passed * rate) - done
            if due:
                await self.say(due)
                done += due
            await asyncio.sleep(1 / BEATS_A_SECOND)

    def close(self) -> None:
        if self.lock is not None:
            self.lock.release()
        self.journal.close()


class Terminal:
    """`watch` at a terminal; a thread reads what it draws, as an emulator does."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.seen = bytearray()
        self.begun = time.monotonic()
        self.pid, self.ours = pty.fork()
        if self.pid == 0:
            os.execve(  # noqa: S606 - a shell would be measured, too
                sys.executable, (sys.executable, "-c", COMMAND, "watch", RUN), environ
            )
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, b"\x1e\x00\x64\x00\x00\x00\x00\x00")
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        while True:
            select.select([self.ours], [], [])
            try:
                self.seen += os.read(self.ours, 65_536)
            except OSError:
                return

    def wait_for(self, text: str, seconds: float = 60) -> float:
        """How long it took from now until the text was drawn."""
        begun = time.monotonic()
        while text.encode() not in self.seen:
            if time.monotonic() - begun > seconds:
                raise TimeoutError(f"{text!r} was not drawn")
            time.sleep(0.001)
        return time.monotonic() - begun

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def watching(environ: dict[str, str]) -> Iterator[Terminal]:
    terminal = Terminal(environ)
    try:
        terminal.wait_for("^C ends")
        yield terminal
    finally:
        os.write(terminal.ours, b"\x03")
        os.waitpid(terminal.pid, 0)
        os.close(terminal.ours)


def measure_load(feeder: Feeder, environ: dict[str, str], rate: int, seconds: float) -> None:
    with watching(environ) as terminal:
        time.sleep(1)
        begun, used = time.monotonic(), terminal.processor_seconds()
        asyncio.run(feeder.feed(rate, seconds))
        share = (terminal.processor_seconds() - used) / (time.monotonic() - begun)
        print(f"{rate} facts a second: {share:.1%} of a core for the watching terminal ({seconds:g} s)")


def measure_delay(feeder: Feeder, environ: dict[str, str], rounds: int = 30) -> None:
    with watching(environ) as terminal:
        delays = []
        for _ in range(rounds):
            time.sleep(0.37)
            terminal.seen.clear()
            begun = time.monotonic()
            asyncio.run(feeder.say(1))
            shown = f"part {feeder.number - 1} " if (feeder.number - 1) % 2 else f"_{feeder.number - 1}.py"
            terminal.wait_for(shown)
            delays.append(time.monotonic() - begun)
        delays.sort()
        median, most = statistics.median(delays), delays[int(len(delays) * 0.95)]
        print(f"from a fact to the screen: median {median * 1000:.0f} ms, 95 % within {most * 1000:.0f} ms")


def measure_start(feeder: Feeder, environ: dict[str, str], facts: int) -> None:
    while feeder.number < facts:
        asyncio.run(feeder.say(min(5_000, facts - feeder.number)))
    took = []
    for _ in range(5):
        begun = time.monotonic()
        with watching(environ):
            took.append(time.monotonic() - begun)
    print(f"from the command to the first block with {facts:,} facts: {statistics.median(took):.2f} s")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    facts = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    with tempfile.TemporaryDirectory() as area:
        environ = {
            **os.environ,
            "XDG_STATE_HOME": f"{area}/state",
            "PYTHONPATH": str(Path(orchestrator.__file__).parents[1]),
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
        }
        feeder = Feeder(environ)
        print("containers started: 0")
        measure_delay(feeder, environ)
        measure_load(feeder, environ, 10, seconds)
        measure_load(feeder, environ, 1000, seconds)
        measure_start(feeder, environ, facts)
        feeder.close()


if __name__ == "__main__":
    main()
