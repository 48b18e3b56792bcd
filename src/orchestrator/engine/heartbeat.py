"""Signs of life of what runs long: setup, the base's checks, gates."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from orchestrator.engine.context import RunContext
from orchestrator.run.facts import StillRunning
from orchestrator.text import plain

FIRST_SECONDS = 5.0
MOST_SECONDS = 60.0
"""Between two signs; until then each comes when the time has doubled."""
_LOOK_SECONDS = 0.5
_KEPT_BYTES = 2000
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Progress:
    """What runs at the moment, since when, and what it printed last."""

    def __init__(self) -> None:
        self._what: str | None = None
        self._begun = self._due = 0.0
        self._output = b""

    def begin(self, what: str) -> None:
        self._what, self._output = what, b""
        self._begun = time.monotonic()
        self._due = self._begun + FIRST_SECONDS

    def printed(self, data: bytes) -> None:
        self._output = (self._output + data[-_KEPT_BYTES:])[-_KEPT_BYTES:]

    def end(self) -> None:
        self._what = None

    def sign(self, now: float) -> StillRunning | None:
        """What there is to say at `now`, by the monotonic clock; None until it is time."""
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
async def progress_told(
    context: RunContext, *, task: str | None = None, attempt: int | None = None
) -> AsyncGenerator[Progress]:
    """While the body runs, a fact every now and then says what it is at."""
    progress = Progress()
    telling = asyncio.create_task(_tell(context, progress, task, attempt))
    try:
        yield progress
    finally:
        telling.cancel()
        # A journal that takes no facts any more says so with the next one, which matters.
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(context: RunContext, progress: Progress, task: str | None, attempt: int | None) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        sign = progress.sign(time.monotonic())
        if sign is not None:
            await context.journal.append(sign, task=task, attempt=attempt)
