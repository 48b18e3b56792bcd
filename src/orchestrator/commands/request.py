"""Typed requests of `run`, `task` and `resume`, and the options that follow from them."""

import asyncio
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from orchestrator.engine.stop_signals import end_process
from orchestrator.errors import UsageError
from orchestrator.run.facts import Listener, RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """The options that `run`, `task` and `resume` share. None or empty means: not given."""

    agent: str | None = None
    agent_command: str | None = None
    model: str | None = None
    guidance: str | None = None
    config: tuple[str, ...] = ()
    """Each one SECTION.KEY=VALUE; later entries win."""
    keep: tuple[str, ...] = ()
    """Ids of finished tasks that stay finished although their text was edited."""
    redo: tuple[str, ...] = ()
    """Ids of finished tasks that are to be done again."""
    take_config: bool = False
    """Use the current settings instead of those that a resumed run has stored."""
    allow_dirty: bool = False
    """Commit uncommitted changes first, in the user's name."""
    allow_sleep: bool = False
    """Let the machine sleep while an attempt or a gate runs."""
    wait: bool = False
    """Wait for what passes by itself instead of ending."""
    left_open: asyncio.Event | None = None
    """The run waits for the answers of a user at its terminal until this is set; None: no user is asked."""
    end_process: Callable[[], object] = end_process
    """Ends the process at once, after the third signal."""
    at: datetime | None = None
    """When work begins; everything is checked before."""
    until: datetime | None = None
    """When this invocation stops the run in order; a later one does not take it over."""
    listeners: tuple[Listener, ...] = ()
    progress: Callable[[str], None] = lambda line: None
    """Called with each line of an image build, the one long step before a run starts."""
    warn: Callable[[str], None] = lambda line: None
    """Called with each warning about the plan, and each changed setting that is taken, before anything is
    started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """`run PLAN`; `task PLAN ID` is a request with one id in `only`."""

    plan: str | Path
    only: tuple[str, ...] = ()
    """Ids of the tasks to carry out; empty: all."""
    first: str | None = None
    """Id of the task to start with; those before it are left out."""
    new: bool = False
    """Start over, regardless of earlier runs."""
    only_base: bool = False
    """End the run after its checks on the base; earlier runs stay as they are."""
    options: StartOptions = StartOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequest:
    run: str | None = None
    """Id, unambiguous prefix or plan; None: the only unfinished run of this folder."""
    accept: tuple[str, ...] = ()
    """Ids of tasks that the user takes as done, although their attempts changed nothing."""
    options: StartOptions = StartOptions()


def merge_options(before: RunOptions, given: StartOptions) -> RunOptions:
    """The options that a run was started with, replaced by those given now."""
    if given.agent_command is not None and given.agent not in (None, "command"):
        raise UsageError(
            f"--agent-command cannot be combined with --agent {given.agent}",
            hint="Remove one of the two options.",
        )
    command, agent = before.command, given.agent or before.agent
    if given.agent_command is not None:
        command, agent = _split_command(given.agent_command), "command"
    return replace(
        before,
        agent=agent,
        command=command,
        model=given.model or before.model,
        guidance=given.guidance or before.guidance,
        overrides=(*before.overrides, *given.config),
    )


def _split_command(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(
            f"--agent-command cannot be split into words: {error}",
            hint="It is split as a shell does it: check the quotes.",
        ) from None
    if not words:
        raise UsageError(
            "--agent-command is empty",
            hint="Give a program with its arguments: --agent-command 'bash agent.sh'",
        )
    return words
