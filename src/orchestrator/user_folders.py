"""Folders for the user's configuration and state, by the XDG base directory specification."""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import EnvironmentInvalid

PROGRAM = "ktrdr-orchestrator"


def home_folder(environ: Mapping[str, str]) -> Path:
    """`HOME`, or the home folder in the user database when it is not set. Raises EnvironmentInvalid."""
    home = environ.get("HOME") or _home_of_account()
    if not home.startswith("/"):
        raise EnvironmentInvalid(
            "is not an absolute path", where=f"HOME={home}", hint="Set HOME to your home folder."
        )
    return Path(home)


def user_folder(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    """Our folder below the folder that `variable` names, else below `below_home` in the home folder.

    The specification says that a relative path is ignored. Here it is an error: state or settings that are
    silently read from another folder are worse than a message. Raises EnvironmentInvalid.
    """
    base = environ.get(variable)
    if not base:
        return home_folder(environ) / below_home / PROGRAM
    if not base.startswith("/"):
        raise EnvironmentInvalid(
            "is not an absolute path", where=f"{variable}={base}", hint=f"Set {variable} to one, or unset it."
        )
    return Path(base) / PROGRAM


def _home_of_account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise EnvironmentInvalid(
            "is not set, and this account has no entry in the user database",
            where="HOME",
            hint="Set HOME to your home folder.",
        ) from None
