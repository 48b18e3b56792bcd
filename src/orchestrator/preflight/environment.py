"""Checks of the settings, of this machine, and of what the agent needs."""

import os
import shlex
import shutil
import tempfile
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator import subprocesses
from orchestrator.config import CheckSetting, Settings, load_settings
from orchestrator.config.approval import ApprovalItem
from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.containers.machine import PROXY_VARIABLES
from orchestrator.errors import CannotStart, CodingAgentError, EnvironmentInvalid, OrchestratorError
from orchestrator.gateway.access import VARIABLES, Scripted
from orchestrator.gateway.sockets import check_user_folder
from orchestrator.gateway.source import choose_model
from orchestrator.preflight.site import Finding, Site, failed, passed, skipped, warned
from orchestrator.project.host import Host
from orchestrator.state_folder import check_state_folder, state_folder
from orchestrator.text import one_line, plain

DISK_BYTES = 500_000_000
FREE_BYTES_WARNING = 2_000_000_000
CHECK_LINES = 5  # of a failed check's output, so that the whole message stays within ten


def validate_environment(host: Host) -> Path:
    """The code folder, which is a repository's root and holds the required files.

    Raises EnvironmentInvalid with the next step. No container is started and nothing is changed.
    """
    folder = host.code_folder()
    settings = load_settings(folder, environ=host.environ).settings
    check_required_files(folder, settings.environment.required_files)
    return folder


async def look_at_trust(site: Site) -> Finding:
    return trust_check([each.key for each in site.loaded.needing_approval], site.loaded.unapproved)


def trust_check(needing: Sequence[str], untrusted: Sequence[ApprovalItem]) -> Finding:
    """What the repository's file may not choose alone has been approved; it does not count before."""
    if untrusted:
        named = ", ".join(f"{each.key} ({each.where})" for each in untrusted)
        return failed(f"not approved: {named}", "orchestrator trust")
    if not needing:
        return passed("nothing in orchestrator.toml needs approval")
    return passed(f"approved: {', '.join(needing)}")


async def look_for_required_files(site: Site) -> Finding:
    required = site.loaded.settings.environment.required_files
    if site.host.folder is None or not required:
        return skipped("none are configured" if not required else "no folder")
    check_required_files(site.host.folder, required)
    return passed(", ".join(required))


def check_required_files(folder: Path, required: tuple[str, ...]) -> None:
    """Raises EnvironmentInvalid naming the first that is absent."""
    for name in required:
        if not os.path.lexists(folder / name):
            raise EnvironmentInvalid(
                f"{name} is required here and absent (environment.required_files)",
                where=str(folder),
                hint="Is this the right folder? Make the file, or change the setting.",
            )


async def run_own_checks(site: Site) -> Finding:
    """Run each command of the configuration on the host; they came from the user or have their approval."""
    own = site.loaded.settings.environment.checks
    if site.code_folder is None or not own:
        return skipped("none are configured" if not own else "no repository to run them in")
    for check in own:
        await _run_own_check(site.code_folder, check)
    return passed("; ".join(one_line(check.run, 60) for check in own))


async def _run_own_check(folder: Path, check: CheckSetting) -> None:
    """Raises EnvironmentInvalid with the configured hint when it fails or takes too long."""
    with tempfile.TemporaryFile() as output:
        argv = ["bash", "-c", check.run]
        try:
            status = await subprocesses.run_alone(argv, timeout=check.timeout, cwd=folder, output=output)
        except subprocesses.ProcessTimeout:
            raise _own_check_failed(check, f"took longer than {check.timeout:g} s", b"") from None
        if status != 0:
            output.seek(max(0, output.seek(0, os.SEEK_END) - 4000))
            raise _own_check_failed(check, f"failed (exit {status})", output.read())


def _own_check_failed(check: CheckSetting, how: str, output: bytes) -> EnvironmentInvalid:
    lines = plain(output.decode("utf-8", "replace")).strip().splitlines()
    shown = "".join(f"\n  {one_line(line, 200)}" for line in lines[-CHECK_LINES:])
    return EnvironmentInvalid(
        f"the check `{one_line(check.run, 200)}` {how}{shown}",
        where="environment.checks",
        hint=check.hint or "It has to succeed in the code folder before anything starts.",
    )


async def look_at_mounts(site: Site) -> Finding:
    """A host path has to be there; a missing volume is made by the engine."""
    mounts = site.loaded.settings.mounts
    if not mounts:
        return skipped("none are configured")
    for mount in mounts:
        if not mount.is_volume and not Path(mount.source).exists():
            raise EnvironmentInvalid(
                f"there is no {mount.source} to mount at {mount.target}",
                where="mounts",
                hint=f"mkdir -p {shlex.quote(mount.source)}",
            )
    return passed(", ".join(f"{mount.source} at {mount.target}" for mount in mounts))


async def look_at_engine(site: Site) -> Finding:
    info = await (await site.engine()).info()
    return passed(f"{info.name} {info.version} at {info.endpoint}")


async def look_for_image(site: Site) -> Finding:
    name = site.loaded.settings.image.name
    return image_check(name, await (await site.engine()).image_digest(name))


def image_check(name: str, digest: str | None) -> Finding:
    if digest is None:
        return failed(f"there is no image {name}", "orchestrator image build")
    return passed(f"{name} ({digest.removeprefix('sha256:')[:12]})")


async def look_at_agent(site: Site) -> Finding:
    agent = site.loaded.settings.agent
    program = site.host.agent_driver(agent.name).program(agent.command)
    return passed(f"{agent.name}: {program}" if program else agent.name)


async def look_for_credential(site: Site) -> Finding:
    """A failure only where the configured agent needs a model that it cannot have."""
    settings = site.loaded.settings
    driver = site.host.agent_driver(settings.agent.name)
    try:
        model = choose_model(site.host.folder or Path("/"), settings, site.host.environ, driver)
    except OrchestratorError as error:
        if driver.needs_model:
            raise
        return warned(f"none, and the agent {driver.name} needs none", error.hint)
    if isinstance(model, Scripted):
        return passed(f"none needed: the model is scripted by {model.path}")
    variable = VARIABLES[model.credential.kind]
    return passed(f"{variable} is in the environment, for {model.upstream}")


async def look_at_state(site: Site) -> Finding:
    path = state_folder(site.host.environ)
    check_state_folder(path, outside=site.code_folder)
    made = _nearest_existing(path)
    if made == path:
        return passed(str(path))
    if not (made.is_dir() and os.access(made, os.W_OK | os.X_OK)):
        return failed(f"{path} cannot be made in {made}", "set XDG_STATE_HOME to a folder of yours")
    return passed(f"{path} (made by the first run)")


async def look_at_disk(site: Site) -> Finding:
    """Transcripts, evidence and candidates need room, and so does the code folder."""
    made = _nearest_existing(state_folder(site.host.environ))
    check_disk(made, *([site.host.folder] if site.host.folder is not None else []))
    return disk_check(shutil.disk_usage(made).free, str(made))


def _nearest_existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def check_disk(*places: Path) -> None:
    """Raises EnvironmentInvalid for the first that lies on a file system with next to no room."""
    for place in places:
        free = shutil.disk_usage(place).free
        if disk_nearly_full(free):
            raise EnvironmentInvalid(
                f"the disk is nearly full: {free / 1e6:.0f} of the {DISK_BYTES / 1e6:.0f} MB needed are free",
                where=str(place),
                hint="Free some: orchestrator clean --older-than 30d; XDG_STATE_HOME moves the state folder.",
            )


def disk_nearly_full(free_bytes: int) -> bool:
    """Too little for transcripts, candidates and git's own files: they would be cut off half-way."""
    return free_bytes < DISK_BYTES


def disk_check(free_bytes: int, where: str) -> Finding:
    detail = f"{free_bytes / 1e9:.1f} GB free at {where}"
    mend = "orchestrator clean --older-than 30d, or set XDG_STATE_HOME to a folder on a larger disk"
    if disk_nearly_full(free_bytes):
        return failed(detail, mend)
    return warned(detail, mend) if free_bytes < FREE_BYTES_WARNING else passed(detail)


async def look_at_sockets(_site: Site) -> Finding:
    return passed(str(check_user_folder()))


async def look_at_proxy(site: Site) -> Finding:
    return proxy_check(site.host.environ)


def proxy_check(environ: Mapping[str, str]) -> Finding:
    """A proxy's address with a password in it is a secret."""
    names = [name for name in PROXY_VARIABLES if _has_password(environ.get(name, ""))]
    if not names:
        return passed("no password in a proxy's address")
    detail = f"a password is in {', '.join(names)}; such an address is not passed into the image"
    return warned(detail, "use a proxy that asks for no password, such as one on this machine")


def _has_password(address: str) -> bool:
    try:
        return urllib.parse.urlsplit(address).password is not None
    except ValueError:
        return False


async def look_for_program(site: Site) -> Finding:
    """The first word of a configured agent: in the image, or with a slash in it in the code folder."""
    settings = site.loaded.settings
    driver = site.host.agent_driver(settings.agent.name)
    if not driver.takes_command:
        return skipped("only a configured program is looked up")
    program = driver.program(settings.agent.command)
    if "/" in program:
        found = _is_program(site.host.current_folder() / program, program)
    elif site.probe is None:
        return skipped(f"a run looks {program} up in the image")
    else:
        found = await _is_in_image(await site.engine(), site.probe, program)
    if not found:
        raise _program_missing(settings, program)
    return passed(program)


def _program_missing(settings: Settings, program: str) -> EnvironmentInvalid:
    return EnvironmentInvalid(
        f"the agent's program {program} is not there",
        where="code folder" if "/" in program else settings.image.name,
        hint="Name one that exists (--agent-command, agent.command), or an image that has it.",
    )


def _is_program(path: Path, program: str) -> bool:
    if path.is_file() and not os.access(path, os.X_OK):
        raise EnvironmentInvalid(f"the agent's program {program} may not be run", hint=f"chmod +x {program}")
    return path.is_file()


async def _is_in_image(engine: ContainerEngine, spec: ContainerSpec, program: str) -> bool:
    await engine.remove(spec.name)  # what a killed start left
    try:
        container = await engine.create(spec)
    except CodingAgentError as error:
        raise CannotStart(
            error.what, hint="Change the setting that the engine names: `orchestrator doctor` shows them all."
        ) from error
    try:
        await engine.start(container)
        done = await engine.exec(container, ("sh", "-c", 'command -v -- "$1"', "sh", program), timeout=30)
        return done.exit_code == 0
    finally:
        await engine.remove(container)
