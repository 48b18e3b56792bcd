"""Everything a run works with, put together once by the wiring."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.agents.base import AgentDriver
from orchestrator.config import Settings
from orchestrator.containers.base import (
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_RUN,
    LABEL_STATE,
    LABEL_TASK,
    Bind,
    ContainerEngine,
    ContainerKind,
    Limits,
    Mount,
    Volume,
)
from orchestrator.engine.run_folder import RunFolder
from orchestrator.engine.run_journal import RunJournal
from orchestrator.gateway.access import ModelSource
from orchestrator.gateway.client import GatewayClient
from orchestrator.plan.model import Plan
from orchestrator.supervision.decide import Work
from orchestrator.workspace.workspace import Workspace


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
    """The image's id: what attempts and gates start from."""
    gateway: GatewayClient | None
    """None for agents without a model."""
    model_source: ModelSource | None
    texts: Mapping[str, str]
    """The texts prompts are made of."""
    untracked: frozenset[str]
    """Paths that never belong to a candidate: an untracked plan or configuration."""

    def labels(self, kind: ContainerKind, task: str = "", attempt: int | None = None) -> dict[str, str]:
        labels = {LABEL_STATE: self.state_id, LABEL_KIND: kind, LABEL_RUN: self.run}
        if task:
            labels[LABEL_TASK] = task
        if attempt is not None:
            labels[LABEL_ATTEMPT] = str(attempt)
        return labels

    @property
    def limits(self) -> Limits:
        container = self.settings.container
        return Limits(memory_bytes=container.memory, cpus=container.cpus, pids=container.pids)

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What the configuration mounts into every attempt."""
        return tuple(
            Volume(name=mount.source, target=mount.target, read_only=mount.read_only)
            if mount.is_volume
            else Bind(source=Path(mount.source), target=mount.target, read_only=mount.read_only)
            for mount in self.settings.mounts
        )
