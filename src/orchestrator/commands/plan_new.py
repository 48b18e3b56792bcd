"""`plan new`: the commands that run the tests of the project which the plan is for."""

import os

from orchestrator.config import load_settings
from orchestrator.errors import OrchestratorError
from orchestrator.project.host import Host
from orchestrator.project.manifest_files import find_project


def choose_test_commands(host: Host) -> tuple[str, ...]:
    """The configured ones (`verify.task`), else those that the project's manifests suggest.

    Empty outside of the root of a repository. A configuration that cannot be read is left to the commands
    that need it.
    """
    folder = host.folder
    if folder is None or not os.path.lexists(folder / ".git"):
        return ()
    try:
        loaded = load_settings(folder, environ=host.environ, leave_out_unapproved=True)
    except OrchestratorError:
        return find_project(folder).tests
    return loaded.settings.verify.task or find_project(folder).tests
