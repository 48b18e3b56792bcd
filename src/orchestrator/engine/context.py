"""Everything a run works with, put together once by the command."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.agents.base import AgentDriver
from orchestrator.config import Settings
from orchestrator.containers.base import ContainerEngine
from orchestrator.engine.container_specs import ContainerSpecs
from orchestrator.gateway.access import ModelSource
from orchestrator.gateway.client import GatewayClient
from orchestrator.plan.model import Plan
from orchestrator.project.run_folder import RunFolder
from orchestrator.project.run_journal import RunJournal
from orchestrator.supervision.decide import Work
from orchestrator.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    run: str
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
    specs: ContainerSpecs
    texts: Mapping[str, str]
    """The texts prompts are made of."""
    untracked: frozenset[str]
    """Paths that never belong to a candidate: an untracked plan or configuration."""
