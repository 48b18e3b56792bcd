"""Everything a run works with, put together once by the command."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.agents.base import AgentDriver
from orchestrator.config import Settings
from orchestrator.containers.base import Bind, ContainerEngine, ContainerKind, ContainerLimits, Mount, Volume
from orchestrator.containers.machine import Machine
from orchestrator.containers.names import labels
from orchestrator.gateway.access import ModelSource
from orchestrator.gateway.client import GatewayClient
from orchestrator.plan.model import Plan
from orchestrator.project.run_folder import RunFolder
from orchestrator.project.run_journal import RunJournal
from orchestrator.supervision.decide import Work
from orchestrator.workspace.container_git import GitMount
from orchestrator.workspace.workspace import Workspace


def limits_of(settings: Settings) -> ContainerLimits:
    container = settings.container
    return ContainerLimits(memory_bytes=container.memory, cpus=container.cpus, pids=container.pids)


def configured_mounts(settings: Settings) -> tuple[Mount, ...]:
    return tuple(
        Volume(name=mount.source, target=mount.target, read_only=mount.read_only)
        if mount.is_volume
        else Bind(source=Path(mount.source), target=mount.target, read_only=mount.read_only)
        for mount in settings.mounts
    )


def binds(mounts: Iterable[GitMount]) -> tuple[Bind, ...]:
    """Git directories as mounts of a container."""
    return tuple(
        Bind(source=mount.source, target=mount.target, read_only=mount.read_only) for mount in mounts
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    run: str
    state_id: str
    """Id of the state folder, a label of every container."""
    folder: RunFolder
    journal: RunJournal
    plan: Plan
    work: Work
    settings: Settings
    driver: AgentDriver
    engine: ContainerEngine
    workspace: Workspace
    image: str
    """The image's id: what setup starts from, and attempts and gates where there is no setup."""
    gateway: GatewayClient | None
    """None for agents without a model."""
    model_source: ModelSource | None
    machine: Machine
    texts: Mapping[str, str]
    """The texts prompts are made of."""
    untracked: frozenset[str]
    """Paths that never belong to a candidate: an untracked plan or configuration."""

    def labels(self, kind: ContainerKind, task: str | None, attempt: int | None) -> dict[str, str]:
        return labels(kind=kind, state=self.state_id, run=self.run, task=task, attempt=attempt)

    @property
    def variables(self) -> dict[str, str]:
        """What the machine and the configuration put into the environment of every container."""
        return {**self.machine.proxies, **dict(self.settings.environment.variables)}

    @property
    def limits(self) -> ContainerLimits:
        return limits_of(self.settings)

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What machine and configuration mount into every attempt."""
        return (*self.machine.mounts, *configured_mounts(self.settings))
