"""Requests to stop a run in order: SIGINT, SIGTERM, SIGHUP, a request to cancel it, its caller."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from orchestrator.run.endings import STOPPED_EXIT

Result = TypeVar("Result")
_log = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_REQUEST_SECONDS = 0.1
"""Signals closer together than this are one request: `timeout` and wrappers such as `uv run` pass a signal on
that the terminal, or they themselves, have sent to the whole process group already."""


def list_heeded_signals() -> tuple[signal.Signals, ...]:
    """Those of SIGNALS that were not ignored when the program started.

    `nohup` and a shell that starts a job in the background have the program ignore a signal, because it must
    not end with the terminal. A handler would undo that.
    """
    return tuple(number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def cancel_on_signals() -> Iterator[None]:
    """Inside `with`, a signal cancels the current task, so that it cleans up."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    heeded = list_heeded_signals()
    for number in heeded:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in heeded:
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


def end_process() -> NoReturn:
    """End the process at once, without any cleanup; `resume` continues from what is stored."""
    os._exit(STOPPED_EXIT)


class StopSignals:
    """Inside `with`, signals stop the run: the first in order, the second at once, the third without cleanup.

    After the second one the agent is killed instead of asked, but its tree is still saved, its end recorded
    and its container removed. The third one ends the process: it is for a user whose disk or container engine
    does not answer. A container that is left then is found by `resume`.
    """

    def __init__(
        self,
        on_stop: Callable[[], object],
        on_hurry: Callable[[], object] = lambda: None,
        end: Callable[[], object] = end_process,
    ) -> None:
        """The functions are called in the event loop: `on_stop` at each request to stop, `on_hurry` at the
        second signal, `end` at the third."""
        self.reason: str | None = None
        """Of the first request to stop; None before."""
        self.may_be_shutdown = False
        """Whether the first request was a signal that a machine sends which shuts down; ^C is the user's."""
        self._on_stop, self._on_hurry, self._end = on_stop, on_hurry, end
        self._requests = 0
        self._last_request = 0.0
        # Python delivers signals to the main thread only.
        in_main = threading.current_thread() is threading.main_thread()
        self._signals = list_heeded_signals() if in_main else ()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self._take_signal, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.remove_signal_handler(number)

    def _take_signal(self, number: signal.Signals) -> None:
        now = asyncio.get_running_loop().time()
        is_repeated = self._requests > 0 and now - self._last_request < SAME_REQUEST_SECONDS
        # A terminal that closes, and its shell, send SIGHUP several times, whether or not the user waits.
        if is_repeated or (self._requests > 0 and number is signal.SIGHUP):
            return
        self._requests, self._last_request = self._requests + 1, now
        self.may_be_shutdown = self.may_be_shutdown or (self.reason is None and number is not signal.SIGINT)
        self.stop(f"stopped by {number.name}")
        if self._requests == 2:
            self._on_hurry()
        elif self._requests > 2:
            self._end()

    def stop(self, reason: str) -> None:
        """Ask the run to stop, as a signal does; the reason of the first request stays."""
        # Later requests often follow from the first: a terminal that closes after ^C, or a caller that
        # cancels.
        self.reason = self.reason or reason
        self._on_stop()

    async def stop_when_cancelled(self, reason: str, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work. When the caller cancels, ask it to stop, and wait until it has ended in order."""
        # A task of its own: cancelling the caller must not cut the work short in the middle of its cleanup.
        working = asyncio.ensure_future(work)
        while not working.done():
            try:
                await asyncio.wait({working})
            except asyncio.CancelledError:
                self.stop(reason)
        return working.result()
