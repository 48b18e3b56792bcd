"""Signs of life of what runs long: setup, the base's checks, gates."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from orchestrator.clock import Clock
from orchestrator.engine.context import RunRecords, Services
from orchestrator.run.facts import StillRunning
from orchestrator.text import plain

FIRST_SECONDS = 5.0
MOST_SECONDS = 60.0
"""Between two signs; until then each comes when the time has doubled."""
_POLL_SECONDS = 0.5
_KEPT_BYTES = 2000
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Heartbeat:
    """What runs at the moment, since when, and what it printed last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._what: str | None = None
        self._begun = self._due = 0.0
        self._output = b""

    def begin(self, what: str) -> None:
        self._what, self._output = what, b""
        self._begun = self._clock.monotonic()
        self._due = self._begun + FIRST_SECONDS

    def printed(self, data: bytes) -> None:
        self._output = (self._output + data[-_KEPT_BYTES:])[-_KEPT_BYTES:]

    def end(self) -> None:
        self._what = None

    def due(self) -> StillRunning | None:
        """The sign of life that is due now; None until it is time for the next one."""
        now = self._clock.monotonic()
        if self._what is None or now < self._due:
            return None
        seconds = now - self._begun
        self._due = now + min(seconds, MOST_SECONDS)
        return StillRunning(what=self._what, seconds=round(seconds, 3), text=self._last_line())

    def _last_line(self) -> str:
        """The last line with something in it; what a progress bar has overwritten is none."""
        text = _COLOUR.sub("", self._output.decode("utf-8", "replace")).replace("\r", "\n")
        shown = [plain(line).strip() for line in text.split("\n") if line.strip()]
        return shown[-1] if shown else ""


@asynccontextmanager
async def heartbeat(
    services: Services, records: RunRecords, *, task: str | None = None, attempt: int | None = None
) -> AsyncGenerator[Heartbeat]:
    """While the body runs, a fact every now and then says what is running."""
    beat = Heartbeat(services.clock)

    async def append_when_due() -> None:
        while True:
            await services.clock.sleep(_POLL_SECONDS)
            due = beat.due()
            if due is not None:
                await records.journal.append(due, task=task, attempt=attempt)

    beating = asyncio.create_task(append_when_due())
    try:
        yield beat
    finally:
        beating.cancel()
        # Errors are ignored: the next fact that matters reports a journal that takes none.
        await asyncio.gather(beating, return_exceptions=True)
