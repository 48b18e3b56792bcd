"""Starts processes on the host; no other module does.

Every process has a session of its own and a deadline, and both of its pipes are drained. On an exception or a
cancellation, its whole process group is killed before the exception is raised to the caller. With `patience`
it may finish first, or is asked to exit: git would leave lock files, which block the user's next command.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

MOST_LINKS = 40
"""As many links as Linux follows in one path."""
ENDING_SECONDS = 3.0
"""The time between the request to exit and the kill, for a program that uses our terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user and group a process runs as, when not the caller's."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes


class ProcessTimeout(Exception):
    """A host process took longer than its deadline (seconds) and was killed."""

    def __init__(self, argv: Sequence[str], seconds: float) -> None:
        super().__init__(f"{argv[0]} took longer than {seconds:g} s and was killed: {' '.join(argv)}")


def search_path(*, outside: Path) -> str:
    """The caller's PATH without relative entries and without folders in `outside`, where an agent can write.

    The PATH of many users contains a virtual environment of the project. A program that an agent puts there
    would run on the host, outside of its container.
    """
    return _search_path(os.environ.get("PATH", os.defpath), outside)


@lru_cache
def _search_path(path: str, outside: Path) -> str:
    """Cached, because every git command asks for it.

    An agent could change a link in the folder after the first answer. So an entry is also left out when one
    of its links leads over the folder, wherever it ends today; what is kept depends on nothing in the folder.
    """
    folder = outside.resolve()
    entries = path.split(os.pathsep)
    return os.pathsep.join(
        entry for entry in entries if entry.startswith("/") and not _may_lead_over(Path(entry), folder)
    )


def _may_lead_over(entry: Path, folder: Path) -> bool:
    """Whether the folder is on the way from `/` to the entry, links followed.

    Also true for endless links, and for a way that this process may not follow and so cannot check.
    """
    here, rest, links = Path("/"), [*reversed(entry.parts[1:])], 0
    while rest and links <= MOST_LINKS:
        name = rest.pop()
        here = here.parent if name == ".." else here / name
        if here.is_relative_to(folder):
            return True
        try:
            target = here.readlink() if here.is_symlink() else None
        except PermissionError:
            return True
        if target is not None:
            links += 1
            rest += [part for part in reversed(target.parts) if part != "/"]
            here = Path("/") if target.is_absolute() else here.parent
    return links > MOST_LINKS


def own_environment() -> dict[str, str]:
    """The default environment of a process: ours, but PATH has no folder of the current repository.

    An agent can write programs into the repository, and they must not run on the host.
    """
    environment = dict(os.environ)
    try:
        here = Path.cwd()
    except FileNotFoundError:
        return environment
    if os.path.lexists(here / ".git"):
        environment["PATH"] = search_path(outside=here)
    return environment


@asynccontextmanager
async def _limit_time(argv: Sequence[str], seconds: float) -> AsyncIterator[None]:
    """Raises ProcessTimeout after these seconds; `started` around it then kills the process."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ProcessTimeout(argv, seconds) from None


async def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    identity: Identity | None = None,
    patience: float = 0.0,
) -> Completed:
    """Run a program to its end and return exit code and output. A non-zero exit code is not an error.

    Raises ProcessTimeout after `timeout` seconds, and FileNotFoundError when the program does not exist.
    """
    async with start_process(
        argv, env=env, cwd=cwd, identity=identity, stdin=stdin is not None, patience=patience
    ) as process:
        async with _limit_time(argv, timeout):
            stdout, stderr = await process.communicate(stdin)
        assert process.returncode is not None
        return Completed(argv=tuple(argv), exit_code=process.returncode, stdout=stdout, stderr=stderr)


async def run_alone(argv: Sequence[str], *, timeout: float, cwd: Path, output: IO[bytes]) -> int:
    """Run a program until it exits, even if it leaves other processes running, and return its exit code.

    Output and errors are written to a file. Raises as `run` does.
    """
    async with (
        start_process(
            argv, env=None, cwd=cwd, identity=None, stdout=output.fileno(), stderr=asyncio.subprocess.STDOUT
        ) as process,
        _limit_time(argv, timeout),
    ):
        return await process.wait()


async def run_bounded(
    argv: Sequence[str], *, timeout: float, limit: int, stdin: bytes | None = None
) -> Completed:
    """Run a program to its end and return its exit code and the first `limit` bytes of both of its outputs.

    The rest is read and dropped, so no output can fill the memory. Raises as `run` does.
    """

    async def read_start(stream: asyncio.StreamReader) -> bytes:
        kept = b""
        while chunk := await stream.read(65_536):
            # Read to the end even when enough is kept: a program whose pipe is full would never exit.
            kept = (kept + chunk)[:limit]
        return kept

    async with start_process(argv, env=None, cwd=None, identity=None, stdin=stdin is not None) as process:
        assert process.stdout is not None and process.stderr is not None
        async with _limit_time(argv, timeout):
            if process.stdin is not None:
                process.stdin.write(stdin or b"")
                process.stdin.close()
            out, errors = await asyncio.gather(read_start(process.stdout), read_start(process.stderr))
            code = await process.wait()
        return Completed(argv=tuple(argv), exit_code=code, stdout=out, stderr=errors)


async def run_lines(
    argv: Sequence[str],
    *,
    timeout: float,
    on_line: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Run a program to its end, pass each line of output and errors to `on_line`, and return the exit code.

    Bytes that are not UTF-8 are replaced. Raises as `run` does.
    """
    async with (
        start_process(argv, env=env, cwd=cwd, identity=None, stderr=asyncio.subprocess.STDOUT) as process,
        _limit_time(argv, timeout),
    ):
        assert process.stdout is not None
        rest = b""
        while chunk := await process.stdout.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                on_line(line.decode("utf-8", "replace"))
        if rest:
            on_line(rest.decode("utf-8", "replace"))
        return await process.wait()


async def pipe(
    producer: Sequence[str],
    consumer: Sequence[str],
    *,
    timeout: float,
    producer_env: Mapping[str, str] | None = None,
    consumer_env: Mapping[str, str] | None = None,
    producer_stdin: bytes | None = None,
    producer_identity: Identity | None = None,
    consumer_identity: Identity | None = None,
    cwd: Path | None = None,
) -> tuple[Completed, Completed]:
    """Run `producer | consumer`, each under its own identity, and return both results."""
    read_end, write_end = os.pipe()
    try:
        async with start_process(
            producer,
            env=producer_env,
            cwd=cwd,
            identity=producer_identity,
            stdin=producer_stdin is not None,
            stdout=write_end,
        ) as first:
            os.close(write_end)
            write_end = -1
            async with start_process(
                consumer, env=consumer_env, cwd=cwd, identity=consumer_identity, stdin_from=read_end
            ) as second:
                os.close(read_end)
                read_end = -1
                async with _limit_time([*producer, "|", *consumer], timeout):
                    (_, error), (out, second_error) = await asyncio.gather(
                        first.communicate(producer_stdin), second.communicate()
                    )
                assert first.returncode is not None and second.returncode is not None
                return (
                    Completed(
                        argv=tuple(producer), exit_code=first.returncode, stdout=b"", stderr=error or b""
                    ),
                    Completed(
                        argv=tuple(consumer), exit_code=second.returncode, stdout=out, stderr=second_error
                    ),
                )
    finally:
        for descriptor in (read_end, write_end):
            if descriptor >= 0:
                os.close(descriptor)


async def run_attached(
    argv: Sequence[str], *, cwd: Path | None = None, patience: float = ENDING_SECONDS
) -> int:
    """Run a program with our own terminal or standard streams, and return its exit code.

    When the caller is cancelled, the program is asked to exit first, so that it can restore the terminal, and
    is killed after `patience` seconds.
    """
    process = await asyncio.create_subprocess_exec(*argv, env=own_environment(), cwd=cwd)
    try:
        return await process.wait()
    except asyncio.CancelledError:
        for end in (process.terminate, process.kill):
            if process.returncode is None:
                end()
                await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=patience)
        raise


async def start_detached(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path) -> int:
    """Start a process that outlives us: with its own session, no inherited descriptor, and output to a file.

    Returns its process id without waiting for it.
    """
    with output.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(env),
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            close_fds=True,
        )
    return process.pid


@asynccontextmanager
async def start_process(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    identity: Identity | None,
    stdin: bool = False,
    stdin_from: int | None = None,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.PIPE,
    patience: float = 0.0,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """On an exception the program is killed; with `patience`, `_end_process` says how."""
    stdin_mode = asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            env=own_environment() if env is None else dict(env),
            cwd=cwd,
            stdin=stdin_mode if stdin_from is None else stdin_from,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            user=None if identity is None else identity.uid,
            group=None if identity is None else identity.gid,
            # Without root's own groups, which would let the process open more than the owner may.
            extra_groups=None if identity is None else [],
        )
    )
    try:
        # Shielded: the program is at work already while asyncio connects its pipes. A cancellation would kill
        # it there, without patience.
        process = await asyncio.shield(starting)
        yield process
    except BaseException:
        with suppress(OSError):  # it could not be started
            await _end_process(await starting, patience)
        raise


async def _end_process(process: asyncio.subprocess.Process, patience: float) -> None:
    """Kill the process and its group.

    With `patience` it has so many seconds to finish, and then as many to exit after SIGTERM. SIGTERM alone is
    not enough: between making a lock file and remembering it, git leaves it behind then, too.
    """
    try:
        if patience > 0:
            ended = {asyncio.ensure_future(process.wait())}
            _, left = await asyncio.wait(ended, timeout=patience)
            if left:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                await asyncio.wait(ended, timeout=patience)
    finally:
        # The whole group: git starts further programs, and one that survived would write to the folder after
        # the error was reported.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # A process that has left the group may keep the pipes open: close our ends instead of waiting for it.
        process._transport.close()  # type: ignore[attr-defined]
        # Shielded, so that no zombie is left when the caller is cancelled a second time.
        await asyncio.shield(process.wait())
