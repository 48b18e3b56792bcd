"""What a person asked for, and the options and settings that follow from it."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from orchestrator.agents.base import AgentDriver
from orchestrator.config import LoadedSettings, Override, Settings, load_settings
from orchestrator.errors import UsageError
from orchestrator.gateway.access import ModelSource
from orchestrator.gateway.source import chosen_model
from orchestrator.project.project import Project
from orchestrator.run.facts import Listener, RunOptions
from orchestrator.supervision.choose_run import NewRun, ResumeRun


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """None and empty: not given."""

    agent: str | None = None
    agent_command: str | None = None
    model: str | None = None
    guidance: str | None = None
    config: tuple[str, ...] = ()
    """SECTION.KEY=VALUE, later wins."""
    only: tuple[str, ...] = ()
    """Ids of the tasks to carry out; empty: all."""
    first: str | None = None
    """Id of the task to begin with; those before it are left out."""
    keep: tuple[str, ...] = ()
    """Ids of finished tasks that stay so although their text was edited."""
    redo: tuple[str, ...] = ()
    """Ids of finished tasks that are to be done again."""
    new: bool = False
    """Start over, whatever earlier runs did."""
    allow_dirty: bool = False
    """Commit what is not committed first, as the user's."""
    listeners: tuple[Listener, ...] = ()
    progress: Callable[[str], None] = lambda line: None
    """Gets each line of what takes long before there is a run: building an image."""


def options_for(choice: NewRun | ResumeRun, request: RunRequest) -> RunOptions:
    """How the run is to go on: as it was started, unless something else is asked for now."""
    before = choice.state.options if isinstance(choice, ResumeRun) else RunOptions(agent="")
    if request.agent_command is not None and request.agent not in (None, "command"):
        raise UsageError(
            f"--agent-command is for the agent `command`, not for {request.agent}",
            hint="Leave out one of the two.",
        )
    command = before.command
    agent = request.agent or before.agent
    if request.agent_command is not None:
        command, agent = _words(request.agent_command), "command"
    return replace(
        before,
        agent=agent,
        command=command,
        model=request.model or before.model,
        guidance=request.guidance or before.guidance,
        overrides=(*before.overrides, *request.config),
        only=choice.selected if isinstance(choice, NewRun) and choice.skipped else before.only,
    )


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"--agent-command cannot be split into words: {error}") from None
    if not words:
        raise UsageError("--agent-command is empty")
    return words


def settings_for(project: Project, choice: NewRun | ResumeRun, options: RunOptions) -> LoadedSettings:
    """The settings in force; a run that goes on keeps the repository's file it was started with."""
    overrides: list[str | Override] = list(options.overrides)
    if options.agent:
        overrides.append(Override(key="agent.name", value=options.agent, flag="--agent"))
    if options.command:
        overrides.append(Override(key="agent.command", value=list(options.command), flag="--agent-command"))
    if options.model is not None:
        overrides.append(Override(key="agent.model", value=options.model, flag="--model"))
    stored = None
    if isinstance(choice, ResumeRun):
        stored = project.catalog.folder(choice.state.run).configuration.read_bytes()
    return load_settings(
        project.folder, environ=project.host.environ, overrides=overrides, repository_file=stored
    )


def model_for(project: Project, driver: AgentDriver, settings: Settings) -> ModelSource | None:
    """The model of an agent that needs one. Raises as `chosen_model` does."""
    if not driver.needs_model:
        return None
    return chosen_model(project.folder, settings, project.host.environ, driver)
