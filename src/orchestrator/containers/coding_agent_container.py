"""The disposable container that a coding agent works in, with the code folder mounted at /workspace."""

import asyncio
import os
import sys
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from orchestrator.containers.base import (
    LABEL_KIND,
    Bind,
    ContainerEngine,
    ContainerSpec,
    ContainerState,
    ExecResult,
    Limits,
    Mount,
)
from orchestrator.containers.logs import FollowResult, OnLine, follow
from orchestrator.containers.profile import DEFAULT_LIMITS
from orchestrator.errors import CannotStart, CodingAgentError

T = TypeVar("T")

ALIVE_SECONDS = 30.0
_LOG_TAIL = 2_000


@dataclass(slots=True, kw_only=True)
class CodingAgentContainer:
    """One container, from `start` to `stop`.

    container = CodingAgentContainer()
    await container.start(code_folder)
    try:
        ...
    finally:
        await container.stop()

    Failures of the engine raise CodingAgentError with the engine's own words.
    """

    container_name: str = "ktrdr-coding-agent"
    image_name: str = "ktrdr-coding-agent:latest"
    workspace_path: str = "/workspace"
    mounts: tuple[Mount, ...] = ()
    """In addition to the code folder."""
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=lambda: {LABEL_KIND: "shell"})
    limits: Limits = DEFAULT_LIMITS
    network: Literal["open", "none"] = "open"
    replace_existing: bool = True
    """Whether `start` removes a left-over of the same name: right by hand, never for an attempt."""
    engine: ContainerEngine | None = None
    """None: the engine that `docker` would talk to, connected by the first call and closed by `stop`."""
    _connected: ContainerEngine | None = field(default=None, init=False, repr=False)
    _id: str | None = field(default=None, init=False, repr=False)
    _stopped: bool = field(default=False, init=False, repr=False)

    async def start(self, code_folder: Path | str, *, command: Sequence[str] | None = None) -> None:
        """Make and start it, as the owner of `code_folder`; without `command` the image's own keeps it alive.

        Raises CannotStart (both an EnvironmentInvalid and a CodingAgentError) when folder, image or engine
        are not fit. Leaves no container behind when it fails.
        """
        spec = self._spec(Path(code_folder), command)
        self._id, self._stopped = None, False
        try:
            engine = await self._engine()
            if self.replace_existing:
                await engine.remove(self.container_name)
            await _to_the_end(self._create(engine, spec))
            await engine.start(self._container)
            await _prove_alive(engine, self._container, spec)
        except BaseException:
            await self._take_back()
            raise

    async def stop(self) -> None:
        """Remove it with every process in it; not there, or stopped before, is fine.

        Never hides the error that led here: while one is on its way, a failure to remove is a note on it.
        """
        leading = sys.exc_info()[1]
        if self._stopped:
            await self._disconnect()  # a call after the first stop may have connected again
            return
        try:
            await _to_the_end(self._remove())
        except CodingAgentError as error:
            if leading is None:
                raise
            leading.add_note(f"The container {self.container_name} was not removed: {error}")

    async def exec(self, argv: Sequence[str], *, timeout: float, stdin: bytes | None = None) -> ExecResult:
        """Run a command to its end; a non-zero exit is a value, not an error.

        After `timeout` seconds what it began is killed: CodingAgentTimeout.
        """
        words = _words(argv)
        engine = await self._engine()
        return await engine.exec(self._container, words, timeout=timeout, stdin=stdin)

    async def follow(self, folder: Path, *, on_stdout_line: OnLine, limit_bytes: int) -> FollowResult:
        """Store its output under `folder` until it has ended; see `logs.follow`."""
        engine = await self._engine()
        return await follow(
            engine, self._container, folder, on_stdout_line=on_stdout_line, limit_bytes=limit_bytes
        )

    async def wait(self) -> ContainerState:
        return await (await self._engine()).wait(self._container)

    async def signal(self, name: str) -> None:
        """Send e.g. SIGINT to the main process; that it has ended is not an error."""
        await (await self._engine()).signal(self._container, name)

    async def state(self) -> ContainerState | None:
        """None when it is not there."""
        return await (await self._engine()).inspect(self._container)

    @property
    def _container(self) -> str:
        return self._id or self.container_name

    async def _engine(self) -> ContainerEngine:
        if self.engine is not None:
            return self.engine
        if self._connected is None:
            from orchestrator.containers.engine import connect_engine

            self._connected = await connect_engine()
        return self._connected

    async def _create(self, engine: ContainerEngine, spec: ContainerSpec) -> None:
        self._id = await _created(engine, spec)

    async def _take_back(self) -> None:
        """After a start that failed: what has our name and was not made by us is not ours to remove."""
        if self._id is not None:
            await self.stop()
        self._stopped = True
        await self._disconnect()

    async def _remove(self) -> None:
        try:
            await (await self._engine()).remove(self._container)
            self._id, self._stopped = None, True
        finally:
            await self._disconnect()

    async def _disconnect(self) -> None:
        if self._connected is not None:
            await self._connected.close()
            self._connected = None

    def _spec(self, code_folder: Path, command: Sequence[str] | None) -> ContainerSpec:
        owner = _owner(code_folder)
        return ContainerSpec(
            name=self.container_name,
            image=self.image_name,
            uid=owner.st_uid,
            gid=owner.st_gid,
            limits=self.limits,
            command=None if command is None else _words(command),
            working_dir=self.workspace_path,
            env=self.env,
            labels=self.labels,
            mounts=(Bind(source=code_folder, target=self.workspace_path), *self.mounts),
            network=self.network,
        )


def _words(command: Sequence[str]) -> tuple[str, ...]:
    """Raises CodingAgentError for a command that is no list of words, before anything is made for it."""
    if isinstance(command, str) or not command:
        raise CodingAgentError(
            f"{command!r} is no command",
            where="CodingAgentContainer",
            hint="Give the program and its arguments as a list: ['ls', '-l'].",
        )
    return tuple(command)


def _owner(code_folder: Path) -> os.stat_result:
    """Raises CannotStart unless it is the absolute path of a folder whose owner the caller can be."""
    where = str(code_folder)
    if not code_folder.is_absolute():
        raise CannotStart("the code folder is not an absolute path", where=where, hint="Give its whole path.")
    try:
        found = code_folder.stat()
    except OSError as error:
        raise CannotStart(
            f"the code folder cannot be used: {error.strerror}",
            where=where,
            hint="Name a folder that is there for you.",
        ) from error
    if not code_folder.is_dir():
        raise CannotStart("the code folder is not a folder", where=where, hint="Name a folder.")
    caller = os.geteuid()
    if caller not in (0, found.st_uid):
        raise CannotStart(
            f"the code folder belongs to user {found.st_uid}, and you are user {caller}",
            where=where,
            hint="Run as its owner, or use a folder of your own: the container works as the folder's owner.",
        )
    return found


async def _created(engine: ContainerEngine, spec: ContainerSpec) -> str:
    try:
        return await engine.create(spec)
    except CodingAgentError as error:
        if await engine.image_digest(spec.image) is not None:
            raise
        raise CannotStart(error.what, hint="Build the image: `orchestrator image build`.") from error


async def _prove_alive(engine: ContainerEngine, container: str, spec: ContainerSpec) -> None:
    """A command of the caller's may be short; the image's own has to keep the container alive for others."""
    if spec.command is None:
        try:
            await engine.exec(container, ("true",), timeout=ALIVE_SECONDS)
        except CodingAgentError:
            if not await _has_ended(engine, container):
                raise
    state = await engine.inspect(container)
    if state is None:
        raise CodingAgentError("the container was removed while it started", where=spec.name)
    if state.error:
        raise CodingAgentError(f"the container did not start: {state.error}", where=spec.name)
    if spec.command is None and state.exit_code is not None:
        printed = await _tail(engine, container)
        what = f"the container ended at once with exit code {state.exit_code}"
        raise CodingAgentError(f"{what}: {printed or 'it printed nothing'}", where=spec.name)


async def _has_ended(engine: ContainerEngine, container: str) -> bool:
    state = await engine.inspect(container)
    return state is None or state.exit_code is not None


async def _tail(engine: ContainerEngine, container: str) -> str:
    printed = b""
    async with aclosing(engine.logs(container, follow=False)) as chunks:
        async for chunk in chunks:
            printed = (printed + chunk.data)[-_LOG_TAIL:]
    return printed.decode("utf-8", "replace").strip()


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Done even when the caller is cancelled meanwhile; the cancellation goes on afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
