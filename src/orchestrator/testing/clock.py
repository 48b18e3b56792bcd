"""Time that passes only when a test moves it, or when every task waits for it."""

import asyncio
import heapq
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class FakeClock:
    """A Clock. `advance` moves it; `run_in_fake_time` moves it by itself whenever all tasks are waiting."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._given = 0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return await asyncio.sleep(0)
        self._given += 1
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._given, woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Move the clock, and wake every sleeper whose time has come."""
        self._elapsed += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)

    def set_time(self, now: datetime) -> None:
        """Set the time of day, forwards or backwards. Sleepers wake when they would have anyway."""
        self._start = now - timedelta(seconds=self._elapsed)

    def seconds_to_next(self) -> float | None:
        """The time until the next sleeper wakes; None when there is no sleeper."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return max(0.0, self._sleepers[0][0] - self._elapsed) if self._sleepers else None


def run_in_fake_time(clock: FakeClock, main: Coroutine[Any, Any, T]) -> T:
    """Run a program to its end without waiting: whenever all of its tasks wait, the clock jumps.

    The loop's own timers (`asyncio.timeout`, `asyncio.sleep`) follow the clock too. The clock stands still
    while a host process or a thread is at work, because these take real time.
    """
    with fake_time_runner(clock) as runner:
        return runner.run(main)


def fake_time_runner(clock: FakeClock) -> asyncio.Runner:
    """For several programs, one after another: tasks that one leaves behind continue with the next."""
    return asyncio.Runner(loop_factory=lambda: FakeTimeLoop(clock))


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a FakeClock's."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._in_threads: set[asyncio.Future[Any]] = set()
        self._processes: list[asyncio.SubprocessTransport] = []
        self._jumping = _JumpingSelector(clock, self._has_real_work)
        super().__init__(self._jumping)
        self._own_files = len(self._jumping.get_map())

    def time(self) -> float:
        return self._clock.monotonic()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._in_threads.add(future)
        future.add_done_callback(self._in_threads.discard)
        return future

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        transport, protocol = await super().subprocess_exec(*args, **options)
        self._processes.append(transport)
        return transport, protocol

    def _has_real_work(self) -> bool:
        """Whether something outside of the loop's tasks is at work, so that the clock must not jump.

        A process that has closed its pipes leaves no file in the selector: only a thread of the loop, which
        `run_in_executor` does not know, waits for its end. So processes are counted as well.
        """
        self._processes = [process for process in self._processes if process.get_returncode() is None]
        has_files = len(self._jumping.get_map()) > self._own_files
        return bool(self._in_threads or self._processes or has_files)


class _JumpingSelector(selectors.DefaultSelector):
    """Jumps the clock where the loop would sleep: the loop calls `select` when none of its tasks can run."""

    def __init__(self, clock: FakeClock, has_real_work: Callable[[], bool]) -> None:
        super().__init__()
        self._clock = clock
        self._has_real_work = has_real_work

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if self._has_real_work():
            # Without a time limit: the one the loop asks for is that of its next timer, in fake time.
            return super().select(None)
        if news := super().select(0):
            return news
        waits = [seconds for seconds in (timeout, self._clock.seconds_to_next()) if seconds is not None]
        if not waits:
            return super().select(None)
        self._clock.advance(min(waits))
        return []
