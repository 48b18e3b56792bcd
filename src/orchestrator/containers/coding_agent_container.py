"""The disposable container that a coding agent works in, with the code folder mounted at /workspace."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.clock import Clock, SystemClock
from orchestrator.containers.base import (
    LABEL_KIND,
    ContainerEngine,
    ContainerLimits,
    ContainerSpec,
    ContainerState,
    ExecResult,
)
from orchestrator.containers.logs import FollowResult, OnLine, follow
from orchestrator.containers.profile import DEFAULT_LIMITS
from orchestrator.containers.start import remove_container, start_container
from orchestrator.errors import CannotStart, CodingAgentError
from orchestrator.mounts import Bind, Mount


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
    limits: ContainerLimits = DEFAULT_LIMITS
    network: Literal["open", "none"] = "open"
    replace_existing: bool = True
    """Whether `start` removes an older container of this name. Right for manual use, never for an attempt."""
    engine: ContainerEngine | None = None
    """None: the engine that `docker` uses, connected by the first call and closed by `stop`."""
    clock: Clock = field(default_factory=SystemClock)
    _connected: ContainerEngine | None = field(default=None, init=False, repr=False)
    _id: str | None = field(default=None, init=False, repr=False)
    _stopped: bool = field(default=False, init=False, repr=False)

    async def start(self, code_folder: Path | str, *, command: Sequence[str] | None = None) -> None:
        """Create and start the container as the owner of `code_folder`.

        Without `command`, the image's own command keeps it alive.

        A relative folder is below the caller's current one.

        Raises CannotStart (both an EnvironmentInvalid and a CodingAgentError) when the folder, the image or
        the engine cannot be used. Leaves no container behind when it fails.
        """
        spec = self._build_spec(_make_absolute(Path(code_folder)), command)
        self._id, self._stopped = None, False
        try:
            engine = await self._engine()
            if self.replace_existing:
                await engine.remove(self.container_name)
            self._id = await start_container(engine, spec)
        except BaseException:
            self._stopped = True
            await self._disconnect()
            raise

    async def stop(self) -> None:
        """Remove the container with every process in it; absent or stopped before is not an error.

        Does not hide an error that is being handled: a failure to remove then becomes a note on that error.
        """
        try:
            if not self._stopped:
                self._stopped = await remove_container(await self._engine(), self._container)
        finally:
            await self._disconnect()  # a call after the first stop may have connected again

    async def exec(self, argv: Sequence[str], *, timeout: float, stdin: bytes | None = None) -> ExecResult:
        """Run a command to its end; a non-zero exit is a value, not an error.

        After `timeout` seconds, kills every process of the command and raises CodingAgentTimeout.
        """
        words = _check_command(argv)
        engine = await self._engine()
        return await engine.exec(self._container, words, timeout=timeout, stdin=stdin)

    async def follow(self, folder: Path, *, on_stdout_line: OnLine, limit_bytes: int) -> FollowResult:
        """Store its output under `folder` until it has ended; see `logs.follow`."""
        engine = await self._engine()
        return await follow(
            engine,
            self.clock,
            self._container,
            folder,
            on_stdout_line=on_stdout_line,
            limit_bytes=limit_bytes,
        )

    async def wait(self) -> ContainerState:
        return await (await self._engine()).wait(self._container)

    async def signal(self, name: str) -> None:
        """Send, for example, SIGINT to the main process; a container that has ended is not an error."""
        await (await self._engine()).signal(self._container, name)

    async def state(self) -> ContainerState | None:
        """None when there is no such container."""
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

    async def _disconnect(self) -> None:
        if self._connected is not None:
            await self._connected.close()
            self._connected = None

    def _build_spec(self, code_folder: Path, command: Sequence[str] | None) -> ContainerSpec:
        owner = _check_owner(code_folder)
        return ContainerSpec(
            name=self.container_name,
            image=self.image_name,
            uid=owner.st_uid,
            gid=owner.st_gid,
            limits=self.limits,
            command=None if command is None else _check_command(command),
            working_dir=self.workspace_path,
            env=self.env,
            labels=self.labels,
            mounts=(Bind(source=code_folder, target=self.workspace_path), *self.mounts),
            network=self.network,
        )


def _check_command(command: Sequence[str]) -> tuple[str, ...]:
    """The command as a tuple. Raises CodingAgentError unless it is a non-empty list of words."""
    if isinstance(command, str) or not command:
        raise CodingAgentError(
            f"{command!r} is not a command",
            where="CodingAgentContainer",
            hint="Give the program and its arguments as a list: ['ls', '-l'].",
        )
    return tuple(command)


def _make_absolute(code_folder: Path) -> Path:
    """Links stay as they are. Raises CannotStart for a relative path when the current folder is gone."""
    try:
        return code_folder.absolute()
    except OSError:
        raise CannotStart(
            "the current folder no longer exists, so a relative code folder cannot be found",
            where=str(code_folder),
            hint="Change to a folder that exists, or give the whole path.",
        ) from None


def _check_owner(code_folder: Path) -> os.stat_result:
    """Raises CannotStart unless it is a folder whose owner the caller can be."""
    where = str(code_folder)
    try:
        found = code_folder.stat()
    except OSError as error:
        raise CannotStart(
            f"the code folder cannot be used: {error.strerror}",
            where=where,
            hint="Name a folder that exists and that you can read.",
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
