"""Signals and callers ask to stop: the first reason is kept, and no handler stays behind."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from orchestrator.engine.stop_signals import (
    SAME_REQUEST_SECONDS,
    SIGNALS,
    StopSignals,
    in_background,
    list_heeded_signals,
)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_signal_asks_to_stop_and_says_which_it_was(number: signal.Signals) -> None:
    asked = asyncio.Event()
    with StopSignals(asked.set) as stop:
        assert stop.reason is None
        os.kill(os.getpid(), number)
        await asyncio.wait_for(asked.wait(), 10)
        stop.stop("another reason")
    assert stop.reason == f"stopped by {number.name}"


async def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    await asyncio.sleep(SAME_REQUEST_SECONDS * 1.2)


async def test_the_second_signal_hurries_and_the_third_ends_the_process() -> None:
    log: list[str] = []

    def noting(word: str) -> Callable[[], None]:
        return lambda: log.append(word)

    with StopSignals(noting("stop"), noting("hurry"), noting("end")) as stop:
        await send(signal.SIGINT)
        assert log == ["stop"]
        await send(signal.SIGTERM)
        assert log == ["stop", "stop", "hurry"]
        await send(signal.SIGHUP)  # of a terminal that closes
        assert log[-1] == "hurry"
        await send(signal.SIGINT)
    assert log[-1] == "end"
    assert stop.reason == "stopped by SIGINT"


async def test_a_signal_that_is_passed_on_twice_is_one_request() -> None:
    log: list[str] = []
    with StopSignals(lambda: None, lambda: log.append("hurry")):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
        await send(signal.SIGTERM)
    assert log == []


async def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert list_heeded_signals() == (signal.SIGINT, signal.SIGTERM)
        with StopSignals(lambda: None) as stop:
            await send(signal.SIGHUP)
            assert stop.reason is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_the_handlers_are_gone_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignals(lambda: None):
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, before[0])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def test_work_that_is_not_cancelled_is_not_disturbed() -> None:
    with StopSignals(lambda: None) as stop:
        assert await stop.stop_when_cancelled("by me", asyncio.sleep(0, "done")) == "done"
    assert stop.reason is None


async def test_an_error_of_the_work_comes_through() -> None:
    async def fails() -> None:
        raise LookupError("mine")

    with StopSignals(lambda: None) as stop, pytest.raises(LookupError, match="mine"):
        await stop.stop_when_cancelled("by me", fails())


async def test_being_cancelled_asks_the_work_to_stop_and_waits_for_its_end() -> None:
    asked = asyncio.Event()

    async def stops_in_order() -> str:
        await asked.wait()
        await asyncio.sleep(0)
        return "cleaned up"

    with StopSignals(asked.set) as stop:
        working = asyncio.ensure_future(stop.stop_when_cancelled("by me", stops_in_order()))
        await asyncio.sleep(0)
        for _ in range(2):
            working.cancel()
            await asyncio.sleep(0)
        assert await working == "cleaned up"
    assert stop.reason == "by me"


async def test_listening_ends_with_the_block() -> None:
    log: list[str] = []

    async def listen() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("ended")

    with in_background(listen()):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["ended"]


async def test_an_error_of_the_listening_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def listen() -> None:
        raise LookupError("mine")

    with in_background(listen()):
        for _ in range(3):
            await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == ["listening_ended: LookupError"]
