"""Requests to stop a run in order: SIGINT, SIGTERM, SIGHUP, a request to cancel it, its caller."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Inside, a signal cancels the task that we are in, so that it cleans up."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in SIGNALS:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


@contextmanager
def in_background(listening: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Inside `with`, listen; if that fails, whoever is listened to is not heard any more."""
    task = asyncio.ensure_future(listening)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        yield
    finally:
        task.cancel()


class Stopped(Exception):
    """The run is to stop, as `reason` says."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StopSignals:
    """Inside `with`, the signals are ours: the first one asks to stop, further ones change nothing."""

    def __init__(self, on_stop: Callable[[], object]) -> None:
        """`on_stop` is called at each request to stop, in the event loop."""
        self.reason: str | None = None
        """Why to stop; None: nobody has asked for it."""
        self._on_stop = on_stop
        # Elsewhere than in the main thread Python hears no signals.
        in_main = threading.current_thread() is threading.main_thread()
        self._signals = SIGNALS if in_main else ()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self.stop, f"stopped by {number.name}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.remove_signal_handler(number)

    def stop(self, reason: str) -> None:
        """Ask to stop, as a signal does; the reason of the first request stays."""
        self.reason = self.reason or reason
        self._on_stop()

    async def when_cancelled(self, reason: str, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work. When the caller cancels, ask to stop, and wait for the work to end in order."""
        working = asyncio.ensure_future(work)
        while not working.done():
            try:
                await asyncio.wait({working})
            except asyncio.CancelledError:
                self.stop(reason)
        return working.result()
