"""The things that the checks work on, and the findings that they return."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from orchestrator.config import LoadedSettings, Settings
from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.errors import OrchestratorError
from orchestrator.gateway.access import ModelSource
from orchestrator.gateway.source import choose_model
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.host import Host
from orchestrator.run.state import RunState
from orchestrator.workspace.workspace import Findings, Workspace

T = TypeVar("T")
Opener = Callable[[], Awaitable[T]]

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    status: Status
    detail: str
    fix: str | None = None
    """The command or the action that fixes it: of every failure, and of a warning if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A run that is about to start or to be resumed."""

    run: str
    plan: str
    branch: str
    names_branch: bool
    """Whether the plan says the branch's name; if not, it is made from the plan's path."""
    earlier: RunState | None
    """The run's state before it is resumed; None for a new run."""
    untracked: frozenset[str]
    """The plan and the configuration, where git does not track them: a run never commits them."""
    allow_dirty: bool
    """Whether the user's uncommitted changes are committed first."""


async def no_probe() -> ContainerSpec | None:
    """The image has not been built yet."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a run is to start. An opener opens its thing when the first check asks for it."""

    host: Host
    loaded: LoadedSettings
    inspected: Opener[Findings]
    """Inspects the code folder without creating anything."""
    workspace: Opener[Workspace]
    catalog: Opener[RunCatalog]
    engine: Opener[ContainerEngine]
    model: Opener[ModelSource]
    """The model of the configured agent. A source of the credential is asked at the first call only."""
    planned: PlannedRun | None = None
    """None for `doctor`, which knows no plan."""
    probe: Opener[ContainerSpec | None] = no_probe
    """A container of the run's image, in which a program can be looked up; None before the image exists."""
    allow_dirty: bool = False
    """Whether `doctor` was asked about a run that commits uncommitted changes first."""
    only_base: bool = False
    """Whether the run starts no agent (`run --base`)."""

    @property
    def code_folder(self) -> Path | None:
        """The current folder, if it looks like the root of a repository."""
        folder = self.host.folder
        return folder if folder is not None and os.path.lexists(folder / ".git") else None


def open_once(open_it: Callable[[], Coroutine[Any, Any, T]]) -> Opener[T]:
    """Opens at the first call; every call gives the same thing, or raises the same error."""
    return cache(lambda: asyncio.create_task(open_it()))


def open_model(host: Host, settings: Settings, folder: Path) -> Opener[ModelSource]:
    async def choose() -> ModelSource:
        driver = host.agent_driver(settings.agent.name)
        return await choose_model(folder, settings, host.environ, driver)

    return open_once(choose)


def reuse_open(thing: T) -> Opener[T]:
    async def give() -> T:
        return thing

    return give


def report_passed(detail: str) -> Finding:
    return Finding(status="ok", detail=detail)


def report_skipped(detail: str) -> Finding:
    return Finding(status="skipped", detail=detail)


def report_warning(detail: str, fix: str | None) -> Finding:
    return Finding(status="warning", detail=detail, fix=fix)


def report_failed(detail: str, fix: str) -> Finding:
    return Finding(status="failed", detail=detail, fix=fix)


def report_refused(error: OrchestratorError) -> Finding:
    """The finding with the same words as the error with which `run` ends."""
    where = f"{error.where}: " if error.where else ""
    return report_failed(f"{where}{error.what}", error.hint or _SUPPORTED)


_SUPPORTED = "Choose another repository; docs/repository.md lists what is supported."
