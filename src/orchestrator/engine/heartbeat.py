"""Signs of life while something takes long: setup, the checks of the base, gates."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from orchestrator.clock import Clock
from orchestrator.engine.context import RunRecords, Services
from orchestrator.run.facts import StillRunning
from orchestrator.text import plain_end

FIRST_SECONDS = 5.0
MOST_SECONDS = 60.0
"""The longest time between two signs; up to it, each one comes when the time has doubled."""
_POLL_SECONDS = 0.5
_KEPT_BYTES = 2000


class Heartbeat:
    """The command that runs at the moment, its start, and the last line that it printed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._what: str | None = None
        self._begun = self._due = 0.0
        self._output = b""

    def begin(self, what: str) -> None:
        self._what, self._output = what, b""
        self._begun = self._clock.monotonic()
        self._due = self._begun + FIRST_SECONDS

    def note_output(self, data: bytes) -> None:
        self._output = (self._output + data[-_KEPT_BYTES:])[-_KEPT_BYTES:]

    def end(self) -> None:
        self._what = None

    def take_due(self) -> StillRunning | None:
        """The sign of life that is due now; None before its time, or when nothing runs."""
        now = self._clock.monotonic()
        if self._what is None or now < self._due:
            return None
        seconds = now - self._begun
        self._due = now + min(seconds, MOST_SECONDS)
        # A progress bar overwrites its line after each `\r`, so every part counts as a line of its own.
        text = plain_end(self._output.decode("utf-8", "replace").replace("\r", "\n"), _KEPT_BYTES - 200)
        shown = [line.strip() for line in text.split("\n") if line.strip()]
        last_line = shown[-1] if shown else ""
        return StillRunning(what=self._what, seconds=round(seconds, 3), text=last_line)


async def report_signs_of_life(
    clock: Clock, beat: Heartbeat, pass_on: Callable[[StillRunning], Awaitable[object]]
) -> None:
    """Pass on a sign of life whenever one is due, until this is cancelled."""
    while True:
        await clock.sleep(_POLL_SECONDS)
        due = beat.take_due()
        if due is not None:
            await pass_on(due)


@asynccontextmanager
async def heartbeat(
    services: Services, records: RunRecords, *, task: str | None = None, attempt: int | None = None
) -> AsyncGenerator[Heartbeat]:
    """Append a sign of life whenever one is due, as long as the body runs."""
    beat = Heartbeat(services.clock)

    async def append(sign: StillRunning) -> None:
        await records.journal.append(sign, task=task, attempt=attempt)

    beating = asyncio.create_task(report_signs_of_life(services.clock, beat, append))
    try:
        yield beat
    finally:
        beating.cancel()
        # Errors are ignored: if the journal takes no facts, the next append that matters raises.
        await asyncio.gather(beating, return_exceptions=True)
