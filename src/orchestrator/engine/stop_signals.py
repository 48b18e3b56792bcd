"""Requests to stop a run in order: SIGINT, SIGTERM, SIGHUP, a request to cancel it, its caller."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")
_log = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Inside `with`, a signal cancels the current task, so that it cleans up."""
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
    """Inside `with`, listen; an error ends the listening and nothing else, and is logged."""

    def log_error(done: asyncio.Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.error("listening_ended: %s", type(error).__name__, exc_info=error)

    task = asyncio.ensure_future(listening)
    task.add_done_callback(log_error)
    try:
        yield
    finally:
        task.cancel()


class Stopped(Exception):
    """The run has to stop, for this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StopSignals:
    """Inside `with`, the first signal asks the run to stop, and further ones change nothing.

    A second ^C does not stop faster on purpose: a run that is cut short in its cleanup would leave a
    container that no process follows.
    """

    def __init__(self, on_stop: Callable[[], object]) -> None:
        """`on_stop` is called at each request to stop, in the event loop."""
        self.reason: str | None = None
        """Of the first request to stop; None before."""
        self._on_stop = on_stop
        # Python delivers signals to the main thread only.
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
        """Ask the run to stop, as a signal does; the reason of the first request stays."""
        self.reason = self.reason or reason
        self._on_stop()

    async def when_cancelled(self, reason: str, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work. When the caller cancels, ask it to stop, and wait until it has ended in order."""
        working = asyncio.ensure_future(work)
        while not working.done():
            try:
                await asyncio.wait({working})
            except asyncio.CancelledError:
                self.stop(reason)
        return working.result()
