"""`--detach`: the run continues in a process and a session of its own, without this terminal.

The process is forked before anything is started. Until the base run has passed, it prints to a nameless file,
and the command that the user has typed repeats what it prints: so a refusal is reported, with its exit code,
as without `--detach`. Then the output continues in a file of the run, and the user's command ends. A file and
not a pipe: when the terminal is closed during the base run, nothing that is printed fails or waits.
"""

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import msgspec
from msgspec import Struct

from orchestrator.cli.json_events import event_line
from orchestrator.files import open_own
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.facts import Fact, Listener, RunEnded

RELAY_SECONDS = 0.1
BUG = 70


class _Announcement(Struct, frozen=True, kw_only=True):
    """The beginning of the run, from the process that carries it out to the user's command."""

    run: str
    line: str
    """For standard output."""
    output: str | None
    """The file with the run's output; None when there is nothing to carry out."""


class Detached:
    """The process that carries out the run, after the fork."""

    def __init__(self, sends: int, log: BinaryIO, *, as_json: bool) -> None:
        self._sends = sends
        self._log = log
        self._as_json = as_json

    def listen_and_announce(self, show: Listener, folder_of: Callable[[str], RunFolder]) -> Listener:
        """A listener that lets the user's command end at the first fact, and shows every one."""
        is_announced = False

        def listen(fact: Fact) -> None:
            nonlocal is_announced
            if not is_announced:
                is_announced = True
                self._announce(fact, folder_of(fact.run))
            show(fact)

        return listen

    def _announce(self, fact: Fact, folder: RunFolder) -> None:
        # A run that was completed before and is only reported has nothing to continue.
        has_ended = isinstance(fact.body, RunEnded)
        if not has_ended:
            self._print_to(folder)
        line = event_line(fact) if self._as_json else fact.run
        output = None if has_ended else str(folder.output)
        announcement = _Announcement(run=fact.run, line=line, output=output)
        with suppress(OSError):  # the user's command is gone, with its terminal
            os.write(self._sends, msgspec.json.encode(announcement))
        os.close(self._sends)

    def _print_to(self, folder: RunFolder) -> None:
        """From now on the output is in a file of the run; what it has printed so far stands there, too."""
        descriptor = open_own(folder.output, append=True)
        sys.stdout.flush()
        sys.stderr.flush()
        with open(descriptor, "ab", closefd=False) as output:
            output.write(os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0))
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        os.close(descriptor)


def detach(carry_out: Callable[[Detached], int], *, as_json: bool) -> int:
    """In the user's command: the exit code as soon as the run is on its way, or was refused.

    The other process leaves this function with the exit code of the run.
    """
    import tempfile  # slow to import, and only --detach needs it

    sys.stdout.flush()
    sys.stderr.flush()
    log = tempfile.TemporaryFile()  # noqa: SIM115 - both processes use it until they end
    receives, sends = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(receives)
        _leave_terminal(log, sends)
        return carry_out(Detached(sends, log, as_json=as_json))
    os.close(sends)
    return _Relay(pid, receives, log).wait()


def _leave_terminal(log: BinaryIO, kept_pipe: int) -> None:
    """Keep nothing of the caller: no terminal, no session, no descriptor, no ignored request to stop."""
    os.setsid()
    kept = {log.fileno(), kept_pipe}
    for descriptor in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
        if descriptor > 2 and descriptor not in kept:
            with suppress(OSError):  # the one that listed the folder
                os.close(descriptor)
    with open(os.devnull, "rb") as nowhere:  # noqa: PTH123 - a device, not a path
        for stream, target in ((0, nowhere), (1, log), (2, log)):
            os.dup2(target.fileno(), stream)
    # A shell has background jobs ignore SIGINT. `_explain` names it as the way to stop this process.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


class _Relay:
    """The user's command, while the other process has not begun to work."""

    def __init__(self, pid: int, receives: int, log: BinaryIO) -> None:
        self._pid = pid
        self._receives = receives
        self._log = log
        self._shown = 0

    def wait(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        announced = self._receive()
        if announced is not None:
            print(announced.line, flush=True)
            if announced.output is not None:
                _explain(announced.run, self._pid, announced.output)
                return 0
        _, status = os.waitpid(self._pid, 0)
        self._repeat()
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            print(f"error: the process of the run was killed by signal {-code}", file=sys.stderr)
            return BUG
        return code

    def _receive(self) -> _Announcement | None:
        """The other process's announcement; None when it ended without one."""
        received = b""
        while True:
            self._repeat()
            if select.select([self._receives], [], [], RELAY_SECONDS)[0]:
                piece = os.read(self._receives, 65_536)
                if not piece:
                    return msgspec.json.decode(received, type=_Announcement) if received else None
                received += piece

    def _repeat(self) -> None:
        """Print what the other process has printed since the last time."""
        while piece := os.pread(self._log.fileno(), 65_536, self._shown):
            self._shown += len(piece)
            sys.stderr.buffer.write(piece)
            sys.stderr.buffer.flush()

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)


def _explain(run: str, pid: int, output: str) -> None:
    print(
        f"run {run} continues in the background, process {pid}; its output is in {output}\n"
        f"  watch it:                    orchestrator watch {run}\n"
        f"  stop it, to be resumed:      kill -INT {pid}\n"
        f"  stop it for good:            orchestrator cancel {run}",
        file=sys.stderr,
    )
