"""The settings by which a run starts or is resumed.

A run keeps the settings that it started with, from all sources. A resumed run names every setting that has
another value now, and uses the current values only if the user asks for it (`resume --take-config`). Flags
are the exception: one that is given to `resume` is always used, and is stored with the options of the run.
"""

from dataclasses import dataclass

from orchestrator.commands.request import StartOptions
from orchestrator.config import (
    LoadedSettings,
    Override,
    list_changes,
    load_settings,
    load_stored_settings,
    read_repository_file,
)
from orchestrator.errors import ConfigurationError
from orchestrator.preflight.authors import refuse_configuration_of_attempt
from orchestrator.project.project import Project
from orchestrator.project.stored_terms import read_terms
from orchestrator.run.facts import RunOptions
from orchestrator.run.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    loaded: LoadedSettings
    """The settings that the run uses."""
    changes: tuple[str, ...] = ()
    """How the current settings differ from those that a resumed run has stored, a line for each."""


async def settle_settings(
    project: Project, earlier: RunState | None, options: RunOptions, given: StartOptions
) -> RunSettings:
    """The settings of a new run, or of a resumed one: its own, or with `--take-config` the current ones.

    Raises ConfigurationError for values that cannot be used or are not approved, and for a configuration file
    that an attempt has written and `--take-config` would take.
    """
    environ, overrides = project.host.environ, list_overrides(options)
    if earlier is None:
        return RunSettings(loaded=load_settings(project.folder, environ=environ, overrides=overrides))
    stored = load_kept_settings(project, earlier, options)
    if not given.take_config:
        return RunSettings(loaded=stored, changes=_compare_with_present(project, stored, overrides))
    present = load_settings(project.folder, environ=environ, overrides=overrides)
    await refuse_configuration_of_attempt(
        project, earlier, present.repository_file or b"", stored.repository_file or b""
    )
    changes = list_changes(stored.rows, present.rows)
    for change in changes:
        given.warn(f"taken: {change}")
    return RunSettings(loaded=present, changes=changes)


def load_kept_settings(project: Project, earlier: RunState, options: RunOptions) -> LoadedSettings:
    """The settings that a run has stored, with its flags on top. Raises ConfigurationError for a flag.

    A run of a version that stored only the repository's file reads the other sources as they are now.
    """
    terms = project.catalog.folder(earlier.run).terms(earlier.terms_stored)
    configuration, stored = terms.configuration.read_bytes(), read_terms(terms)
    environ, overrides = project.host.environ, list_overrides(options)
    if stored is None:
        return load_settings(
            project.folder, environ=environ, overrides=overrides, repository_file=configuration
        )
    return load_stored_settings(
        project.folder, stored.settings, configuration, environ=environ, overrides=overrides
    )


def _compare_with_present(
    project: Project, stored: LoadedSettings, overrides: tuple[str | Override, ...]
) -> tuple[str, ...]:
    """The changes that `--take-config` would take, approved or not.

    A file in the folder that cannot be used is one of them: an attempt may have broken it, and the run does
    not need it. An error in a source that only the user writes is raised, as it is at the start of a run.
    """
    environ = project.host.environ
    try:
        content = read_repository_file(project.folder) or b""
        present = load_settings(project.folder, environ=environ, overrides=overrides, repository_file=content)
    except ConfigurationError as error:
        load_settings(project.folder, environ=environ, overrides=overrides, repository_file=b"")
        return (f"{str(error).splitlines()[0]} (this file cannot be used)",)
    return list_changes(stored.rows, present.rows)


def list_overrides(options: RunOptions) -> tuple[str | Override, ...]:
    overrides: list[str | Override] = list(options.overrides)
    if options.agent:
        overrides.append(Override(key="agent.name", value=options.agent, flag="--agent"))
    if options.command:
        overrides.append(Override(key="agent.command", value=list(options.command), flag="--agent-command"))
    if options.model is not None:
        overrides.append(Override(key="agent.model", value=options.model, flag="--model"))
    return tuple(overrides)
