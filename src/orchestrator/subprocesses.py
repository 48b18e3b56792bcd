"""The one place that starts host processes.

Every process gets a session of its own, a deadline, and both pipes drained; on any exception, cancellation
included, its whole process group is killed before the exception goes on.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ENDING_SECONDS = 3.0
"""What a program at our terminal gets between being asked to end and being killed."""


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
    """The caller's PATH without what lies in a folder that an agent writes, and without relative entries.

    An activated virtual environment of the project is on the PATH of many a caller, and a program planted
    there would run on the host.
    """
    folder = outside.resolve()
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(
        entry for entry in entries if Path(entry).is_absolute() and not _lies_in(Path(entry), folder)
    )


def own_environment() -> dict[str, str]:
    """What a process gets that is given no other environment: ours, without programs of the repository.

    An agent writes there, and nothing that it may have written runs on the host.
    """
    environment = dict(os.environ)
    try:
        here = Path.cwd()
    except FileNotFoundError:
        return environment
    if os.path.lexists(here / ".git"):
        environment["PATH"] = search_path(outside=here)
    return environment


def _lies_in(entry: Path, folder: Path) -> bool:
    return entry.resolve().is_relative_to(folder) or Path(os.path.normpath(entry)).is_relative_to(folder)


async def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    identity: Identity | None = None,
) -> Completed:
    """Run to the end and give exit code and output; a non-zero exit is a value, not an error.

    Raises ProcessTimeout after `timeout` seconds and FileNotFoundError when there is no such program.
    """
    async with started(argv, env=env, cwd=cwd, identity=identity, stdin=stdin is not None) as process:
        try:
            async with asyncio.timeout(timeout):
                stdout, stderr = await process.communicate(stdin)
        except TimeoutError:
            raise ProcessTimeout(argv, timeout) from None
        assert process.returncode is not None
        return Completed(argv=tuple(argv), exit_code=process.returncode, stdout=stdout, stderr=stderr)


async def run_alone(argv: Sequence[str], *, timeout: float, cwd: Path, output: IO[bytes]) -> int:
    """Run to the end of the program itself, whatever it leaves running, and give the exit code.

    Output and errors go into a file. Raises as `run` does.
    """
    async with started(
        argv, env=None, cwd=cwd, identity=None, stdout=output.fileno(), stderr=asyncio.subprocess.STDOUT
    ) as process:
        try:
            async with asyncio.timeout(timeout):
                return await process.wait()
        except TimeoutError:
            raise ProcessTimeout(argv, timeout) from None


async def run_lines(
    argv: Sequence[str],
    *,
    timeout: float,
    on_line: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Run to the end, handing over each line of output and errors as it comes, and give the exit code.

    Bytes that are not UTF-8 are replaced. Raises as `run` does.
    """
    async with started(argv, env=env, cwd=cwd, identity=None, stderr=asyncio.subprocess.STDOUT) as process:
        try:
            async with asyncio.timeout(timeout):
                assert process.stdout is not None
                await _each_line(process.stdout, on_line)
                return await process.wait()
        except TimeoutError:
            raise ProcessTimeout(argv, timeout) from None


async def _each_line(stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    rest = b""
    while chunk := await stream.read(65_536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            on_line(line.decode("utf-8", "replace"))
    if rest:
        on_line(rest.decode("utf-8", "replace"))


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
    """Run `producer | consumer`, each under its own identity, and give both results."""
    read_end, write_end = os.pipe()
    try:
        async with started(
            producer,
            env=producer_env,
            cwd=cwd,
            identity=producer_identity,
            stdin=producer_stdin is not None,
            stdout=write_end,
        ) as first:
            os.close(write_end)
            write_end = -1
            async with started(
                consumer, env=consumer_env, cwd=cwd, identity=consumer_identity, stdin_from=read_end
            ) as second:
                os.close(read_end)
                read_end = -1
                try:
                    async with asyncio.timeout(timeout):
                        (_, error), (out, second_error) = await asyncio.gather(
                            first.communicate(producer_stdin), second.communicate()
                        )
                except TimeoutError:
                    raise ProcessTimeout([*producer, "|", *consumer], timeout) from None
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


async def attached(argv: Sequence[str]) -> int:
    """Run a program at our own terminal, or with our own standard streams, and give its exit code.

    When we are cancelled it is ended first, in order, so that it leaves the terminal as it was.
    """
    process = await asyncio.create_subprocess_exec(*argv, env=own_environment())
    try:
        return await process.wait()
    except asyncio.CancelledError:
        await _ended_in_order(process)
        raise


async def _ended_in_order(process: asyncio.subprocess.Process) -> None:
    for end in (process.terminate, process.kill):
        if process.returncode is None:
            end()
            await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=ENDING_SECONDS)


async def start_detached(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path) -> int:
    """Start a process that outlives us: own session, no inherited descriptor, output appended to a file.

    Gives its process id; it is not waited for.
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
async def started(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    identity: Identity | None,
    stdin: bool = False,
    stdin_from: int | None = None,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.PIPE,
) -> AsyncIterator[asyncio.subprocess.Process]:
    stdin_mode = asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=own_environment() if env is None else dict(env),
        cwd=cwd,
        stdin=stdin_mode if stdin_from is None else stdin_from,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        user=None if identity is None else identity.uid,
        group=None if identity is None else identity.gid,
        extra_groups=None if identity is None else [],
    )
    try:
        yield process
    except BaseException:
        _kill_group(process)
        # What left the group may hold our pipes for as long as it likes.
        process._transport.close()  # type: ignore[attr-defined]
        await asyncio.shield(process.wait())
        raise


def _kill_group(process: asyncio.subprocess.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
