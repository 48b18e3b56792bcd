"""Whether a run could start here: checks that look and change nothing, each with what mends it.

No container is started and no file is made; the commands of environment.checks are the user's own, and run as
they do before a run. What a check finds is a value; none of them raises for it.
"""

import os
import shutil
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.config import LoadedSettings
from orchestrator.config.approval import Trusted
from orchestrator.errors import OrchestratorError
from orchestrator.gateway.access import VARIABLES, Scripted
from orchestrator.gateway.sockets import check_user_folder
from orchestrator.gateway.source import chosen_model
from orchestrator.preflight.environment import DISK_BYTES, check_mounts, check_required_files, run_checks
from orchestrator.project.host import Host
from orchestrator.state_folder import check_state_folder, state_folder
from orchestrator.text import one_line
from orchestrator.workspace.workspace import Findings, Workspace

Status = Literal["ok", "warning", "failed", "skipped"]

FREE_BYTES_FAILED = DISK_BYTES
FREE_BYTES_WARNING = 2_000_000_000
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    status: Status
    detail: str
    mend: str | None = None
    """What to type, or to do; every failed check has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    host: Host
    loaded: LoadedSettings

    @property
    def code_folder(self) -> Path | None:
        """Where we stand, if it looks like the root of a repository."""
        folder = self.host.folder
        return folder if folder is not None and os.path.lexists(folder / ".git") else None


Look = Callable[[Surroundings], Awaitable[Sequence[Check]]]


async def examine(here: Surroundings, only: str | None = None) -> tuple[Check, ...]:
    """Every check of CHECKS once, in that order, or the one called `only`."""
    looks = dict.fromkeys(CHECKS.values() if only is None else (CHECKS[only],))
    found = [check for look in looks for check in await look(here)]
    return tuple(check for check in found if only in (None, check.name))


async def _look_at_repository(here: Surroundings) -> Sequence[Check]:
    if here.host.folder is None:
        gone = _failed("repository", "the current folder is gone", "cd FOLDER")
        return [gone, *_without_repository()]
    try:
        repositories = state_folder(here.host.environ) / "repositories"
        findings = await Workspace.inspect(
            here.host.folder, repositories=repositories, environ=here.host.environ
        )
    except OrchestratorError as error:
        return [_refused("repository", error), *_without_repository()]
    return [_ok("repository", str(here.host.folder)), *about_repository(findings)]


def about_repository(findings: Findings) -> Sequence[Check]:
    """What one should know of a repository that a run can work in."""
    return [
        owner_check(findings.owner.uid),
        signing_check(signs=findings.signs_commits),
        git_settings_check(findings.notices),
    ]


def _without_repository() -> Sequence[Check]:
    return [_skipped(name, "no repository to look at") for name in ("owner", "signing", "git_settings")]


def owner_check(uid: int) -> Check:
    """The agent works as whoever owns the code folder."""
    if uid != 0:
        return _ok("owner", f"agent and gates run as user {uid}, who owns the folder")
    detail = "root owns the folder, so agent and gates run as root in their containers (with IS_SANDBOX=1)"
    return _warning("owner", detail, "chown -R USER . (for a user other than root)")


def signing_check(*, signs: bool) -> Check:
    if not signs:
        return _ok("signing", "your git does not sign commits")
    detail = "your git signs commits (commit.gpgSign); those of the orchestrator are not signed"
    return _warning("signing", detail, "sign what you merge: git merge --no-ff -S BRANCH")


def git_settings_check(pointing: Sequence[str]) -> Check:
    """Settings of the user's git that name a file an agent could write."""
    if not pointing:
        return _ok("git_settings", "none of them leads into the code folder")
    detail = f"they lead into the code folder, where an agent could write: {'; '.join(pointing)}"
    return _warning("git_settings", detail, "git config --unset NAME, or let it name a file outside")


async def _look_at_trust(here: Surroundings) -> Sequence[Check]:
    return [trust_check([each.key for each in here.loaded.trusted], here.loaded.untrusted)]


def trust_check(needing: Sequence[str], untrusted: Sequence[Trusted]) -> Check:
    """What the repository's file may not choose alone has been approved; it does not count before."""
    if untrusted:
        named = ", ".join(f"{each.key} ({each.where})" for each in untrusted)
        return _failed("trust", f"not approved: {named}", "orchestrator trust")
    if not needing:
        return _ok("trust", "nothing in orchestrator.toml needs approval")
    return _ok("trust", f"approved: {', '.join(needing)}")


async def _look_for_required_files(here: Surroundings) -> Sequence[Check]:
    required = here.loaded.settings.environment.required_files
    if here.host.folder is None or not required:
        return [_skipped("required_files", "none are configured" if not required else "no folder")]
    try:
        check_required_files(here.host.folder, required)
    except OrchestratorError as error:
        return [_refused("required_files", error)]
    return [_ok("required_files", ", ".join(required))]


async def _run_own_checks(here: Surroundings) -> Sequence[Check]:
    own = here.loaded.settings.environment.checks
    if here.code_folder is None or not own:
        return [_skipped("checks", "none are configured" if not own else "no repository to run them in")]
    try:
        await run_checks(here.code_folder, own)
    except OrchestratorError as error:
        return [_refused("checks", error)]
    return [_ok("checks", "; ".join(one_line(check.run, 60) for check in own))]


async def _look_at_mounts(here: Surroundings) -> Sequence[Check]:
    settings = here.loaded.settings
    if not settings.mounts:
        return [_skipped("mounts", "none are configured")]
    try:
        check_mounts(settings)
    except OrchestratorError as error:
        return [_refused("mounts", error)]
    return [_ok("mounts", ", ".join(f"{mount.source} at {mount.target}" for mount in settings.mounts))]


async def _look_at_engine(here: Surroundings) -> Sequence[Check]:
    name = here.loaded.settings.image.name
    try:
        async with here.host.connect_engine() as client:
            info = await client.info()
            digest = await client.image_digest(name)
    except OrchestratorError as error:
        return [_refused("engine", error), _skipped("image", "no engine to ask")]
    return [_ok("engine", f"{info.name} {info.version} at {info.endpoint}"), image_check(name, digest)]


def image_check(name: str, digest: str | None) -> Check:
    if digest is None:
        return _failed("image", f"there is no image {name}", "orchestrator image build")
    return _ok("image", f"{name} ({digest.removeprefix('sha256:')[:12]})")


async def _look_at_agent(here: Surroundings) -> Sequence[Check]:
    configured = here.loaded.settings.agent
    try:
        program = here.host.agent_driver(configured.name).program(configured.command)
    except OrchestratorError as error:
        return [_refused("agent", error), _skipped("credential", "no agent to need one")]
    shown = f"{configured.name}: {program}" if program else configured.name
    return [_ok("agent", shown), credential_check(here)]


def credential_check(here: Surroundings) -> Check:
    """A failure only where the configured agent needs a model that it cannot have."""
    settings = here.loaded.settings
    driver = here.host.agent_driver(settings.agent.name)
    try:
        model = chosen_model(here.host.folder or Path("/"), settings, here.host.environ, driver)
    except OrchestratorError as error:
        if driver.needs_model:
            return _refused("credential", error)
        return _warning("credential", f"none, and the agent {driver.name} needs none", error.hint)
    if isinstance(model, Scripted):
        return _ok("credential", f"none needed: the model is scripted by {model.path}")
    variable = VARIABLES[model.credential.kind]
    return _ok("credential", f"{variable} is in the environment, for {model.upstream}")


async def _look_at_state(here: Surroundings) -> Sequence[Check]:
    try:
        path = state_folder(here.host.environ)
        check_state_folder(path, outside=here.code_folder)
    except OrchestratorError as error:
        return [_refused("state", error), _skipped("disk", "no state folder")]
    made = next(place for place in (path, *path.parents) if place.exists())
    if made != path and not (made.is_dir() and os.access(made, os.W_OK | os.X_OK)):
        return [
            _failed("state", f"{path} cannot be made in {made}", "set XDG_STATE_HOME to a folder of yours"),
            _skipped("disk", "no state folder"),
        ]
    there = _ok("state", str(path) if made == path else f"{path} (made by the first run)")
    return [there, disk_check(shutil.disk_usage(made).free, str(made))]


def disk_check(free_bytes: int, where: str) -> Check:
    """Transcripts, evidence and candidates need room."""
    detail = f"{free_bytes / 1e9:.1f} GB free at {where}"
    mend = "orchestrator clean --older-than 30d, or set XDG_STATE_HOME to a folder on a larger disk"
    if free_bytes < FREE_BYTES_FAILED:
        return _failed("disk", detail, mend)
    if free_bytes < FREE_BYTES_WARNING:
        return _warning("disk", detail, mend)
    return _ok("disk", detail)


async def _look_at_sockets(here: Surroundings) -> Sequence[Check]:
    try:
        return [_ok("sockets", str(check_user_folder()))]
    except OrchestratorError as error:
        return [_refused("sockets", error)]


async def _look_at_proxy(here: Surroundings) -> Sequence[Check]:
    return [proxy_check(here.host.environ)]


def proxy_check(environ: Mapping[str, str]) -> Check:
    """A proxy's address with a password in it is a secret."""
    names = [name for name in PROXY_VARIABLES if _has_password(environ.get(name, ""))]
    if not names:
        return _ok("proxy", "no password in a proxy's address")
    detail = f"a password is in {', '.join(names)}; such an address is not passed into the image"
    return _warning("proxy", detail, "use a proxy that asks for no password, such as one on this machine")


def _has_password(address: str) -> bool:
    try:
        return urllib.parse.urlsplit(address).password is not None
    except ValueError:
        return False


CHECKS: Mapping[str, Look] = {
    "repository": _look_at_repository,
    "owner": _look_at_repository,
    "signing": _look_at_repository,
    "git_settings": _look_at_repository,
    "trust": _look_at_trust,
    "required_files": _look_for_required_files,
    "checks": _run_own_checks,
    "mounts": _look_at_mounts,
    "engine": _look_at_engine,
    "image": _look_at_engine,
    "agent": _look_at_agent,
    "credential": _look_at_agent,
    "state": _look_at_state,
    "disk": _look_at_state,
    "sockets": _look_at_sockets,
    "proxy": _look_at_proxy,
}
"""By name, in the order in which they are reported."""


def _ok(name: str, detail: str) -> Check:
    return Check(name=name, status="ok", detail=detail)


def _skipped(name: str, detail: str) -> Check:
    return Check(name=name, status="skipped", detail=detail)


def _warning(name: str, detail: str, mend: str | None) -> Check:
    return Check(name=name, status="warning", detail=detail, mend=mend)


def _failed(name: str, detail: str, mend: str) -> Check:
    return Check(name=name, status="failed", detail=detail, mend=mend)


def _refused(name: str, error: OrchestratorError) -> Check:
    """What `run` would say."""
    where = f"{error.where}: " if error.where else ""
    return _failed(name, f"{where}{error.what}", error.hint or _SUPPORTED)


_SUPPORTED = "Choose another folder; docs/repository.md says which kinds a run can work in."
