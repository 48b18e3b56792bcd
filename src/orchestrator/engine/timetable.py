"""When an invocation begins its work, when it stops, and whether it waits for what passes by itself."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime

from orchestrator.clock import Clock
from orchestrator.engine.stop_signals import end_process
from orchestrator.project.host import is_never_shutting_down
from orchestrator.run.facts import Sleep

LOOK_SECONDS = 5.0
"""Between two readings of the wall clock: a machine that slept continues this long after it woke up."""
AWAKE_SECONDS = 12 * 3600.0
"""The longest wait during which the machine is kept awake."""
UNTIL = "the time given by --until has come"


async def check_nothing() -> None:
    """There is nothing to check again."""


def let_sleep() -> AbstractAsyncContextManager[Sleep]:
    """Does not keep the machine awake, as the user wants it."""
    return nullcontext("allowed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    clock: Clock
    waits: bool = False
    """Whether the run waits for what passes by itself (`--wait`)."""
    left_open: asyncio.Event | None = None
    """The run waits for answers of a user at its terminal until this is set; None: no user is asked there."""
    at: datetime | None = None
    """When work begins, after the checks on the base (`--at`)."""
    until: datetime | None = None
    """When the run is stopped in order (`--until`)."""
    check_again: Callable[[], Awaitable[None]] = check_nothing
    """Called when a wait for `at` has ended. Raises OrchestratorError where the run cannot continue."""
    keep_awake: Callable[[], AbstractAsyncContextManager[Sleep]] = let_sleep
    """Keeps the machine awake between entering and leaving, and says whether it can."""
    is_shutting_down: Callable[[], Awaitable[bool]] = is_never_shutting_down
    """Whether the machine shuts down, so that a signal does not come from the user."""
    end_process: Callable[[], object] = end_process
    """Ends the process at once, after the third signal."""
    jitter: Callable[[], float] = random.random

    async def reach(self, moment: datetime) -> None:
        """Returns once the wall clock has reached this moment; the clock may be set meanwhile."""
        while (left := (moment - self.clock.now()).total_seconds()) > 0:
            await self.clock.sleep(min(left, LOOK_SECONDS))
