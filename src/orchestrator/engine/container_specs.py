"""The specification of every container on a code folder.

User, limits, labels, environment, mounts, network and working directory are chosen here and nowhere else.
`containers/profile.py` adds the restrictions that no specification can remove.

| container | code folder | also mounted | network |
|---|---|---|---|
| attempt | mounted, parts covered | git directory, in, out, HOME, gateway socket, `[[mounts]]` | open |
| shell | mounted, parts covered | `[[mounts]]` | open |
| gate, e2e | a candidate is copied in | git directory of the candidate | open |
| setup | a commit is copied in | git directory of the commit, HOME | open |
| probe | no | nothing, or one overlay | none |
| overlay | no | the volume of an attempt's overlays; it is never started | none |

A certificate bundle of this machine is mounted into all but the probe.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.agents.base import GATEWAY_FOLDER, HOME_FOLDER, IN_FOLDER, OUT_FOLDER, PROMPT_FILE, Launch
from orchestrator.config import Settings
from orchestrator.containers.base import (
    KEEP_ALIVE,
    LABEL_KIND,
    ContainerKind,
    ContainerLimits,
    ContainerSpec,
)
from orchestrator.containers.machine import Machine
from orchestrator.containers.names import attempt_name, labels, overlay_name
from orchestrator.containers.profile import attempt_command
from orchestrator.engine.setup_overlays import HELD, PROBE_COMMAND
from orchestrator.gates import command_gate, setup_image
from orchestrator.mounts import AnonymousVolume, Bind, Mount, Volume
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.subprocesses import Identity
from orchestrator.workspace.container_git import WORKSPACE

SHELL_NAME = "ktrdr-coding-agent"
SHELL_OVERLAYS = "ktrdr-overlay-shell"
SHELL_HOME = "/tmp/home"  # noqa: S108 - a path inside the container, on its own tmpfs
PROBE_SECONDS = "120"
"""A probe ends by itself, because no other process would find one whose starter was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpecs:
    """The properties that all containers on one code folder share, and those that each kind adds."""

    folder: Path
    owner: Identity
    """The container's user, so that everything in the code folder stays its owner's."""
    state_id: str
    """Id of the state folder, a label of every container."""
    run: str | None
    """None for a shell, which belongs to no run."""
    settings: Settings
    machine: Machine

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of every container, from the machine and from the configuration."""
        return {**self.machine.proxies, **dict(self.settings.environment.variables)}

    def attempt(
        self,
        *,
        task: str,
        number: int,
        image: str,
        launch: Launch,
        folders: AttemptFolders,
        git: Iterable[Bind],
        gateway: Path | None,
        covers: tuple[Mount, ...],
        volumes_from: str | None,
    ) -> ContainerSpec:
        """`gateway` is the folder of the attempt's socket; `covers` hide parts of the code folder."""
        assert self.run is not None
        mounts: list[Mount] = [
            Bind(source=self.folder, target=WORKSPACE),
            *git,
            Bind(source=folders.inbox, target=IN_FOLDER, read_only=True),
            Bind(source=folders.outbox, target=OUT_FOLDER),
            Bind(source=folders.home, target=HOME_FOLDER),
            *self.machine.mounts,
            *_mounts_of_user(self.settings),
        ]
        if gateway is not None:
            mounts.append(Bind(source=gateway, target=GATEWAY_FOLDER, read_only=True))
        limit = self.settings.limits.attempt_seconds
        return replace(
            self._build("attempt", attempt_name(self.run, task, number), image, task, number),
            command=attempt_command(launch.argv, limit_seconds=limit, prompt_file=PROMPT_FILE),
            env={**self.variables, **launch.env, "HOME": HOME_FOLDER},
            mounts=(*mounts, *covers),
            volumes_from=volumes_from,
        )

    def gate(
        self,
        *,
        kind: ContainerKind,
        name: str,
        task: str | None,
        attempt: int | None,
        image: str,
        git: Iterable[Bind],
    ) -> ContainerSpec:
        """A container for the checks of one commit; the commit's files are copied into it."""
        return replace(
            self._build(kind, name, image, task, attempt),
            command=KEEP_ALIVE,
            env={**self.variables, "HOME": command_gate.HOME},
            mounts=(*git, *self.machine.mounts),
        )

    def setup(self, *, name: str, image: str, git: Iterable[Bind], home: Path) -> ContainerSpec:
        """A container for setup.

        It has no environment, which would stay in the image; each command gets one.
        """
        return replace(
            self._build("setup", name, image),
            command=KEEP_ALIVE,
            mounts=(*git, Bind(source=home, target=setup_image.HOME), *self.machine.mounts),
        )

    def overlay_holder(self, *, image: str, task: str | None = None, number: int = 0) -> ContainerSpec:
        """A container for the folders of an attempt's overlays, or of a shell's; see `setup_overlays`."""
        name = SHELL_OVERLAYS if self.run is None or task is None else overlay_name(self.run, task, number)
        return replace(
            self._build("overlay", name, image, task, number if task is not None else None),
            mounts=(AnonymousVolume(target=HELD),),
            network="none",
        )

    def overlay_probe(self, *, holder: ContainerSpec) -> ContainerSpec:
        """A container that tries an overlay of the holder's image."""
        labels = {**holder.labels, LABEL_KIND: "probe"}
        return replace(
            holder, name=f"{holder.name}-probe", labels=labels, command=PROBE_COMMAND, working_dir="/"
        )

    def shell(self, *, image: str, covers: tuple[Mount, ...], volumes_from: str | None) -> ContainerSpec:
        return replace(
            self._build("shell", SHELL_NAME, image),
            env={**self.variables, "HOME": SHELL_HOME},
            mounts=(
                Bind(source=self.folder, target=WORKSPACE),
                *self.machine.mounts,
                *_mounts_of_user(self.settings),
                *covers,
            ),
            volumes_from=volumes_from,
        )

    def probe(self, *, name: str, image: str) -> ContainerSpec:
        """A container for a look into the image, without network and without the code folder."""
        command = ("sleep", PROBE_SECONDS)
        return replace(self._build("probe", name, image), command=command, working_dir="/", network="none")

    def _build(
        self, kind: ContainerKind, name: str, image: str, task: str | None = None, attempt: int | None = None
    ) -> ContainerSpec:
        container = self.settings.container
        return ContainerSpec(
            name=name,
            image=image,
            uid=self.owner.uid,
            gid=self.owner.gid,
            limits=ContainerLimits(memory_bytes=container.memory, cpus=container.cpus, pids=container.pids),
            working_dir=WORKSPACE,
            labels=labels(kind=kind, state=self.state_id, run=self.run, task=task, attempt=attempt),
        )


def _mounts_of_user(settings: Settings) -> tuple[Mount, ...]:
    return tuple(
        Volume(name=mount.source, target=mount.target, read_only=mount.read_only)
        if mount.is_volume
        else Bind(source=Path(mount.source), target=mount.target, read_only=mount.read_only)
        for mount in settings.mounts
    )
