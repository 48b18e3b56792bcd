"""Approval of settings that a repository's file may not choose by itself."""

from pathlib import Path

from orchestrator.config import LoadedSettings, load_settings, write_approval
from orchestrator.errors import EnvironmentInvalid
from orchestrator.project.host import Host
from orchestrator.state_folder import open_state_folder


def load_for_approval(host: Host) -> tuple[Path, LoadedSettings]:
    """The code folder, and its settings with the values that need approval."""
    folder = host.code_folder()
    return folder, load_settings(folder, environ=host.environ, leave_out_unapproved=True)


def approve(host: Host, folder: Path, loaded: LoadedSettings) -> None:
    """Approve exactly the values in `loaded`, which the user has seen. Raises EnvironmentInvalid."""
    state = open_state_folder(host.environ, outside=folder)
    try:
        write_approval(state.path, folder, {each.key: each.value for each in loaded.needing_approval})
    except OSError as error:
        raise EnvironmentInvalid(
            f"the approval cannot be stored: {error.strerror}",
            where=str(state.path),
            hint="Set XDG_STATE_HOME to a folder on a local disk that you can write to.",
        ) from None
