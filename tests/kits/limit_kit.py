"""Projects whose agent talks to a model through a gateway that a test plays."""

import asyncio
import json
import os
import pickle
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands.request import RunRequest, StartOptions
from orchestrator.commands.run import run
from orchestrator.events import LimitKind
from orchestrator.gateway.access import AttemptAccess, AttemptKey, Provider
from orchestrator.gateway.accounts import AccountFiles, KnownLimit
from orchestrator.gateway.client import GatewayClient
from orchestrator.gateway.gateway_journal import GatewayJournal
from orchestrator.run.facts import Fact, LimitPassed, LimitSeen, WindowsSeen
from orchestrator.testing.agent import ScriptedAgent, Step
from orchestrator.testing.clock import run_in_fake_time
from orchestrator.testing.processes import Process
from orchestrator.testing.project import PLAN, TemporaryProject

KEY = "sk-canary-1"


class ModelAgent(ScriptedAgent):
    needs_model = True
    credentials = ("api_key",)


@dataclass
class PlayedGateway:
    """Remembers what it was handed; it writes the facts that a test wants it to have seen."""

    folder: Path
    opened: list[AttemptAccess] = field(default_factory=list)
    closed: list[AttemptKey] = field(default_factory=list)

    async def open_attempt(self, access: AttemptAccess) -> Path:
        self.opened.append(access)
        self.folder.mkdir(exist_ok=True)
        return self.folder

    async def close_attempt(self, run: str, task: str, attempt: int) -> None:
        self.closed.append(AttemptKey(run, task, attempt))

    @property
    def keys(self) -> list[str]:
        """The credential of each attempt, in order."""
        models = [access.model for access in self.opened]
        return [model.credential.value for model in models if isinstance(model, Provider)]


@dataclass
class LimitedProject:
    project: TemporaryProject
    gateway: PlayedGateway

    @property
    def accounts(self) -> AccountFiles:
        self.project.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return AccountFiles(self.project.state)

    async def see(self, body: LimitSeen | LimitPassed | WindowsSeen, run: str, attempt: int = 1) -> None:
        """Append a fact about an attempt of task 1 as the gateway does: by a connection of its own."""
        async with GatewayJournal(self.project.state, self.project.clock) as journal:
            await journal.append(AttemptKey(run, "1", attempt), body, str(body))


def sees(limited: Callable[[], LimitedProject], body: LimitSeen | LimitPassed | WindowsSeen) -> Step:
    """The agent asks the model, and the gateway sees this."""

    async def step(process: Process) -> None:
        run = process.env["ORCHESTRATOR_RUN"]
        await limited().see(body, run, int(process.env["ORCHESTRATOR_ATTEMPT"]))

    return step


def claims_limit(kind: LimitKind) -> Step:
    """The agent prints that the provider refuses, and continues."""
    return lambda process: process.print(json.dumps({"limit": kind, "until": None}))


def kill_at(project: TemporaryProject, containers: Path, kind: str) -> None:
    """Run in a process of its own that dies, as by `kill -9`, when its owner learns of a fact of this kind.

    Its containers are there afterwards, and do their work from the beginning.
    """

    def kill(fact: Fact) -> None:
        if fact.body.kind == kind:
            containers.write_bytes(pickle.dumps(project.engine.list_left()))
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            options = StartOptions(agent="command", listeners=(kill,))
            run_in_fake_time(project.clock, run(project.host, RunRequest(plan=PLAN, options=options)))
        finally:
            os._exit(70)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    project.do(project.engine.restore(pickle.loads(containers.read_bytes())))


@asynccontextmanager
async def connected(gateway: PlayedGateway) -> AsyncIterator[PlayedGateway]:
    yield gateway
    await asyncio.sleep(0)


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes projects with scripts by attempt; `sees` in a script needs the project that is being made."""
    made: list[LimitedProject] = []

    def make(
        scripts: Mapping[tuple[str, int], Sequence[Step]] | None = None, **options: Any
    ) -> LimitedProject:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        settings = options.pop("settings", "[limits]\nattempts = 1\n")
        agent = options.pop("agent", ModelAgent)(scripts)
        project = TemporaryProject(folder, agent=agent, settings=settings, **options)
        project.environ["ANTHROPIC_API_KEY"] = KEY
        gateway = PlayedGateway(folder / "gateway")
        monkeypatch.setattr(GatewayClient, "connect", lambda *_: connected(gateway))
        made.append(LimitedProject(project, gateway))
        return made[-1]

    yield make
    for each in made:
        each.project.__exit__(None, None, None)


def known_limit(**more: Any) -> KnownLimit:
    return KnownLimit(**{"cause": "usage_limit", "seen": "2026-01-01T12:00:00.000Z", "run": "r0", **more})
