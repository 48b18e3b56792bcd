"""The values that the actions of a run work with, in groups: an action receives the groups that it uses."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.agents.base import AgentDriver
from orchestrator.clock import Clock
from orchestrator.config import Settings
from orchestrator.containers.base import ContainerEngine
from orchestrator.engine.container_specs import ContainerSpecs
from orchestrator.engine.setup_overlays import OverlaySupport
from orchestrator.engine.timetable import let_sleep
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.gateway.access import ModelSource, Provider
from orchestrator.gateway.accounts import AccountFiles
from orchestrator.gateway.client import GatewayClient
from orchestrator.plan.model import Plan, Task
from orchestrator.project.run_folder import RunFolder
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.facts import Before, RunStarted, Sleep
from orchestrator.supervision.decide import Work

log = logging.getLogger(__name__)


class EarlierResult(NamedTuple):
    """A command that another run has run before any work."""

    run: str
    at: datetime
    evidence: str
    """Its id in that run."""
    folder: Path
    """The folder of that run's evidence."""
    before: Before


EarlierResults = Mapping[str, EarlierResult]


@dataclass(slots=True, kw_only=True)
class ModelAccess:
    """The model that agents talk to, and the gateway through which they reach it."""

    gateway: GatewayClient
    source: ModelSource
    """For new attempts."""
    accounts: AccountFiles
    ask_again: Callable[[], Awaitable[ModelSource]]
    """Asks the source of the credential once more. Raises OrchestratorError."""

    async def identify(self, source: ModelSource) -> str:
        """The name of the source's credential; empty where there is none."""
        if not isinstance(source, Provider):
            return ""
        return await asyncio.to_thread(self.accounts.identify, source.credential)

    async def ask_for_another(self, refused: str) -> bool:
        """Whether another credential than the one of this name is used from now on.

        A key that was replaced while an attempt lived, or a token that has ended, has a successor at its
        source; a variable of the environment never has.
        """
        if await self.identify(self.source) == refused:
            try:
                self.source = await self.ask_again()
            except OrchestratorError as error:
                log.warning("credential.not_renewed: %s", error)
        return bool(refused) and await self.identify(self.source) not in ("", refused)

    async def store_expiry(self, account: str, expires: str) -> None:
        """Store when the login of this name ends, unless another credential is in use by now."""
        source = self.source
        if isinstance(source, Provider) and await self.identify(source) == account:
            change = partial(replace, expires=expires)
            await asyncio.to_thread(self.accounts.update, source.credential, change)

    @property
    def named(self) -> str:
        """The variable or setting that gives the credential, for messages."""
        source = self.source.credential.source if isinstance(self.source, Provider) else ""
        return source or "its source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything outside of this process that a run uses."""

    engine: ContainerEngine
    driver: AgentDriver
    """The agent of new attempts."""
    agent_driver: Callable[[str], AgentDriver]
    """The driver of this name. Raises UsageError."""
    model: ModelAccess | None
    """None for agents without a model."""
    clock: Clock
    time_has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the run is stopped because its time has ended: its attempts are parked then."""
    keep_awake: Callable[[], AbstractAsyncContextManager[Sleep]] = let_sleep
    """Keeps the machine awake between entering and leaving."""
    overlays: OverlaySupport = field(default_factory=OverlaySupport)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the user does not want to wait for agents that are asked to stop: they are killed."""

    def driver_of(self, agent: str) -> AgentDriver:
        """The driver that reads what an earlier attempt of this agent has left.

        A resume can be given another agent than the attempt had. An agent that this program does not know
        is read like the current one.
        """
        try:
            return self.agent_driver(agent)
        except UsageError:
            return self.driver


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecords:
    """Where the run is recorded."""

    run: str
    state_id: str
    """Id of the state folder, a label of every container."""
    folder: RunFolder
    journal: RunJournal
    earlier: EarlierResults = field(default_factory=dict)
    """Results of other runs on the same folder that are not older than a day, by their keys."""

    @property
    def start(self) -> RunStarted:
        """How the run began.

        Branch and plan never change, the base only before the run has a branch: this may be read after any
        await.
        """
        return self.journal.state.start


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTerms:
    """The terms on which the run was started or resumed; nothing that an agent writes changes them."""

    plan: Plan
    work: Work
    settings: Settings
    texts: Mapping[str, str]
    """The texts that prompts are made of, by name."""
    untracked: frozenset[str]
    """Paths that never belong to a candidate: an untracked plan or configuration."""
    image: str
    """The image's id. Setup starts from it; attempts and gates do where there is no setup."""
    specs: ContainerSpecs

    def task(self, task_id: str) -> Task:
        """A task of this run, which the plan always has."""
        task = self.plan.task(task_id)
        assert task is not None
        return task
