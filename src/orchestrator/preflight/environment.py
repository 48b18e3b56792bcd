"""Checks of the settings, of this machine, and of what the agent needs."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from orchestrator import subprocesses
from orchestrator.config import CheckSetting, load_settings
from orchestrator.config.approval import ApprovalItem
from orchestrator.containers.machine import PROXY_VARIABLES, describe_withheld_proxies
from orchestrator.errors import EnvironmentInvalid, OrchestratorError
from orchestrator.gateway.access import VARIABLES, Scripted
from orchestrator.gateway.sockets import check_user_folder
from orchestrator.preflight.site import (
    Finding,
    Site,
    report_failed,
    report_passed,
    report_skipped,
    report_warning,
)
from orchestrator.project.host import Host
from orchestrator.state_folder import check_state_folder, state_folder
from orchestrator.text import first_line, one_line, plain_end

DISK_BYTES = 500_000_000
FREE_BYTES_WARNING = 2_000_000_000
FREE_SOME = "Free some (orchestrator clean --older-than 30d), or move XDG_STATE_HOME."
PROXY_ADVICE = (
    "Give containers an address that they can reach, in environment.variables "
    "(docs/project-needs.md, Proxies)."
)
_CHECK_OUTPUT = 4_000
"""Bytes at the end of a failed check's output in which these lines are looked up."""
CHECK_LINES = 5
"""Lines of a failed check's output that are shown; the whole message stays within ten."""


def validate_environment(host: Host) -> Path:
    """The code folder, which is the root of a repository and contains the required files.

    Raises EnvironmentInvalid with the next step. No container is started and nothing is changed.
    """
    folder = host.code_folder()
    settings = load_settings(folder, environ=host.environ).settings
    refuse_missing_files(folder, settings.environment.required_files)
    return folder


async def check_trust(site: Site) -> Finding:
    return trust_finding([each.key for each in site.loaded.needing_approval], site.loaded.unapproved)


def trust_finding(needing: Sequence[str], untrusted: Sequence[ApprovalItem]) -> Finding:
    """Settings of the repository's file that need approval have it; without it they have no effect."""
    if untrusted:
        named = ", ".join(f"{each.key} ({each.where})" for each in untrusted)
        return report_failed(f"not approved: {named}", "orchestrator trust")
    if not needing:
        return report_passed("nothing in orchestrator.toml needs approval")
    return report_passed(f"approved: {', '.join(needing)}")


async def check_required_files(site: Site) -> Finding:
    required = site.loaded.settings.environment.required_files
    if site.host.folder is None or not required:
        return report_skipped(
            "none are configured" if not required else "the current folder no longer exists"
        )
    refuse_missing_files(site.host.folder, required)
    return report_passed(", ".join(required))


def refuse_missing_files(folder: Path, required: tuple[str, ...]) -> None:
    """Raises EnvironmentInvalid for the first that is missing."""
    for name in required:
        if not os.path.lexists(folder / name):
            raise EnvironmentInvalid(
                f"the required file {name} does not exist (environment.required_files)",
                where=str(folder),
                hint="Make sure that this is the right folder, then create the file or change the setting.",
            )


async def run_configured_checks(site: Site) -> Finding:
    """Run each configured command on the host; the user wrote or approved it."""
    own = site.loaded.settings.environment.checks
    if site.code_folder is None or not own:
        return report_skipped("none are configured" if not own else "there is no repository to run them in")
    for check in own:
        await _run_configured_check(site.code_folder, check)
    return report_passed(", ".join(f"`{first_line(check.run, 60)}`" for check in own))


async def _run_configured_check(folder: Path, check: CheckSetting) -> None:
    """Raises EnvironmentInvalid with the configured hint when it fails or takes too long."""
    with tempfile.TemporaryFile() as output:
        argv = ["bash", "-c", check.run]
        try:
            status = await subprocesses.run_alone(argv, timeout=check.timeout, cwd=folder, output=output)
        except subprocesses.ProcessTimeout:
            raise _error_of_check(check, f"took longer than {check.timeout:g} s", b"") from None
        if status != 0:
            output.seek(max(0, output.seek(0, os.SEEK_END) - _CHECK_OUTPUT))
            raise _error_of_check(check, f"failed (exit {status})", output.read())


def _error_of_check(check: CheckSetting, how: str, output: bytes) -> EnvironmentInvalid:
    lines = plain_end(output.decode("utf-8", "replace"), _CHECK_OUTPUT - 200).strip().splitlines()
    shown = "".join(f"\n  {one_line(line, 200)}" for line in lines[-CHECK_LINES:])
    return EnvironmentInvalid(
        f"the check `{first_line(check.run, 200)}` {how}{shown}",
        where="environment.checks",
        hint=check.hint or "A run starts only when this command succeeds in the code folder.",
    )


async def check_mounts(site: Site) -> Finding:
    """A host path must exist; the engine creates a missing volume."""
    mounts = site.loaded.settings.mounts
    if not mounts:
        return report_skipped("none are configured")
    for mount in mounts:
        if not mount.is_volume and not Path(mount.source).exists():
            raise EnvironmentInvalid(
                f"{mount.source} does not exist, so it cannot be mounted at {mount.target}",
                where="mounts",
                hint=f"Create it (mkdir -p {shlex.quote(mount.source)}), or change the setting.",
            )
    return report_passed(", ".join(f"{mount.source} at {mount.target}" for mount in mounts))


async def check_engine(site: Site) -> Finding:
    info = await (await site.engine()).info()
    return report_passed(f"{info.name} {info.version} at {info.endpoint}")


async def check_credential(site: Site) -> Finding:
    """Fails only when the configured agent needs a model and there is no credential for it."""
    if site.only_base:
        return report_skipped("a base run starts no agent")
    settings = site.loaded.settings
    driver = site.host.agent_driver(settings.agent.name)
    try:
        model = await site.model()
    except OrchestratorError:
        if driver.needs_model:
            raise
        return report_warning(f"none; the agent {driver.name} does not need one", None)
    if isinstance(model, Scripted):
        return report_passed(f"not needed: the model is the script {model.path}")
    source = model.credential.source
    shown = f"{source} is in the environment" if source in VARIABLES.values() else f"it comes from {source}"
    return report_passed(f"{shown}, for {model.upstream}")


async def check_state(site: Site) -> Finding:
    path = state_folder(site.host.environ)
    check_state_folder(path, outside=site.code_folder)
    made = _find_nearest_existing(path)
    if made == path:
        return report_passed(str(path))
    if not (made.is_dir() and os.access(made, os.W_OK | os.X_OK)):
        return report_failed(
            f"{path} cannot be created in {made}", "Set XDG_STATE_HOME to a folder that you can write to."
        )
    return report_passed(f"{path} (the first run creates it)")


async def check_disk_space(site: Site) -> Finding:
    """There is room for transcripts, evidence and candidates, and in the code folder."""
    state = _find_nearest_existing(state_folder(site.host.environ))
    for folder in (state, site.host.folder or state):
        refuse_full_disk(shutil.disk_usage(folder).free, folder)
    return disk_finding(shutil.disk_usage(state).free, str(state))


def _find_nearest_existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def refuse_full_disk(free_bytes: int, folder: Path) -> None:
    """Raises EnvironmentInvalid when transcripts, candidates and git's own files may not fit."""
    if free_bytes < DISK_BYTES:
        raise EnvironmentInvalid(
            f"the disk is nearly full: {free_bytes / 1e6:.0f} MB are free, "
            f"{DISK_BYTES / 1e6:.0f} MB are needed",
            where=str(folder),
            hint=FREE_SOME,
        )


def disk_finding(free_bytes: int, where: str) -> Finding:
    detail = f"{free_bytes / 1e9:.1f} GB free at {where}"
    return report_warning(detail, FREE_SOME) if free_bytes < FREE_BYTES_WARNING else report_passed(detail)


async def check_sockets(_site: Site) -> Finding:
    return report_passed(str(check_user_folder()))


async def check_proxy(site: Site) -> Finding:
    return proxy_finding(site.host.environ, dict(site.loaded.settings.environment.variables))


def proxy_finding(environ: Mapping[str, str], replaced: Collection[str] = ()) -> Finding:
    """Warns of proxies that do not reach containers; `replaced` are the variables that the settings set."""
    withheld = describe_withheld_proxies(environ, replaced)
    if withheld:
        return report_warning("; ".join(withheld), PROXY_ADVICE)
    given = [name for name in PROXY_VARIABLES if environ.get(name) or name in replaced]
    return report_passed(f"passed to containers: {', '.join(given)}" if given else "no proxy is set")
