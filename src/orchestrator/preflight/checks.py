"""The list of everything that has to be right before a run starts.

`doctor` reports every check. `run`, `task` and `resume` require them, each check at its stage: a check raises
the error with which the command ends. A new prerequisite is therefore one function and one row here. Checks
change nothing, apart from the user's own commands in `environment.checks`. Only `agent` starts a container:
it looks the agent's program up in the image, once that exists.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from orchestrator.errors import OrchestratorError
from orchestrator.preflight import containers, environment, leftovers, limits, repository
from orchestrator.preflight.site import (
    Finding,
    Site,
    report_refused,
    report_skipped,
    report_warning,
)


class Stage(Enum):
    """When a run requires a check."""

    BY_USE = auto()
    """Not separately: the run opens or loads the same thing, which raises the same error."""
    SETTLED = auto()
    """Settings and plan are known; nothing is locked yet."""
    LOCKED = auto()
    """This process holds the folder's lock, so no other run moves HEAD."""
    ALONE = auto()
    """Containers of finished work have been removed."""
    BUILT = auto()
    """The image has been built."""
    NEVER = auto()
    """The check is advice to the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    check: Callable[[Site], Awaitable[Finding]]
    """Raises OrchestratorError where a run must not start."""
    stage: Stage
    again: Stage | None = None
    """A later stage at which a run requires it once more."""
    after: str | None = None
    """The check whose failure makes this one pointless; `doctor` then skips it."""
    approved_by: str | None = None
    """The check whose failure means that settings of this one are not approved, and so not seen by it."""
    passing: bool = False
    """Whether the failure is a passing state of a usable folder (another run is at work, files are not
    committed): `doctor` reports a warning."""


CHECKS: Mapping[str, Check] = {
    "repository": Check(check=repository.check_repository, stage=Stage.BY_USE),
    "owner": Check(check=repository.check_owner, stage=Stage.NEVER, after="repository"),
    "signing": Check(check=repository.check_signing, stage=Stage.NEVER, after="repository"),
    "git_settings": Check(check=repository.check_git_settings, stage=Stage.NEVER, after="repository"),
    "trust": Check(check=environment.check_trust, stage=Stage.BY_USE),
    "required_files": Check(check=environment.check_required_files, stage=Stage.SETTLED),
    "checks": Check(check=environment.run_configured_checks, stage=Stage.SETTLED, approved_by="trust"),
    "mounts": Check(check=environment.check_mounts, stage=Stage.SETTLED, approved_by="trust"),
    "engine": Check(check=environment.check_engine, stage=Stage.BY_USE),
    "image": Check(check=containers.check_image, stage=Stage.BY_USE, after="engine"),
    "setup": Check(check=containers.check_setup, stage=Stage.NEVER, after="repository"),
    "agent": Check(check=containers.check_agent, stage=Stage.SETTLED, again=Stage.BUILT),
    "credential": Check(check=environment.check_credential, stage=Stage.SETTLED, after="agent"),
    "limits": Check(check=limits.check_limits, stage=Stage.NEVER, after="credential"),
    "state": Check(check=environment.check_state, stage=Stage.BY_USE),
    "disk": Check(check=environment.check_disk_space, stage=Stage.SETTLED, after="state"),
    "storage": Check(check=leftovers.check_storage, stage=Stage.NEVER, after="engine"),
    "sockets": Check(check=environment.check_sockets, stage=Stage.BY_USE),
    "proxy": Check(check=environment.check_proxy, stage=Stage.NEVER),
    "branch": Check(check=repository.check_branch, stage=Stage.LOCKED, after="repository", passing=True),
    "work": Check(check=repository.check_foreign_work, stage=Stage.LOCKED, after="repository", passing=True),
    "containers": Check(
        check=leftovers.check_living_containers, stage=Stage.ALONE, after="engine", passing=True
    ),
    "changes": Check(check=repository.check_changes, stage=Stage.ALONE, after="repository", passing=True),
}
"""By name, in the order in which they are reported and, within a stage, required."""


async def require(site: Site, stage: Stage) -> None:
    """Raises the OrchestratorError of the first check of this stage that fails."""
    for check in CHECKS.values():
        if stage in (check.stage, check.again):
            await check.check(site)


async def examine(site: Site, only: str | None = None) -> dict[str, Finding]:
    """Every check of CHECKS in that order by name, or the one called `only`; none of them raises."""
    findings: dict[str, Finding] = {}
    for name in CHECKS if only is None else (only,):
        await _find(name, site, findings)
    return {name: found for name, found in findings.items() if only in (None, name)}


async def _find(name: str, site: Site, findings: dict[str, Finding]) -> Finding:
    """Fill in the finding of a check, after that of the check it builds on."""
    if name in findings:
        return findings[name]
    check = CHECKS[name]
    if check.after is not None and (await _find(check.after, site, findings)).status == "failed":
        found = report_skipped(f"the check {check.after} failed")
    else:
        try:
            found = await check.check(site)
        except OrchestratorError as error:
            found = report_refused(error)
            found = report_warning(found.detail, found.fix) if check.passing else found
        approval = None if check.approved_by is None else await _find(check.approved_by, site, findings)
        if found.status == "skipped" and approval is not None and approval.status == "failed":
            found = report_skipped(f"the check {check.approved_by} failed")
    return findings.setdefault(name, found)
