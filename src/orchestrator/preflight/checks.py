"""The one list of everything that has to be right before a run starts.

`doctor` reports every check. `run`, `task` and `resume` require them, each at its stage: a check raises the
error with which the command ends. So a new prerequisite is one function and one row here. A check changes
nothing; the commands of `environment.checks` are the user's own. Only `program` starts a container, to look
a word up in the image, and only for a run.
"""

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from orchestrator.config import LoadedSettings
from orchestrator.errors import OrchestratorError
from orchestrator.preflight import environment, leftovers, repository
from orchestrator.preflight.site import Finding, Site, Status, once, refused, skipped, warned
from orchestrator.project.catalog import RunCatalog, opened_catalog
from orchestrator.project.host import Host
from orchestrator.state_folder import state_folder
from orchestrator.workspace.workspace import Findings, Workspace


class Stage(Enum):
    """When a run requires a check."""

    BY_USE = auto()
    """By using the thing: opening the folder, say, refuses what the check does."""
    SETTLED = auto()
    """Settings and plan are known; nothing is locked."""
    LOCKED = auto()
    """The folder is ours: nobody else moves HEAD."""
    ALONE = auto()
    """Containers that nobody needs any more are gone."""
    BUILT = auto()
    """The image is there."""
    NEVER = auto()
    """Advice to the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    look: Callable[[Site], Awaitable[Finding]]
    """Raises OrchestratorError for what a run refuses."""
    stage: Stage
    after: str | None = None
    """The check without which this one has nothing to look at."""
    passing: bool = False
    """Whether the folder is only in a state that a run refuses, and is fit for one: a warning in `doctor`."""


CHECKS: Mapping[str, Check] = {
    "repository": Check(look=repository.look_at_repository, stage=Stage.BY_USE),
    "owner": Check(look=repository.look_at_owner, stage=Stage.NEVER, after="repository"),
    "signing": Check(look=repository.look_at_signing, stage=Stage.NEVER, after="repository"),
    "git_settings": Check(look=repository.look_at_git_settings, stage=Stage.NEVER, after="repository"),
    "trust": Check(look=environment.look_at_trust, stage=Stage.BY_USE),
    "required_files": Check(look=environment.look_for_required_files, stage=Stage.SETTLED),
    "checks": Check(look=environment.run_own_checks, stage=Stage.SETTLED),
    "mounts": Check(look=environment.look_at_mounts, stage=Stage.SETTLED),
    "engine": Check(look=environment.look_at_engine, stage=Stage.BY_USE),
    "image": Check(look=environment.look_for_image, stage=Stage.BY_USE, after="engine"),
    "agent": Check(look=environment.look_at_agent, stage=Stage.SETTLED),
    "credential": Check(look=environment.look_for_credential, stage=Stage.SETTLED, after="agent"),
    "state": Check(look=environment.look_at_state, stage=Stage.BY_USE),
    "disk": Check(look=environment.look_at_disk, stage=Stage.SETTLED, after="state"),
    "sockets": Check(look=environment.look_at_sockets, stage=Stage.BY_USE),
    "proxy": Check(look=environment.look_at_proxy, stage=Stage.NEVER),
    "branch": Check(look=repository.look_at_branch, stage=Stage.LOCKED, after="repository", passing=True),
    "work": Check(
        look=repository.look_for_foreign_work, stage=Stage.LOCKED, after="repository", passing=True
    ),
    "containers": Check(
        look=leftovers.look_for_living_containers, stage=Stage.ALONE, after="engine", passing=True
    ),
    "changes": Check(look=repository.look_for_changes, stage=Stage.ALONE, after="repository", passing=True),
    "program": Check(look=environment.look_for_program, stage=Stage.BUILT, after="agent"),
}
"""By name, in the order in which they are reported and, within a stage, required."""

_MISSING = {
    "repository": "no repository to look at",
    "engine": "no engine to ask",
    "agent": "no agent to need one",
    "state": "no state folder",
}
"""What there is not, when a check that others build on has failed."""


async def require(site: Site, stage: Stage) -> None:
    """Raises the OrchestratorError of the first check of this stage that a run would not get past."""
    for check in CHECKS.values():
        if check.stage is stage:
            await check.look(site)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A check as `doctor` reports it."""

    name: str
    status: Status
    detail: str
    mend: str | None


async def examine(host: Host, loaded: LoadedSettings, only: str | None = None) -> tuple[Reported, ...]:
    """Every check of CHECKS once, in that order, or the one called `only`; none of them raises."""
    findings: dict[str, Finding] = {}
    async with AsyncExitStack() as stack:
        site = _site_without_plan(host, loaded, stack)
        for name in CHECKS if only is None else (only,):
            await _look(name, site, findings)
    return tuple(
        Reported(name=name, status=found.status, detail=found.detail, mend=found.mend)
        for name, found in findings.items()
        if only in (None, name)
    )


async def _look(name: str, site: Site, findings: dict[str, Finding]) -> Finding:
    """Fill in the finding of a check, and before it that of the one it builds on."""
    if name not in findings:
        check = CHECKS[name]
        if check.after is not None and (await _look(check.after, site, findings)).status == "failed":
            findings[name] = skipped(_MISSING[check.after])
        else:
            findings[name] = await _find(check, site)
    return findings[name]


async def _find(check: Check, site: Site) -> Finding:
    try:
        return await check.look(site)
    except OrchestratorError as error:
        found = refused(error)
        return warned(found.detail, found.mend) if check.passing else found


def _site_without_plan(host: Host, loaded: LoadedSettings, stack: AsyncExitStack) -> Site:
    """Opens for reading only; a repository of ours, which git needs to compare, is a temporary one."""

    async def inspect() -> Findings:
        return await Workspace.inspect(
            host.current_folder(),
            repositories=state_folder(host.environ) / "repositories",
            environ=host.environ,
        )

    async def open_workspace() -> Workspace:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="ktrdr-doctor-"))
        return await Workspace.open(
            host.code_folder(), repositories=Path(scratch), environ=host.environ, clock=host.clock
        )

    async def open_catalog() -> RunCatalog:
        return stack.enter_context(opened_catalog(host))

    return Site(
        host=host,
        loaded=loaded,
        inspected=once(inspect),
        workspace=once(open_workspace),
        catalog=once(open_catalog),
        engine=once(lambda: stack.enter_async_context(host.connect_engine())),
    )
