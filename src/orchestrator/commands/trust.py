"""Approving what a repository's file may not choose by itself."""

import os
from pathlib import Path

from orchestrator.config import LoadedSettings, load_settings, write_approval
from orchestrator.errors import EnvironmentInvalid
from orchestrator.preflight.environment import code_folder
from orchestrator.state_folder import open_state_folder


def look() -> tuple[Path, LoadedSettings]:
    """The code folder we stand in, and its settings with everything that needs approval."""
    folder = code_folder()
    return folder, load_settings(folder, environ=os.environ, leave_out_untrusted=True)


def approve(folder: Path, loaded: LoadedSettings) -> None:
    """Let exactly the values that were looked at count from now on. Raises EnvironmentInvalid."""
    state = open_state_folder(os.environ, outside=folder)
    try:
        write_approval(state.path, folder, {each.key: each.value for each in loaded.trusted})
    except OSError as error:
        raise EnvironmentInvalid(
            f"the approval cannot be stored: {error.strerror}",
            where=str(state.path),
            hint="Set XDG_STATE_HOME to a folder of yours on a local disk.",
        ) from None
