"""Signals stop what is under way in order: it is cancelled, cleans up, and the reason is kept."""

import asyncio
import os
import signal

import pytest

from orchestrator.engine.stop_signals import SIGNALS, StopSignals, stopped_by


async def for_ever(log: list[str]) -> None:
    log.append("begun")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        log.append("cleaned up")


async def until(log: list[str], word: str) -> None:
    while word not in log:
        await asyncio.sleep(0)


async def kill_when_begun(log: list[str], number: signal.Signals) -> None:
    await until(log, "begun")
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
async def test_a_signal_cancels_the_work_and_says_which_it_was(number: signal.Signals) -> None:
    log: list[str] = []
    with StopSignals() as stop:
        killing = asyncio.create_task(kill_when_begun(log, number))
        with pytest.raises(asyncio.CancelledError):
            await stop.unless_stopped(for_ever(log))
        await killing
    assert log == ["begun", "cleaned up"]
    assert stop.reason == f"stopped by {number.name}"


async def test_work_that_ends_first_is_not_disturbed() -> None:
    with StopSignals() as stop:
        await stop.unless_stopped(asyncio.sleep(0))
    assert stop.reason is None


async def test_an_error_of_the_work_comes_through() -> None:
    async def fails() -> None:
        raise LookupError("mine")

    with StopSignals() as stop, pytest.raises(LookupError, match="mine"):
        await stop.unless_stopped(fails())


async def test_a_second_signal_while_cleaning_up_changes_nothing() -> None:
    log: list[str] = []

    async def stubborn() -> None:
        log.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(5):
                await asyncio.sleep(0)
            log.append("cleaned up")

    with StopSignals() as stop:
        killing = asyncio.create_task(kill_when_begun(log, signal.SIGINT))
        with pytest.raises(asyncio.CancelledError):
            await stop.unless_stopped(stubborn())
        await killing
    assert log == ["begun", "cleaned up"]
    assert stop.reason == "stopped by SIGINT"


async def test_the_reason_is_told_before_what_is_under_way_is_cut_off() -> None:
    log: list[str] = []

    async def tell(reason: str) -> None:
        log.append(reason)

    with StopSignals(tell) as stop:
        killing = asyncio.create_task(kill_when_begun(log, signal.SIGTERM))
        with pytest.raises(asyncio.CancelledError):
            await stop.unless_stopped(for_ever(log))
        await killing
    assert log == ["begun", "stopped by SIGTERM", "cleaned up"]


async def test_after_a_signal_nothing_new_is_begun_to_its_end() -> None:
    log: list[str] = []
    with StopSignals() as stop:
        stop.stop("enough")
        with pytest.raises(asyncio.CancelledError):
            await stop.unless_stopped(for_ever(log))
    assert "cleaned up" in log or log == []
    assert stop.reason == "enough"


async def test_the_handlers_are_gone_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignals():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, before[0])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def test_being_cancelled_from_outside_cancels_the_work_too() -> None:
    log: list[str] = []
    with StopSignals() as stop:
        outer = asyncio.ensure_future(stop.unless_stopped(for_ever(log)))
        await until(log, "begun")
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
    assert log == ["begun", "cleaned up"]


async def test_a_wish_stops_like_a_signal() -> None:
    log: list[str] = []
    with (
        StopSignals() as stop,
        stopped_by(until(log, "begun"), stop, "cancelled"),
        pytest.raises(asyncio.CancelledError),
    ):
        await stop.unless_stopped(for_ever(log))
    assert log == ["begun", "cleaned up"]
    assert stop.reason == "cancelled"


async def test_a_wish_that_never_comes_is_dropped() -> None:
    with StopSignals() as stop, stopped_by(for_ever([]), stop, "cancelled"):
        await stop.unless_stopped(asyncio.sleep(0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert stop.reason is None


async def test_a_wish_that_cannot_be_heard_is_none() -> None:
    async def broken() -> None:
        raise OSError("disk I/O error")

    with StopSignals() as stop, stopped_by(broken(), stop, "cancelled"):
        for _ in range(3):
            await asyncio.sleep(0)
        await stop.unless_stopped(asyncio.sleep(0))
    assert stop.reason is None
