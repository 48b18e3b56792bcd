"""Whether a run could start here: checks that look and change nothing, each with what mends it."""

import os
import shutil
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.agents.registry import agent_driver
from orchestrator.config import LoadedSettings
from orchestrator.containers.engine import connect_engine
from orchestrator.errors import OrchestratorError
from orchestrator.gateway.access import credential_from
from orchestrator.gateway.script import load_script
from orchestrator.gateway.sockets import check_user_folder
from orchestrator.state_folder import check_state_folder, state_folder
from orchestrator.workspace.workspace import Workspace

Status = Literal["ok", "warning", "failed", "skipped"]

FREE_BYTES_WARNING = 2_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    status: Status
    detail: str
    mend: str | None = None
    """What to type, or to do, when it is not ok."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    folder: Path
    environ: Mapping[str, str]
    loaded: LoadedSettings


CheckFunction = Callable[[Surroundings], Awaitable[list[Check]]]


async def repository(here: Surroundings) -> list[Check]:
    """The code folder is one a run can work in."""
    if not os.path.lexists(here.folder / ".git"):
        return [
            Check(
                name="repository",
                status="failed",
                detail=f"{here.folder} is not a repository's root",
                mend="cd to one, or make one: git init && git add -A && git commit -m start",
            )
        ]
    try:
        findings = await Workspace.inspect(here.folder)
    except OrchestratorError as error:
        return [_failed("repository", error)]
    checks = [Check(name="repository", status="ok", detail=str(here.folder))]
    checks += [Check(name="repository", status="warning", detail=text) for text in findings.notices]
    if findings.signs_commits:
        detail = "your git signs commits; those of the orchestrator are not signed"
        checks.append(Check(name="signing", status="warning", detail=detail))
    if findings.owner.uid == 0:
        detail = "root owns the folder, so the agent runs as uid 0 in its container (IS_SANDBOX=1)"
        checks.append(Check(name="owner", status="warning", detail=detail, mend="chown -R USER FOLDER"))
    return checks


async def required_files(here: Surroundings) -> list[Check]:
    wanted = here.loaded.settings.environment.required_files
    absent = [name for name in wanted if not os.path.lexists(here.folder / name)]
    if not wanted:
        return [Check(name="required_files", status="skipped", detail="none configured")]
    if absent:
        detail = f"absent: {', '.join(absent)}"
        mend = "make them, or change environment.required_files"
        return [Check(name="required_files", status="failed", detail=detail, mend=mend)]
    return [Check(name="required_files", status="ok", detail=f"{len(wanted)} there")]


async def engine(here: Surroundings) -> list[Check]:
    """A container engine answers, and has the image."""
    name = here.loaded.settings.image.name
    try:
        async with await connect_engine() as client:
            info = await client.info()
            image = await client.image_digest(name)
    except OrchestratorError as error:
        skipped = Check(name="image", status="skipped", detail="no engine to ask")
        return [_failed("engine", error), skipped]
    found = Check(name="engine", status="ok", detail=f"{info.name} {info.version} at {info.endpoint}")
    if image is None:
        mend = "orchestrator image build"
        return [found, Check(name="image", status="failed", detail=f"there is no image {name}", mend=mend)]
    return [found, Check(name="image", status="ok", detail=f"{name} ({image.removeprefix('sha256:')[:12]})")]


async def credential(here: Surroundings) -> list[Check]:
    """What the configured agent needs to reach its model; a warning where it needs none."""
    settings = here.loaded.settings
    try:
        driver = agent_driver(settings.agent.name)
        if settings.gateway.scripted is not None:
            load_script(here.folder / settings.gateway.scripted)
            return [Check(name="credential", status="ok", detail="none needed: the model is scripted")]
        found = credential_from(here.environ)
    except OrchestratorError as error:
        return [_failed("credential", error)]
    if found is not None:
        return [Check(name="credential", status="ok", detail="an API key is in the environment")]
    return [
        Check(
            name="credential",
            status="failed" if driver.needs_model else "warning",
            detail=f"no API key in the environment; the agent {driver.name} "
            + ("needs one" if driver.needs_model else "needs none"),
            mend="export ANTHROPIC_API_KEY=…",
        )
    ]


async def state(here: Surroundings) -> list[Check]:
    """The state folder is ours, private and local, with room for transcripts."""
    try:
        path = state_folder(here.environ)
        check_state_folder(path, outside=here.folder)
    except OrchestratorError as error:
        return [_failed("state", error)]
    existing = next(place for place in (path, *path.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    place = Check(name="state", status="ok", detail=str(path) + ("" if path.exists() else " (not made yet)"))
    return [place, disk_check(free, str(existing))]


def disk_check(free_bytes: int, where: str) -> Check:
    """Transcripts, evidence and candidates need room."""
    detail = f"{free_bytes / 1e9:.1f} GB free at {where}"
    if free_bytes < FREE_BYTES_WARNING:
        mend = "free some, or move the state folder with XDG_STATE_HOME"
        return Check(name="disk", status="warning", detail=detail, mend=mend)
    return Check(name="disk", status="ok", detail=detail)


async def sockets(here: Surroundings) -> list[Check]:
    """The folder of the gateway's sockets, if it exists, is ours alone."""
    try:
        path = check_user_folder()
    except OrchestratorError as error:
        return [_failed("sockets", error)]
    return [Check(name="sockets", status="ok", detail=str(path))]


async def proxy(here: Surroundings) -> list[Check]:
    """A proxy's address with a password in it is a secret, and stays out of images and containers."""
    names = [name for name in PROXY_VARIABLES if _has_password(here.environ.get(name, ""))]
    if not names:
        return []
    detail = f"{', '.join(names)} holds a password; it is not passed into images and containers"
    return [Check(name="proxy", status="warning", detail=detail, mend="use a proxy that asks for none")]


PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")

CHECKS: Mapping[str, CheckFunction] = {
    "repository": repository,
    "required_files": required_files,
    "engine": engine,
    "credential": credential,
    "state": state,
    "sockets": sockets,
    "proxy": proxy,
}


async def examine(here: Surroundings, only: str | None = None) -> tuple[Check, ...]:
    """Run all checks, or one; none of them raises for what it finds."""
    wanted = CHECKS.values() if only is None else (CHECKS[only],)
    return tuple([check for look in wanted for check in await look(here)])


def _failed(name: str, error: OrchestratorError) -> Check:
    where = f"{error.where}: " if error.where else ""
    return Check(name=name, status="failed", detail=f"{where}{error.what}", mend=error.hint)


def _has_password(address: str) -> bool:
    try:
        return urllib.parse.urlsplit(address).password is not None
    except ValueError:
        return False
