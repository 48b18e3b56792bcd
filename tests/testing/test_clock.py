"""Time that a test moves, and time that moves by itself."""

import asyncio
import time
from datetime import timedelta

import pytest

from orchestrator import subprocesses
from orchestrator.testing.clock import START, FakeClock, run_in_fake_time


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_sleeper_wakes_when_its_time_has_come_and_not_before() -> None:
    clock, woken = FakeClock(), []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleep(seconds)) for seconds in (30, 10, 20)]
    await _settle()
    clock.advance(19.5)
    await _settle()
    assert woken == [10]
    clock.advance(10.5)
    await asyncio.gather(*tasks)
    assert woken == [10, 20, 30]
    assert clock.monotonic() == 30
    assert clock.now() == START + timedelta(seconds=30)


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(5))
    await _settle()
    assert clock.seconds_to_next() == 5
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.seconds_to_next() is None


def test_hours_pass_at_once_when_every_task_waits() -> None:
    clock, order = FakeClock(), []

    async def tick(name: str, seconds: float, times: int) -> None:
        for _ in range(times):
            await clock.sleep(seconds)
            order.append((name, clock.monotonic()))

    async def main() -> None:
        await asyncio.gather(tick("slow", 3600, 2), tick("fast", 1500, 3))

    begun = time.monotonic()
    run_in_fake_time(clock, main())
    assert time.monotonic() - begun < 5
    assert order == [("fast", 1500), ("fast", 3000), ("slow", 3600), ("fast", 4500), ("slow", 7200)]


def test_timers_of_the_loop_follow_the_clock() -> None:
    clock = FakeClock()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await clock.sleep(100)
        assert clock.monotonic() == pytest.approx(60)
        await asyncio.sleep(1000)
        assert clock.monotonic() == pytest.approx(1060)

    run_in_fake_time(clock, main())


def test_the_clock_stands_still_while_a_process_or_a_thread_is_at_work() -> None:
    clock = FakeClock()

    async def main() -> None:
        sleeper = asyncio.create_task(clock.sleep(10))
        await subprocesses.run(["sleep", "0.2"], timeout=5)
        await asyncio.to_thread(time.sleep, 0.1)
        assert (clock.monotonic(), sleeper.done()) == (0, False)
        await sleeper

    run_in_fake_time(clock, main())
    assert clock.monotonic() == 10
