"""The container engine over its HTTP API: Docker and Podman are one client whose `name` differs."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import quote

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer

from orchestrator.containers.base import (
    ContainerSpec,
    ContainerState,
    EngineInfo,
    ExecResult,
    ImageInfo,
    LogChunk,
    StoredImage,
)
from orchestrator.containers.engine_sockets import refuse_sockets
from orchestrator.containers.exec_command import run_in_container
from orchestrator.containers.execution import Execution, shorten_id
from orchestrator.containers.profile import create_body
from orchestrator.containers.streams import Demultiplexer, StreamBroken
from orchestrator.containers.user_names import (
    FOLDER,
    GROUPS,
    LIMIT_BYTES,
    USERS,
    add_group,
    add_user,
    make_archive,
    needs_entries,
    read_file,
)
from orchestrator.errors import CannotStart, CodingAgentError
from orchestrator.mounts import AnonymousVolume

T = TypeVar("T")

CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 120.0
"""A request that only has to be answered; waiting, following and copying have no limit."""
_FOLDER_MODE = 1 << 31
"""Of a file's mode as Go encodes it."""

_NO_ENGINE_HINT = (
    "Start Docker (`sudo systemctl start docker`, or Docker Desktop) or install it "
    "(`sudo apt-get install docker.io`); DOCKER_HOST or a Docker context says where another one listens."
)


async def connect_engine(endpoint: str | None = None) -> "EngineClient":
    """The engine that `docker` would talk to: DOCKER_HOST, else the Docker context, else the usual socket.

    Raises CannotStart, which is an EnvironmentInvalid, when none answers.
    """
    docker = _client(endpoint or os.environ.get("DOCKER_HOST") or None)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            version = await docker.version()
    except (aiodocker.DockerError, aiohttp.ClientError, TimeoutError, OSError) as error:
        await docker.close()
        words = _describe(error) or f"no answer within {CONNECT_SECONDS:g} s"
        raise CannotStart(f"no container engine answers: {words}", hint=_NO_ENGINE_HINT) from error
    except BaseException:
        await docker.close()
        raise
    return EngineClient(docker, _info(version, docker))


class EngineClient:
    """A ContainerEngine. Every failure of the engine is a CodingAgentError with the engine's own words."""

    def __init__(self, docker: aiodocker.Docker, info: EngineInfo) -> None:
        self._docker = docker
        self._info = info
        self._name_files: dict[str, dict[str, bytes]] = {}
        """`/etc/passwd` and `/etc/group` of an image, by its id."""

    @property
    def name(self) -> str:
        """docker or podman."""
        return self._info.name

    async def info(self) -> EngineInfo:
        # Podman gives another id with each answer.
        if self.name == "docker" and not self._info.id:
            async with self._request("report its id"):
                found = await self._docker.system.info()
            self._info = replace(self._info, id=str(found.get("ID") or ""))
        return self._info

    async def image_digest(self, name: str) -> str | None:
        found = await self.image(name)
        return None if found is None else found.id

    async def image(self, name: str) -> ImageInfo | None:
        async with self._request(f"look up the image {name}"):
            found = await _none_if_missing(self._docker.images.inspect(quote(name, safe="/:@")))
        if found is None:
            return None
        return ImageInfo(
            id=found["Id"],
            labels=(found.get("Config") or {}).get("Labels") or {},
            layers=tuple((found.get("RootFS") or {}).get("Layers") or ()),
            layer_folder=_layer_folder(found) if self.name == "docker" else None,
        )

    async def disk_bytes(self) -> int:
        what = "ask how large the images are"
        async with self._request(what), self._docker._query("system/df") as response:
            found = await response.json()
        return int(found.get("LayersSize") or 0)

    async def images(self, labels: Mapping[str, str | None]) -> tuple[StoredImage, ...]:
        async with self._request("list images"):
            found = await self._docker.images.list(filters={"label": _label_filter(labels)})
        return tuple(
            StoredImage(
                id=each["Id"],
                names=tuple(name for name in each.get("RepoTags") or () if name != "<none>:<none>"),
                made=datetime.fromtimestamp(each["Created"], UTC),
                size=each.get("Size") or 0,
            )
            for each in found
        )

    async def remove_image(self, image: str) -> bool:
        async with self._request(f"remove the image {image}"):
            try:
                await self._docker.images.delete(quote(image, safe="/:@"))
            except aiodocker.DockerError as error:
                if error.status not in (404, 409):
                    raise
                return error.status == 404
        return True

    async def create(self, spec: ContainerSpec) -> str:
        """Raises ConfigurationError for a mount that would bring the engine's socket into the container."""
        refuse_sockets(spec, self._info.endpoint)
        # The engine fills anonymous volumes before it answers, and copies gigabytes for some.
        copies = any(isinstance(mount, AnonymousVolume) for mount in spec.mounts)
        with _translate_errors(f"create the container {spec.name}"):
            async with asyncio.timeout(None if copies else ANSWER_SECONDS):
                container = await self._docker.containers.create(create_body(spec), name=spec.name)
            if needs_entries(spec):
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await self._name_user(container.id, spec)
                except BaseException:
                    await container.delete(force=True, v=True)
                    raise
            return container.id

    async def _name_user(self, container: str, spec: ContainerSpec) -> None:
        """Give the container's user a name; the container has not started. See `user_names`."""
        found = self._name_files.get(spec.image)
        if found is None:
            found = {name: await self._read_file(container, f"{FOLDER}/{name}") for name in (USERS, GROUPS)}
            if spec.image.startswith("sha256:"):  # a name may be given to another image
                self._name_files[spec.image] = found
        named = {}
        if found[USERS]:
            named[USERS] = add_user(found[USERS], spec)
        if found[GROUPS]:
            named[GROUPS] = add_group(found[GROUPS], spec.gid)
        if named:
            await self._put(container, FOLDER, make_archive(named))

    async def _read_file(self, container: str, path: str) -> bytes:
        """A small regular file of a container; empty when there is none."""
        url = f"containers/{container}/archive"
        try:
            async with self._docker._query(url, params={"path": path}) as response:
                archive = bytearray()
                async for chunk in response.content.iter_chunked(65536):
                    archive += chunk
                    if len(archive) > LIMIT_BYTES:
                        return b""
        except aiodocker.DockerError as error:
            if error.status == 404:
                return b""
            raise
        return read_file(bytes(archive)) or b""

    async def start(self, container: str) -> None:
        async with self._request(f"start the container {shorten_id(container)}"):
            await self._container(container).start()

    async def inspect(self, container: str) -> ContainerState | None:
        async with self._request(f"inspect the container {shorten_id(container)}"):
            found = await _none_if_missing(self._container(container).show())
            return None if found is None else _state(found)

    async def list(self, labels: Mapping[str, str | None]) -> tuple[ContainerState, ...]:
        filters = json.dumps({"label": _label_filter(labels)})
        async with self._request("list containers"):
            found = await self._docker.containers.list(all=True, filters=filters)
        states = [await self.inspect(container.id) for container in found]
        return tuple(state for state in states if state is not None)

    async def wait(self, container: str) -> ContainerState:
        with _translate_errors(f"wait for the container {shorten_id(container)}"):
            await self._container(container).wait()
        state = await self.inspect(container)
        if state is None:
            raise CodingAgentError(
                f"the container {shorten_id(container)} was removed while it was waited for"
            )
        return state

    async def signal(self, container: str, name: str) -> None:
        async with self._request(f"send {name} to the container {shorten_id(container)}"):
            try:
                await self._container(container).kill(signal=name)
            except aiodocker.DockerError as error:
                if not _has_ended(error):
                    raise

    async def remove(self, container: str) -> None:
        async with self._request(f"remove the container {shorten_id(container)}"):
            try:
                await self._container(container).delete(force=True, v=True)
            except aiodocker.DockerError as error:
                if error.status == 409 and "in progress" in error.message:
                    await _none_if_missing(self._container(container).wait(condition="removed"))
                elif error.status != 404:
                    raise

    async def logs(self, container: str, *, follow: bool) -> AsyncGenerator[LogChunk, None]:
        """Raises CodingAgentError when the stream breaks; chunks yielded before that are complete."""
        frames = Demultiplexer()
        # aiodocker's own reader decodes text; a transcript is bytes.
        path, params = f"containers/{container}/logs", {"stdout": True, "stderr": True, "follow": follow}
        with _translate_errors(f"read the output of the container {shorten_id(container)}"):
            async with self._docker._query(path, params=params) as response:
                try:
                    async for piece in response.content.iter_any():
                        for chunk in frames.feed(piece):
                            yield chunk
                finally:
                    response.close()

    async def exec(
        self,
        container: str,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        output_limit: int = 100_000_000,
        on_output: Callable[[bytes], object] | None = None,
    ) -> ExecResult:
        """A program that cannot be started is exit code 126 or 127, with the engine's words as its output.

        Processes that the command leaves behind keep running. At the time-out all its processes are killed,
        except those that both left its session and cleared their environment.
        """
        execution = Execution(
            container=container,
            argv=tuple(argv),
            stdin=stdin,
            env=dict(env or {}),
            user=user or "",
            output_limit=output_limit,
            on_output=on_output,
        )
        with _translate_errors(f"run {argv[0]} in the container {shorten_id(container)}"):
            return await run_in_container(self._docker, execution, timeout)

    async def put_archive(self, container: str, path: str, tar: Path) -> None:
        with tar.open("rb") as stream, _translate_errors(f"copy into the container {shorten_id(container)}"):
            await self._put(container, path, stream)

    async def _put(self, container: str, path: str, tar: BinaryIO | bytes) -> None:
        url = f"containers/{container}/archive"
        # The engine must agree before the body is sent: otherwise it may refuse and close the connection
        # while we are still sending.
        headers = {"Content-Type": "application/x-tar", "Expect": "100-continue"}
        async with self._docker._query(
            url, "PUT", params={"path": path}, data=tar, headers=headers
        ) as response:
            await response.read()

    async def is_folder(self, container: str, path: str) -> bool:
        url, params = f"containers/{container}/archive", {"path": path}
        async with self._request(f"look up {path} in the container {shorten_id(container)}"):
            try:
                async with self._docker._query(url, "HEAD", params=params) as response:
                    about = response.headers.get("X-Docker-Container-Path-Stat", "")
                    return bool(json.loads(base64.b64decode(about))["mode"] & _FOLDER_MODE)
            except (aiodocker.DockerError, ValueError, KeyError):
                # A refusal has no body here, for which aiodocker raises ValueError.
                return False

    async def commit(
        self, container: str, *, name: str, labels: Mapping[str, str], env: Mapping[str, str]
    ) -> str:
        repository, _, tag = name.partition(":")
        config = {"Labels": dict(labels), "Env": [f"{key}={value}" for key, value in env.items()]}
        with _translate_errors(f"make an image of the container {shorten_id(container)}"):
            made = await self._container(container).commit(
                repository=repository, tag=tag or None, config=config
            )
            return str(made["Id"])

    async def close(self) -> None:
        await self._docker.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _container(self, container: str) -> DockerContainer:
        return self._docker.containers.container(container)

    @asynccontextmanager
    async def _request(self, doing: str) -> AsyncIterator[None]:
        with _translate_errors(doing):
            async with asyncio.timeout(ANSWER_SECONDS):
                yield


def _client(endpoint: str | None) -> aiodocker.Docker:
    try:
        # DOCKER_HOST is an argument, because aiodocker prefers a context to it and `docker` does not.
        return aiodocker.Docker(url=endpoint)
    except AssertionError:
        raise CannotStart("no container engine was found on this machine", hint=_NO_ENGINE_HINT) from None
    except (aiodocker.DockerError, ValueError, OSError) as error:
        raise CannotStart(
            f"the container engine cannot be reached: {_describe(error)}", hint=_NO_ENGINE_HINT
        ) from error


def _info(version: Mapping[str, Any], docker: aiodocker.Docker) -> EngineInfo:
    components = [str(part.get("Name", "")) for part in version.get("Components") or ()]
    podman = any("podman" in name.lower() for name in components)
    return EngineInfo(
        name="podman" if podman else "docker",
        version=str(version.get("Version", "")),
        endpoint=docker._connection_info,
    )


def _state(found: Mapping[str, Any]) -> ContainerState:
    state = found["State"]
    status = state["Status"]
    return ContainerState(
        id=found["Id"],
        name=found["Name"].removeprefix("/"),
        labels=found["Config"].get("Labels") or {},
        status=status,
        exit_code=state["ExitCode"] if status in ("exited", "dead") else None,
        oom_killed=bool(state.get("OOMKilled")),
        started_at=_read_time(state.get("StartedAt")),
        finished_at=_read_time(state.get("FinishedAt")),
        error=state.get("Error") or "",
        mount_sources=tuple(
            mount["Source"] for mount in found.get("Mounts") or () if mount.get("Type") == "bind"
        ),
        volumes={
            mount["Destination"]: mount["Source"]
            for mount in found.get("Mounts") or ()
            if mount.get("Type") == "volume"
        },
    )


def _layer_folder(image: Mapping[str, Any]) -> str | None:
    driver = image.get("GraphDriver") or {}
    folder = (driver.get("Data") or {}).get("UpperDir") if driver.get("Name") == "overlay2" else None
    return str(folder) if folder else None


def _read_time(value: str | None) -> str | None:
    return None if not value or value.startswith("0001-") else value


def _label_filter(labels: Mapping[str, str | None]) -> list[str]:
    return [name if value is None else f"{name}={value}" for name, value in labels.items()]


def _has_ended(error: aiodocker.DockerError) -> bool:
    return error.status == 404 or (error.status in (409, 500) and "not running" in error.message)


async def _none_if_missing(request: Awaitable[T]) -> T | None:
    try:
        return await request
    except aiodocker.DockerError as error:
        if error.status == 404:
            return None
        raise


@contextmanager
def _translate_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except (aiodocker.DockerError, aiohttp.ClientError, StreamBroken, TimeoutError, ConnectionError) as error:
        words = _describe(error) or f"no answer within {ANSWER_SECONDS:g} s"
        raise CodingAgentError(f"the container engine could not {doing}: {words}") from error


def _describe(error: Exception) -> str:
    return error.message if isinstance(error, aiodocker.DockerError) else str(error)
