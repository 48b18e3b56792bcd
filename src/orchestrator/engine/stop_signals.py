"""SIGINT, SIGTERM and SIGHUP stop a run in order: what is under way is cancelled and cleans up."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

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
def stopped_by(wish: Coroutine[Any, Any, None], stop: "StopSignals", reason: str) -> Iterator[None]:
    """Inside `with`, the end of `wish` stops like a signal does; one that fails was not heard."""

    def heard(done: "asyncio.Future[None]") -> None:
        if not done.cancelled() and done.exception() is None:
            stop.stop(reason)

    waiting = asyncio.ensure_future(wish)
    waiting.add_done_callback(heard)
    try:
        yield
    finally:
        waiting.cancel()


class StopSignals:
    """Inside `with`, the signals are ours; further ones while stopping change nothing."""

    def __init__(self, cutting_off: Callable[[str], Awaitable[None]] | None = None) -> None:
        """`cutting_off` is awaited with the reason before work that is under way is cancelled."""
        self.reason: str | None = None
        self._cutting_off = cutting_off
        self._stopped = asyncio.Event()
        # Elsewhere than in the main thread Python hears no signals.
        in_main = threading.current_thread() is threading.main_thread()
        self._signals = SIGNALS if in_main else ()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self._stop, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.remove_signal_handler(number)

    def _stop(self, number: signal.Signals) -> None:
        self.stop(f"stopped by {number.name}")

    def stop(self, reason: str) -> None:
        """What a signal does, for another cause; the first one's reason stays."""
        self.reason = self.reason or reason
        self._stopped.set()

    async def unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work; a signal cancels it, and CancelledError follows once it has cleaned up."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                if self._cutting_off is not None:
                    await self._cutting_off(self.reason or "stopped")
                working.cancel()
            await working
            if self._stopped.is_set():
                raise asyncio.CancelledError(self.reason)
        finally:
            stopping.cancel()
            if not working.done():
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
