"""Processes in containers of FakeEngine: programs that are functions, and the shell lines around them."""

import asyncio
import inspect
import re
import shlex
import signal
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from orchestrator.clock import Clock
from orchestrator.containers.base import ContainerSpec

Program = Callable[["Process"], Awaitable[int | None] | int | None]
"""Returns the exit code; None is 0. It prints, reads and writes through its process."""

KILLED = 137
_TIMED_OUT = 124
_NOT_FOUND = 127


class OutOfMemory(Exception):
    """Raise it in a program that the engine should kill for its use of memory."""


class Box(Protocol):
    """The container in which a process runs."""

    spec: ContainerSpec
    base: Path
    """A host folder for the container's files."""
    mounts: tuple[tuple[Path, str, bool], ...]
    """Source, target, whether it is read-only."""
    leader: int | None
    """The host process that keeps the container's namespaces, if it has any."""

    def path(self, inside: str) -> Path:
        """The host's path for this absolute path in the container."""
        ...


@dataclass(slots=True, kw_only=True)
class Process:
    """One process of a container, as its program sees it."""

    box: Box
    argv: tuple[str, ...]
    env: Mapping[str, str]
    write: Callable[[Literal["stdout", "stderr"], bytes], object]
    clock: Clock
    stdin: bytes | None = None
    is_main: bool = False
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the Program once other processes can enter the container."""
    handlers: dict[str, Callable[[], object]] = field(default_factory=dict)
    """Handlers by the signal's name; a signal without one ends the program."""

    def path(self, inside: str) -> Path:
        """The host's path for this path in the container, which may be relative to the working directory."""
        return self.box.path(inside if inside.startswith("/") else f"{self.box.spec.working_dir}/{inside}")

    def print(self, text: str) -> None:
        """Print a line on standard output."""
        self.write("stdout", f"{text}\n".encode())


class Running:
    """A program that has been started."""

    def __init__(self, program: Program, process: Process) -> None:
        self.process = process
        self.out_of_memory = False
        self._ended_by: int | None = None
        self.task: asyncio.Task[int] = asyncio.ensure_future(self._run(program))

    async def _run(self, program: Program) -> int:
        try:
            return await _call(program, self.process)
        except OutOfMemory:
            self.out_of_memory = True
            return KILLED
        except asyncio.CancelledError:
            if self._ended_by is None:
                raise
            return 128 + self._ended_by
        except Exception:
            self.process.write("stderr", traceback.format_exc().encode())
            return 1

    def signal(self, name: str) -> None:
        handler = self.process.handlers.get(name) if name != "SIGKILL" else None
        if handler is not None:
            handler()
        elif not self.task.done():
            self._ended_by = signal.Signals[name].value
            self.task.cancel()

    async def wait_until_begun(self) -> None:
        """Return once the process can be seen, or has ended already."""
        begun = asyncio.ensure_future(self.process.begun.wait())
        either: set[asyncio.Future[Any]] = {self.task, begun}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()

    async def ends_within(self, seconds: float) -> bool:
        """Whether it ends within this time of its own clock."""
        sleeping = asyncio.ensure_future(self.process.clock.sleep(seconds))
        either: set[asyncio.Future[Any]] = {self.task, sleeping}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return self.task.done()
        finally:
            sleeping.cancel()


class Scripts:
    """All programs of an image as one Program: functions by the name, or the shell text, that starts them.

    `timeout` and the shell lines that the orchestrator puts around a command work as the real ones do;
    `true`, `sleep` and the lookup of a program exist too. Any other command is not found: exit code 127.
    """

    def __init__(self, programs: Mapping[str, Program]) -> None:
        self._programs: dict[str, Program] = {
            "true": lambda process: 0,
            "sleep": _sleep,
            "timeout": self._run_timeout,
            'command -v -- "$1"': lambda process: 0 if process.argv[-1] in self._programs else 1,
            **programs,
        }

    async def __call__(self, process: Process) -> int:
        process.begun.set()
        name, *words = _shell_words(process.argv) or process.argv
        program = self._programs.get(name)
        if program is not None:
            return await _call(program, process)
        inner = _unwrap_shell(name, words, process)
        if inner is not None:
            return await self(inner)
        process.write("stderr", f"{name}: not found\n".encode())
        return _NOT_FOUND

    async def _run_timeout(self, process: Process) -> int:
        """timeout -k SECONDS LIMIT COMMAND: SIGTERM after the limit, and SIGKILL some seconds later."""
        _, kill_after, limit, *command = [word for word in process.argv[1:] if word != "--foreground"]
        running = Running(self, replace(process, argv=tuple(command)))
        try:
            if await running.ends_within(float(limit)):
                if running.out_of_memory:
                    raise OutOfMemory
                return await running.task
            running.signal("SIGTERM")
            return _TIMED_OUT if await running.ends_within(float(kill_after)) else KILLED
        finally:
            running.signal("SIGKILL")


async def _call(program: Program, process: Process) -> int:
    found = program(process)
    return (await found if inspect.isawaitable(found) else found) or 0


async def _sleep(process: Process) -> None:
    seconds = process.argv[1]
    await process.clock.sleep(1e9 if seconds == "infinity" else float(seconds))


def _shell_words(argv: Sequence[str]) -> Sequence[str] | None:
    """The script of a shell with `-c`, then `$0`, `$1`, …; None for any other command."""
    options = [place for place, word in enumerate(argv) if re.fullmatch(r"-[a-z]*c", word)]
    return argv[options[0] + 1 :] if argv[0] in ("sh", "bash") and options else None


def _unwrap_shell(script: str, words: Sequence[str], process: Process) -> Process | None:
    """The process that a shell script becomes with its last `exec`; the lines before it are skipped."""
    _, exec_, line = script.rpartition("exec ")
    if not exec_:
        return None
    command, _, file = line.partition(" < ")
    given = {f"${place}": (word,) for place, word in enumerate(words)} | {"$@": tuple(words[1:])}
    argv = [inner for word in shlex.split(command) for inner in given.get(word, (word,))]
    stdin = process.path(*shlex.split(file)).read_bytes() if file else process.stdin
    return replace(process, argv=tuple(argv), stdin=stdin)
