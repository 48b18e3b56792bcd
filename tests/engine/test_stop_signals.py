"""Signals and callers ask to stop: the first reason is kept, and no handler stays behind."""

import asyncio
import os
import signal

import pytest

from orchestrator.engine.stop_signals import SIGNALS, StopSignals, in_background


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_signal_asks_to_stop_and_says_which_it_was(number: signal.Signals) -> None:
    asked = asyncio.Event()
    with StopSignals(asked.set) as stop:
        assert stop.reason is None
        os.kill(os.getpid(), number)
        await asyncio.wait_for(asked.wait(), 10)
        stop.stop("another reason")
    assert stop.reason == f"stopped by {number.name}"


async def test_the_handlers_are_gone_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignals(lambda: None):
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, before[0])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def test_work_that_is_not_cancelled_is_not_disturbed() -> None:
    with StopSignals(lambda: None) as stop:
        assert await stop.when_cancelled("by me", asyncio.sleep(0, "done")) == "done"
    assert stop.reason is None


async def test_an_error_of_the_work_comes_through() -> None:
    async def fails() -> None:
        raise LookupError("mine")

    with StopSignals(lambda: None) as stop, pytest.raises(LookupError, match="mine"):
        await stop.when_cancelled("by me", fails())


async def test_being_cancelled_asks_the_work_to_stop_and_waits_for_its_end() -> None:
    asked = asyncio.Event()

    async def stops_in_order() -> str:
        await asked.wait()
        await asyncio.sleep(0)
        return "cleaned up"

    with StopSignals(asked.set) as stop:
        working = asyncio.ensure_future(stop.when_cancelled("by me", stops_in_order()))
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
