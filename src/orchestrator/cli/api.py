"""The functions that programs import; they work in the current folder of the calling process."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from orchestrator.cli.host import this_host
from orchestrator.commands import run
from orchestrator.commands.request import RunRequest, StartOptions
from orchestrator.preflight import environment
from orchestrator.run.facts import Listener
from orchestrator.run.report import RunReport


async def run_milestone(
    plan: str | Path,
    *,
    agent: str | None = None,
    agent_command: str | None = None,
    model: str | None = None,
    guidance: str | None = None,
    config: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    first: str | None = None,
    keep: tuple[str, ...] = (),
    redo: tuple[str, ...] = (),
    take_config: bool = False,
    new: bool = False,
    only_base: bool = False,
    allow_dirty: bool = False,
    allow_sleep: bool = False,
    wait: bool = False,
    at: datetime | None = None,
    until: datetime | None = None,
    listeners: tuple[Listener, ...] = (),
    progress: Callable[[str], None] = lambda line: None,
    warn: Callable[[str], None] = lambda line: None,
) -> RunReport:
    """Carry out a plan in the current folder, or continue its unfinished run.

    The options are those of `orchestrator run`, and those of `resume` for an unfinished run. `listeners` get
    each fact of the run, `progress` each line of what takes long before there is a run, `warn` each warning
    about the plan. `at` and `until` are times with a zone. Raises OrchestratorError when plan, configuration
    or environment cannot be used, before anything is started; what happens later is in the report.
    """
    options = StartOptions(
        agent=agent,
        agent_command=agent_command,
        model=model,
        guidance=guidance,
        config=config,
        keep=keep,
        redo=redo,
        take_config=take_config,
        allow_dirty=allow_dirty,
        allow_sleep=allow_sleep,
        wait=wait,
        at=at,
        until=until,
        listeners=listeners,
        progress=progress,
        warn=warn,
    )
    request = RunRequest(plan=plan, only=only, first=first, new=new, only_base=only_base, options=options)
    return await run.run(this_host(), request)


def validate_environment() -> Path:
    """The code folder: the current folder, which is a repository's root and holds the required files.

    Raises EnvironmentInvalid with the next step. No container is started and nothing is changed.
    """
    return environment.validate_environment(this_host())
