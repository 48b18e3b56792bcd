"""`service`: a unit of systemd that resumes runs after a reboot, and the work that the unit does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.errors import CannotStart, CodingAgentError, UsageError
from orchestrator.files import write_atomically
from orchestrator.project.catalog import RunCatalog, open_catalog
from orchestrator.project.host import Host
from orchestrator.run.state import RunState
from orchestrator.supervision.after_reboot import choose_runs_to_resume, find_scheduled_start
from orchestrator.user_folders import home_folder

UNIT = "ktrdr-orchestrator.service"
MARK = "# Written by `orchestrator service --write`."
PASSED_ON = (
    *("PATH", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"),
    *("ANTHROPIC_API_KEY_FILE", "CLAUDE_CODE_OAUTH_TOKEN_FILE", "ANTHROPIC_BASE_URL"),
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE"),
)
"""Variables of the caller that a service needs too, unless they hold a password (`https://user:password@…`)."""
CREDENTIALS = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
"""Variables that stay out of the unit: everybody who may read the file could read them."""
ENGINE_SECONDS = 600.0
"""A container engine that starts with the machine has this long to answer."""
ASK_AGAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumedRun:
    run: str
    folder: Path
    argv: tuple[str, ...]
    """The command that resumes it, typed in its folder."""


def unit_path(environ: Mapping[str, str]) -> Path:
    """Where systemd looks for units of this user."""
    base = environ.get("XDG_CONFIG_HOME") or str(home_folder(environ) / ".config")
    return Path(base) / "systemd" / "user" / UNIT


def build_unit(program: Sequence[str], environ: Mapping[str, str]) -> str:
    """The text of the unit; `program` starts the orchestrator."""
    executable, *more = program
    arguments = (_quote(word.replace("$", "$$")) for word in (*more, "service", "--resume"))
    words = " ".join((_quote(executable), *arguments))
    found = [(name, environ[name]) for name in PASSED_ON if environ.get(name)]
    passed_on = [f"{name}={value}" for name, value in found if not _holds_password(value)]
    variables = "".join(f"Environment={_quote(each)}\n" for each in passed_on)
    return f"""\
{MARK} It resumes, when the machine has started, the runs that were
# at work or waited when it stopped: `orchestrator service --list` names them.
#
# The credential has to come from credentials.command, from a file that ANTHROPIC_API_KEY_FILE or
# CLAUDE_CODE_OAUTH_TOKEN_FILE names, or from the keyring. ANTHROPIC_API_KEY and CLAUDE_CODE_OAUTH_TOKEN of
# your shell do not reach a service.

[Unit]
Description=Resume interrupted runs of the KTRDR Orchestrator

[Service]
Type=exec
WorkingDirectory=%h
{variables}ExecStart={words}
KillMode=mixed
TimeoutStopSec=90
SuccessExitStatus=1 3 4 130

[Install]
WantedBy=default.target
"""


def _holds_password(value: str) -> bool:
    return "://" in value and "@" in value


def _quote(word: str) -> str:
    """As one word for systemd, which expands `%`, and in the arguments of a command also `$`."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "%": "%%"}
    return '"' + "".join(escapes.get(character, character) for character in word) + '"'


def write_unit(text: str, environ: Mapping[str, str]) -> Path:
    """Write the unit and return its path. Raises UsageError where another program or the user wrote one."""
    path = unit_path(environ)
    if path.exists() and not path.read_text("utf-8", "replace").startswith(MARK):
        raise UsageError(
            "this unit was not written by the orchestrator",
            where=str(path),
            hint="Move it away, then write it again: orchestrator service --write",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    return path


def list_runs_to_resume(host: Host, program: Sequence[str]) -> tuple[ResumedRun, ...]:
    """The runs that the unit would resume now, each with its command."""
    with open_catalog(host) as catalog:
        outlines = [each for each in catalog.outlines() if catalog.owner(each.run) is None]
        chosen = choose_runs_to_resume(_read_whole(catalog, each) for each in outlines)
    now = host.clock.now()
    return tuple(
        ResumedRun(run=each.run, folder=Path(each.start.folder), argv=_resume_command(program, each, now))
        for each in chosen
    )


def _read_whole(catalog: RunCatalog, outline: RunState) -> RunState:
    """An outline says how a run ended. Of one without an end, its other facts matter, too."""
    return catalog.run(outline.run) if outline.end is None else outline


def _resume_command(program: Sequence[str], state: RunState, now: datetime) -> tuple[str, ...]:
    at = find_scheduled_start(state)
    later = ("--at", at) if at is not None and datetime.fromisoformat(at) > now else ()
    return (*program, "resume", state.run, "--wait", *later)


async def resume_after_reboot(
    host: Host,
    runs: Sequence[ResumedRun],
    start: Callable[[ResumedRun], Awaitable[int]],
) -> list[int]:
    """Resume these runs at the same time, each in a process of its own, and return their exit codes.

    Raises CannotStart or CodingAgentError when the container engine does not answer for ten minutes.
    """
    if not runs:
        return []
    await _wait_for_engine(host)
    return list(await asyncio.gather(*map(start, runs)))


async def _wait_for_engine(host: Host) -> None:
    deadline = host.clock.monotonic() + ENGINE_SECONDS
    while True:
        try:
            async with host.connect_engine():
                return
        except (CannotStart, CodingAgentError):
            if host.clock.monotonic() >= deadline:
                raise
        await host.clock.sleep(ASK_AGAIN_SECONDS)
