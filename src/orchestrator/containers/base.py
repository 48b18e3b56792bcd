"""The contract of a container engine, and its data."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from orchestrator.mounts import Mount

ContainerKind = Literal["attempt", "gate", "setup", "e2e", "probe", "shell", "overlay"]

LABEL_STATE = "ktrdr.state"
LABEL_KIND = "ktrdr.kind"
LABEL_RUN = "ktrdr.run"
LABEL_TASK = "ktrdr.task"
LABEL_ATTEMPT = "ktrdr.attempt"


KEEP_ALIVE = ("sleep", "infinity")
"""For containers in which other commands are executed: replaces the image's own command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLimits:
    memory_bytes: int
    """Memory and swap together."""
    cpus: float | None
    """None: all of the machine's."""
    pids: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything about one container that the profile does not fix. The profile always applies."""

    name: str
    image: str
    uid: int
    gid: int
    limits: ContainerLimits
    command: tuple[str, ...] | None = None
    """None: the image's own command, which keeps the container alive."""
    working_dir: str = "/workspace"
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    volumes_from: str | None = None
    """A container whose volumes this one holds, too, read-only. They are removed with the last of both."""
    network: Literal["open", "none"] = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    id: str
    name: str
    labels: Mapping[str, str]
    status: Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]
    exit_code: int | None
    """None until it has ended."""
    oom_killed: bool
    started_at: str | None
    finished_at: str | None
    error: str
    """The engine's own words about a start that failed, else empty."""
    mount_sources: tuple[str, ...]
    volumes: Mapping[str, str] = field(default_factory=dict)
    """The folders of its volumes on the engine's host, by target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """A command that ran in a container. A non-zero exit is a value, not an error.

    Bytes that are not UTF-8 are replaced.
    """

    exit_code: int
    stdout: str
    stderr: str
    truncated: bool = False
    """Whether the output was longer than the limit; only its beginning is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChunk:
    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    name: str
    """docker or podman."""
    version: str
    endpoint: str
    id: str = ""
    """The engine's own, which no other engine has; empty where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    id: str
    """sha256:…"""
    labels: Mapping[str, str]
    layers: tuple[str, ...]
    """Digests of its layers, lowest first: an image that builds on another one begins with all of its."""
    layer_folder: str | None = None
    """The folder of its last layer on the engine's host; None where the engine does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """One image as the engine lists it."""

    id: str
    names: tuple[str, ...]
    """Empty if a newer image took its name."""
    made: datetime
    size: int = 0
    """Bytes, with those of the images below it."""


class ContainerEngine(Protocol):
    """Every method raises CodingAgentError with the engine's own words when the engine fails."""

    async def info(self) -> EngineInfo: ...

    async def image_digest(self, name: str) -> str | None:
        """The image's id (sha256:…), or None when there is no such image."""
        ...

    async def image(self, name: str) -> ImageInfo | None:
        """Id, labels and layers of an image, or None when there is no such image."""
        ...

    async def disk_bytes(self) -> int:
        """The size of all images of the engine, each shared layer counted once."""
        ...

    async def images(self, labels: Mapping[str, str | None]) -> tuple[StoredImage, ...]:
        """All images that carry these labels (None: any value)."""
        ...

    async def remove_image(self, image: str) -> bool:
        """Remove a name, or an image by id; False when a container or another image needs it."""
        ...

    async def create(self, spec: ContainerSpec) -> str:
        """Make the container without starting it; gives its id."""
        ...

    async def start(self, container: str) -> None: ...

    async def inspect(self, container: str) -> ContainerState | None:
        """By id or name; None when there is none."""
        ...

    async def list(self, labels: Mapping[str, str | None]) -> tuple[ContainerState, ...]:
        """All containers, ended ones too, that carry these labels (None: any value)."""
        ...

    async def wait(self, container: str) -> ContainerState:
        """Wait until it has ended and give the state then."""
        ...

    async def signal(self, container: str, name: str) -> None:
        """Send, for example, SIGINT to the main process; a container that has ended is not an error."""
        ...

    async def remove(self, container: str) -> None:
        """Remove with all its processes and anonymous volumes; an absent one is not an error."""
        ...

    def logs(self, container: str, *, follow: bool) -> AsyncGenerator[LogChunk, None]:
        """Output from its beginning, as bytes; with `follow` until the container has ended."""
        ...

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
        """Run a command to its end. After `timeout` seconds, kill its processes and raise CodingAgentTimeout.

        `on_output` gets the output of both streams as it arrives, up to the output limit.
        """
        ...

    async def put_archive(self, container: str, path: str, tar: Path) -> None:
        """Unpack a tar file of the host into the container's folder `path`; owners are those in the tar."""
        ...

    async def is_folder(self, container: str, path: str) -> bool:
        """Whether there is a folder at this path in the container, and not a link to one.

        The container need not run. Links on the way to the path are followed.
        """
        ...

    async def commit(
        self, container: str, *, name: str, labels: Mapping[str, str], env: Mapping[str, str]
    ) -> str:
        """Make an image `name` of a container's files and give its id; `labels` and `env` are added to it.

        The container's own configuration and labels are in it too. Mounts and /tmp are not.
        """
        ...

    async def close(self) -> None: ...
