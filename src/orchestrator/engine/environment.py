"""Whether the place we stand in is a code folder, seen without starting anything."""

import os
from pathlib import Path

from orchestrator.config import load_settings
from orchestrator.errors import EnvironmentInvalid


def validate_environment() -> Path:
    """The code folder: the current directory, which is a repository's root and holds the required files.

    Raises EnvironmentInvalid with the next step. No container is started and nothing is changed.
    """
    try:
        folder = Path.cwd()
    except FileNotFoundError:
        raise EnvironmentInvalid(
            "the current folder is gone", hint="Change to a folder that exists: cd FOLDER"
        ) from None
    if not os.path.lexists(folder / ".git"):
        raise EnvironmentInvalid("is not a repository's root", where=str(folder), hint=_root_hint(folder))
    check_required_files(
        folder, load_settings(folder, environ=os.environ).settings.environment.required_files
    )
    return folder


def check_required_files(folder: Path, required: tuple[str, ...]) -> None:
    """Raises EnvironmentInvalid naming the first that is absent."""
    for name in required:
        if not os.path.lexists(folder / name):
            raise EnvironmentInvalid(
                f"{name} is required here and absent (environment.required_files)",
                where=str(folder),
                hint="Is this the right folder? Make the file, or change the setting.",
            )


def _root_hint(folder: Path) -> str:
    for parent in folder.parents:
        if os.path.lexists(parent / ".git"):
            return f"Run it at the root: cd {parent}"
    return "Make one: git init && git add -A && git commit -m 'start'"
