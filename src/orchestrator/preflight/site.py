"""What a check looks at, and what it finds."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from orchestrator.config import LoadedSettings
from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.errors import OrchestratorError
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.host import Host
from orchestrator.run.state import RunState
from orchestrator.workspace.workspace import Findings, Workspace

T = TypeVar("T")
Supplier = Callable[[], Awaitable[T]]

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    status: Status
    detail: str
    mend: str | None = None
    """What to type, or to do; every failure and every warning has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A run that is about to start or to be resumed. Only then is there a plan."""

    run: str
    plan: str
    branch: str
    earlier: RunState | None
    """The run as it stands; None for a new one."""
    untracked: frozenset[str]
    allow_dirty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a run is to start. What a supplier opens is opened when the first check asks for it."""

    host: Host
    loaded: LoadedSettings
    inspected: Supplier[Findings]
    """What can be said of the code folder without making anything."""
    workspace: Supplier[Workspace]
    catalog: Supplier[RunCatalog]
    engine: Supplier[ContainerEngine]
    planned: PlannedRun | None = None
    """None for `doctor`, which is about no plan in particular."""
    probe: ContainerSpec | None = None
    """A container of the run's image, in which a program can be looked up."""

    @property
    def code_folder(self) -> Path | None:
        """The current folder, if it looks like the root of a repository."""
        folder = self.host.folder
        return folder if folder is not None and os.path.lexists(folder / ".git") else None


def once(make: Callable[[], Coroutine[Any, Any, T]]) -> Supplier[T]:
    """Makes it when it is first asked for, and gives the same thing, or the same error, ever after."""
    made: list[asyncio.Task[T]] = []

    async def get() -> T:
        if not made:
            made.append(asyncio.create_task(make()))
        return await made[0]

    return get


def supply(value: T) -> Supplier[T]:
    async def get() -> T:
        return value

    return get


def passed(detail: str) -> Finding:
    return Finding(status="ok", detail=detail)


def skipped(detail: str) -> Finding:
    return Finding(status="skipped", detail=detail)


def warned(detail: str, mend: str | None) -> Finding:
    return Finding(status="warning", detail=detail, mend=mend)


def failed(detail: str, mend: str) -> Finding:
    return Finding(status="failed", detail=detail, mend=mend)


def refused(error: OrchestratorError) -> Finding:
    """What `run` would say."""
    where = f"{error.where}: " if error.where else ""
    return failed(f"{where}{error.what}", error.hint or _SUPPORTED)


_SUPPORTED = "Choose another folder; docs/repository.md says which kinds a run can work in."
