"""A container engine in memory, whose containers run functions or commands of this machine."""

import asyncio
import codecs
import os
import shutil
import stat
import tarfile
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

from orchestrator.clock import Clock
from orchestrator.containers.base import (
    KEEP_ALIVE,
    ContainerSpec,
    ContainerState,
    EngineInfo,
    ExecResult,
    ImageInfo,
    LogChunk,
    StoredImage,
)
from orchestrator.containers.engine_sockets import refuse_sockets
from orchestrator.containers.execution import Execution, Output, shorten_id, timeout_error
from orchestrator.containers.user_names import user_variables
from orchestrator.errors import CodingAgentError
from orchestrator.files import give_to, measure_folder
from orchestrator.mounts import AnonymousVolume, Bind, Overlay, Volume
from orchestrator.subprocesses import Identity
from orchestrator.testing.processes import Process, Program, Running

IMAGE = "ktrdr-coding-agent:latest"
Status = Literal["created", "running", "exited"]


@dataclass(slots=True, kw_only=True)
class _Image:
    id: str
    made: datetime
    files: Path
    """Files of the image, in addition to those of the machine."""
    names: set[str] = field(default_factory=set)
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Container:
    """A Box, with its state in the engine."""

    id: str
    spec: ContainerSpec
    image: _Image
    base: Path
    mounts: tuple[tuple[Path, str, bool], ...]
    volumes: Mapping[str, Path] = field(default_factory=dict)
    """Anonymous volumes, by target; those of `volumes_from`, too."""
    status: Status = "created"
    exit_code: int | None = None
    oom_killed: bool = False
    started_at: str | None = None
    finished_at: str | None = None
    leader: int | None = None
    main: Running | None = None
    execs: set[Running] = field(default_factory=set)
    log: list[LogChunk] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced by a new event, at each change of log or status."""
    is_removed: bool = False

    @property
    def env(self) -> dict[str, str]:
        return {**self.image.env, **user_variables(self.spec.uid), **self.spec.env}

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def path(self, inside: str) -> Path:
        if self.leader is not None:
            return Path(f"/proc/{self.leader}/root{self.base}/root{inside}")
        above = [mount for mount in self.mounts if f"{inside}/".startswith(f"{mount[1]}/")]
        source, target, _ = max(
            above, key=lambda mount: len(mount[1]), default=(self.base / "layer", "", False)
        )
        return source / inside.removeprefix(target).lstrip("/")

    def state(self) -> ContainerState:
        return ContainerState(
            id=self.id,
            name=self.spec.name,
            labels={**self.image.labels, **self.spec.labels},
            status=self.status,
            exit_code=self.exit_code,
            oom_killed=self.oom_killed,
            started_at=self.started_at,
            finished_at=self.finished_at,
            error="",
            mount_sources=tuple(str(mount.source) for mount in self.spec.mounts if isinstance(mount, Bind)),
            volumes={target: str(folder) for target, folder in self.volumes.items()},
        )


class LeftContainer(NamedTuple):
    id: str
    spec: ContainerSpec
    status: Status
    exit_code: int | None
    log: tuple[LogChunk, ...]


class FakeEngine:
    """A ContainerEngine for tests. Every process of its containers calls `run`.

    With `Scripts`, the processes are functions and time is the clock's alone; with `sandbox.run_on_host` they
    are real commands. Like Docker with its json-file driver, it stores output as text, each stream by itself.
    """

    def __init__(
        self,
        folder: Path,
        run: Program,
        *,
        clock: Clock,
        images: Iterable[str] = (IMAGE,),
        shows_layers: bool = False,
    ) -> None:
        """`folder` holds the files of containers and images; `images` exist from the start and are empty.

        `shows_layers`: whether the engine gives the folder of an image's layer, so that it can be overlaid.
        """
        self.folder = folder
        self.run = run
        self._clock = clock
        self._shows_layers = shows_layers
        self._images: dict[str, _Image] = {}
        self._containers: dict[str, _Container] = {}
        self.id = "fake"
        """The engine's own id: change it, and another engine answers."""
        self.is_away = False
        """While true, every request fails; containers continue to run."""
        for name in images:
            # The same in every process that has this engine, as an image of a real one is.
            self._new_image(name, number=sha256(name.encode()).hexdigest())

    @property
    def specs(self) -> tuple[ContainerSpec, ...]:
        """The specification of each container that exists, oldest first."""
        return tuple(container.spec for container in self._containers.values())

    def list_left(self) -> tuple[LeftContainer, ...]:
        """The containers that a process with this engine leaves to another one when it is killed."""
        return tuple(
            LeftContainer(
                id=each.id,
                spec=replace(each.spec, volumes_from=None),
                status=each.status,
                exit_code=each.exit_code,
                log=tuple(each.log),
            )
            for each in self._containers.values()
        )

    async def restore(self, left: Iterable[LeftContainer]) -> None:
        """Have exactly the containers that another process has left.

        One that runs does its work from the beginning.
        """
        for known in self._containers.values():
            if known.main is not None:
                known.main.task.cancel()
        self._containers.clear()
        for each in left:
            container = self._containers.pop(await self.create(each.spec))
            container.id = each.id
            self._containers[each.id] = container
            if each.status == "running":
                await self.start(each.id)
            elif each.status == "exited":
                container.status, container.exit_code = "exited", each.exit_code
                container.log.extend(each.log)

    async def info(self) -> EngineInfo:
        return EngineInfo(name="docker", version="fake", endpoint=f"fake://{self.folder}", id=self.id)

    async def image_digest(self, name: str) -> str | None:
        found = await self.image(name)
        return None if found is None else found.id

    async def image(self, name: str) -> ImageInfo | None:
        with self._request(f"look up the image {name}"):
            found = self._image(name)
            if found is None:
                return None
            return ImageInfo(
                id=found.id,
                labels=found.labels,
                layers=found.layers,
                layer_folder=str(found.files) if self._shows_layers else None,
            )

    async def disk_bytes(self) -> int:
        with self._request("ask how large the images are"):
            return sum(measure_folder(image.files) for image in self._images.values())

    async def images(self, labels: Mapping[str, str | None]) -> tuple[StoredImage, ...]:
        with self._request("list images"):
            found = [image for image in self._images.values() if _has(image.labels, labels)]
        return tuple(
            StoredImage(
                id=each.id,
                names=tuple(sorted(each.names)),
                made=each.made,
                size=measure_folder(each.files),
            )
            for each in found
        )

    async def remove_image(self, image: str) -> bool:
        with self._request(f"remove the image {image}"):
            found = self._image(image)
            if found is None:
                return True
            if found.names - {image}:
                found.names.discard(image)
                return image != found.id
            others = (image for image in self._images.values() if image is not found)
            if any(found.id in image.layers for image in others):
                return False
            if any(container.image is found for container in self._containers.values()):
                return False
            del self._images[found.id]
            shutil.rmtree(found.files)
            return True

    async def create(self, spec: ContainerSpec) -> str:
        refuse_sockets(spec, "")
        with self._request(f"create the container {spec.name}"):
            image = self._image(spec.image)
            if image is None:
                raise _Refused(f"No such image: {spec.image}")
            if self._find(spec.name) is not None:
                raise _Refused(f'Conflict. The container name "/{spec.name}" is already in use')
            missing = [m.source for m in spec.mounts if isinstance(m, Bind) and not m.source.exists()]
            if missing:
                raise _Refused(f"bind source path does not exist: {missing[0]}")
            number = uuid.uuid4().hex * 2
            base = self.folder / "containers" / number[:12]
            _copy(image.files, base / "layer")
            (base / "tmp").mkdir()
            volumes = self._make_volumes(spec, base)
            mounts = ((base / "tmp", "/tmp", False), *self._mounts(spec, volumes))  # noqa: S108
            container = _Container(
                id=number, spec=spec, image=image, base=base, mounts=mounts, volumes=volumes
            )
            self._containers[number] = container
            return number

    async def start(self, container: str) -> None:
        with self._request(f"start the container {shorten_id(container)}"):
            found = self._require_container(container)
            found.status, found.started_at = "running", self._time()
            found.main = self._begin(found, found.spec.command or KEEP_ALIVE, _Log(found).write, is_main=True)
            found.main.task.add_done_callback(lambda _: self._end(found))
            await found.main.wait_until_begun()
            found.notify()

    async def inspect(self, container: str) -> ContainerState | None:
        with self._request(f"inspect the container {shorten_id(container)}"):
            found = self._find(container)
            return None if found is None else found.state()

    async def list(self, labels: Mapping[str, str | None]) -> tuple[ContainerState, ...]:
        with self._request("list containers"):
            states = [container.state() for container in self._containers.values()]
        return tuple(state for state in reversed(states) if _has(state.labels, labels))

    async def wait(self, container: str) -> ContainerState:
        doing = f"wait for the container {shorten_id(container)}"
        with self._request(doing):
            found = self._require_container(container)
            while found.status == "running":
                await found.changed.wait()
                self._check_is_there(found)
            return found.state()

    async def signal(self, container: str, name: str) -> None:
        with self._request(f"send {name} to the container {shorten_id(container)}"):
            found = self._find(container)
            if found is not None and found.status == "running" and found.main is not None:
                found.main.signal(name)

    async def remove(self, container: str) -> None:
        with self._request(f"remove the container {shorten_id(container)}"):
            found = self._find(container)
            if found is not None:
                await self._remove(found)

    async def logs(self, container: str, *, follow: bool) -> AsyncGenerator[LogChunk, None]:
        given = 0
        with self._request(f"read the output of the container {shorten_id(container)}"):
            found = self._require_container(container)
            while True:
                for chunk in found.log[given:]:
                    given += 1
                    yield chunk
                if given == len(found.log):
                    if not follow or found.status == "exited":
                        return
                    await found.changed.wait()
                    self._check_is_there(found)

    async def exec(
        self,
        container: str,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,  # noqa: ARG002 - the protocol has it
        output_limit: int = 100_000_000,
        on_output: Callable[[bytes], object] | None = None,
    ) -> ExecResult:
        execution = Execution(container=container, argv=tuple(argv), output_limit=output_limit)
        output = Output(output_limit, on_output)
        with self._request(f"run {argv[0]} in the container {shorten_id(container)}"):
            found = self._require_container(container)
            if found.status != "running":
                raise _Refused(f"container {found.id} is not running")
            running = self._begin(found, argv, output.add, stdin=stdin, env=env or {})
        found.execs.add(running)
        try:
            if not await running.ends_within(timeout):
                await _kill(running)
                raise timeout_error(execution, timeout, output, killed=True)
            exit_code = await running.task
        finally:
            await _kill(running)
            found.execs.discard(running)
        return ExecResult(
            exit_code=exit_code, stdout=output.stdout, stderr=output.stderr, truncated=output.truncated
        )

    async def put_archive(self, container: str, path: str, tar: Path) -> None:
        with self._request(f"copy into the container {shorten_id(container)}"):
            await asyncio.to_thread(_unpack, tar, self._require_container(container).path(path))

    async def is_folder(self, container: str, path: str) -> bool:
        with self._request(f"look up {path} in the container {shorten_id(container)}"):
            place = self._require_container(container).path(path)
            try:
                return stat.S_ISDIR(place.lstat().st_mode)
            except FileNotFoundError:
                return False

    async def commit(
        self, container: str, *, name: str, labels: Mapping[str, str], env: Mapping[str, str]
    ) -> str:
        with self._request(f"make an image of the container {shorten_id(container)}"):
            found = self._require_container(container)
            image = self._new_image(name, found.image)
            _copy(found.base / "layer", image.files)
            image.labels = {**found.image.labels, **found.spec.labels, **labels}
            image.env = {**found.env, **env}
            return image.id

    async def close(self) -> None:
        """Nothing is closed: the engine stays for the next caller that connects."""

    def build_again(self, name: str) -> None:
        """Another image gets this name, as after `docker build`; the one that had it stays."""
        self._new_image(name)

    async def remove_from_outside(self, container: str) -> None:
        """Remove a container as another program would; requests that wait for it fail."""
        await self._remove(self._require_container(container))

    @contextmanager
    def _request(self, doing: str) -> Iterator[None]:
        try:
            self._check_is_there()
            yield
        except _Refused as error:
            raise CodingAgentError(f"the container engine could not {doing}: {error}") from None

    def _check_is_there(self, container: _Container | None = None) -> None:
        if self.is_away:
            raise _Refused("Cannot connect to the engine: it is away")
        if container is not None and container.is_removed:
            raise _Refused(f"the container {shorten_id(container.id)} was removed meanwhile")

    def _find(self, wanted: str) -> _Container | None:
        known = self._containers.values()
        return next((each for each in known if wanted in (each.id, each.spec.name)), None)

    def _require_container(self, wanted: str) -> _Container:
        found = self._find(wanted)
        if found is None:
            raise _Refused(f"No such container: {wanted}")
        return found

    def _image(self, wanted: str) -> _Image | None:
        known = self._images.values()
        return next((each for each in known if wanted == each.id or wanted in each.names), None)

    def _new_image(self, name: str, below: _Image | None = None, number: str | None = None) -> _Image:
        previous = self._image(name)
        if previous is not None:
            previous.names.discard(name)
        number = f"sha256:{number or uuid.uuid4().hex * 2}"
        files = self.folder / "images" / number[-12:]
        files.mkdir(parents=True, exist_ok=True)
        layers = (*(below.layers if below is not None else ()), number)
        image = _Image(id=number, made=self._clock.now(), names={name}, files=files, layers=layers)
        self._images[number] = image
        return image

    def _make_volumes(self, spec: ContainerSpec, base: Path) -> dict[str, Path]:
        volumes: dict[str, Path] = {}
        if spec.volumes_from is not None:
            volumes.update(self._require_container(spec.volumes_from).volumes)
        for mount in spec.mounts:
            if isinstance(mount, AnonymousVolume):
                source = self.folder / "anonymous" / uuid.uuid4().hex
                filling = base / "layer" / mount.target.lstrip("/")
                source.mkdir(parents=True)
                if filling.is_dir():
                    _copy(filling, source)
                volumes[mount.target] = source
        return volumes

    def _mounts(self, spec: ContainerSpec, volumes: Mapping[str, Path]) -> Iterator[tuple[Path, str, bool]]:
        own = {mount.target for mount in spec.mounts if isinstance(mount, AnonymousVolume)}
        yield from ((folder, target, target not in own) for target, folder in volumes.items())
        for mount in spec.mounts:
            match mount:
                case Bind(source=source):
                    yield source, mount.target, mount.read_only
                case Volume(name=name):
                    folder = self.folder / "volumes" / name
                    folder.mkdir(parents=True, exist_ok=True)
                    yield folder, mount.target, mount.read_only
                case Overlay(lower=lower, upper=upper):
                    # A copy into `upper` shows the same files, and writes end up in the same place.
                    _copy(Path(lower), Path(upper))
                    yield Path(upper), mount.target, False
                case AnonymousVolume():
                    continue

    def _begin(
        self,
        container: _Container,
        argv: Sequence[str],
        write: Callable[[Literal["stdout", "stderr"], bytes], object],
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        is_main: bool = False,
    ) -> Running:
        process = Process(
            box=container,
            argv=tuple(argv),
            env={**container.env, **(env or {})},
            write=write,
            clock=self._clock,
            stdin=stdin,
            is_main=is_main,
        )
        return Running(self.run, process)

    def _end(self, container: _Container) -> None:
        """The main process has ended, and every other process of the container ends with it."""
        main = container.main
        assert main is not None
        container.status, container.finished_at, container.leader = "exited", self._time(), None
        container.oom_killed = main.out_of_memory
        container.exit_code = None if main.task.cancelled() else main.task.result()
        for running in container.execs:
            running.signal("SIGKILL")
        container.notify()

    async def _remove(self, container: _Container) -> None:
        del self._containers[container.id]
        if container.main is not None:
            await _kill(container.main)
        container.is_removed = True
        container.notify()
        await asyncio.to_thread(shutil.rmtree, container.base, ignore_errors=True)
        used = {folder for each in self._containers.values() for folder in each.volumes.values()}
        for folder in set(container.volumes.values()) - used:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _time(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


class _Refused(Exception):
    """The engine does not carry out a request, for this reason."""


class _Log:
    """Writes output into a container's log as text; bytes that are not UTF-8 are replaced."""

    def __init__(self, container: _Container) -> None:
        self._container = container
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {stream: decoder("replace") for stream in ("stdout", "stderr")}

    def write(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        text = self._decoders[stream].decode(data)
        self._container.log.append(LogChunk(stream=stream, data=text.encode()))
        self._container.notify()


async def _kill(running: Running) -> None:
    running.signal("SIGKILL")
    await asyncio.wait({running.task})


def _has(labels: Mapping[str, str], wanted: Mapping[str, str | None]) -> bool:
    return all(name in labels and value in (None, labels[name]) for name, value in wanted.items())


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with its owners into a new or existing one."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    if os.geteuid() == 0:
        for parent, folders, files in os.walk(source):
            for name in (".", *folders, *files):
                about = (Path(parent) / name).lstat()
                copied = target / Path(parent).relative_to(source) / name
                give_to(copied, Identity(uid=about.st_uid, gid=about.st_gid))


def _unpack(tar: Path, folder: Path) -> None:
    with tarfile.open(tar) as archive:
        archive.extractall(folder, numeric_owner=True, filter="fully_trusted")  # noqa: S202
