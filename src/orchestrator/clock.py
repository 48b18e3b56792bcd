"""The clock, which is passed in as an argument so that a test can choose the time and need not wait."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The time of day in UTC. It may jump forwards or backwards."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment. It never decreases."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio  # slow to import, and commands that only read the time do not need it

        await asyncio.sleep(seconds)
