"""What the actions of a run work with, in groups: an action receives the ones that it uses."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.agents.base import AgentDriver
from orchestrator.clock import Clock
from orchestrator.config import Settings
from orchestrator.containers.base import ContainerEngine
from orchestrator.engine.container_specs import ContainerSpecs
from orchestrator.gateway.access import ModelSource
from orchestrator.gateway.client import GatewayClient
from orchestrator.plan.model import Plan
from orchestrator.project.run_folder import RunFolder
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.facts import RunStarted
from orchestrator.supervision.decide import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAccess:
    """The model that agents talk to, and the gateway through which they reach it."""

    gateway: GatewayClient
    source: ModelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What is outside of us."""

    engine: ContainerEngine
    driver: AgentDriver
    model: ModelAccess | None
    """None for agents without a model."""
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecords:
    """What is written down about the run, and where."""

    run: str
    state_id: str
    """Id of the state folder, a label of every container."""
    folder: RunFolder
    journal: RunJournal

    @property
    def start(self) -> RunStarted:
        """How the run began. Branch, base and plan never change, so this may be read after any await."""
        return self.journal.state.start


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTerms:
    """What was agreed when the run was started or resumed."""

    plan: Plan
    work: Work
    settings: Settings
    texts: Mapping[str, str]
    """The texts prompts are made of."""
    untracked: frozenset[str]
    """Paths that never belong to a candidate: an untracked plan or configuration."""
    image: str
    """The image's id: what setup starts from, and attempts and gates where there is no setup."""
    specs: ContainerSpecs
