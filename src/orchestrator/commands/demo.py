"""`demo`: the example in a scratch repository, with none of the user's own settings."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import EnvironmentInvalid, UsageError
from orchestrator.shipped_files import PACKAGE, find_shipped
from orchestrator.user_folders import user_folder
from orchestrator.workspace.git import Git

MODEL = "model.json"
"""The answers of the scripted model, in the folder of the example; not a part of the repository."""
_CREDENTIALS = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
_STEERING = ("ORCHESTRATOR_", "ANTHROPIC_", "CLAUDE_", "GIT_")
"""`GIT_DIR` of a git hook would lead git to another repository."""


def find_example() -> Path:
    """The folder of the example. Raises EnvironmentInvalid for an installation without it."""
    if (found := find_shipped("examples/greeting")) is not None:
        return found
    raise EnvironmentInvalid(
        "the example is not part of this installation",
        where=str(PACKAGE),
        hint="Reinstall ktrdr-orchestrator, or use a checkout: make demo",
    )


def choose_environment(environ: Mapping[str, str], configuration: Path, *, live: bool) -> dict[str, str]:
    """The caller's environment without anything that sets or steers a run.

    With `live` the credential stays, and UsageError is raised if there is none. `configuration` is the
    folder that is read instead of the user's configuration.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(_STEERING)}
    if live:
        given = {name: environ[name] for name in _CREDENTIALS if environ.get(name)}
        if not given:
            raise UsageError(
                "the real model needs a credential",
                hint="Set ANTHROPIC_API_KEY, or leave --live out for the scripted model.",
            )
        kept |= given
    return {**kept, "XDG_CONFIG_HOME": str(configuration)}


async def make_repository(environ: Mapping[str, str], example: Path) -> Path:
    """A new repository on the branch `main` with the example in one commit, in the user's cache folder.

    Raises EnvironmentInvalid if the folder cannot be made, and WorkspaceError with git's own message.
    """
    cache = user_folder(environ, "XDG_CACHE_HOME", ".cache")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="demo-", dir=cache))
        for file in example.iterdir():
            if file.name != MODEL:
                # Without its mode: an installed package may be read-only.
                shutil.copyfile(file, folder / file.name)
    except OSError as error:
        raise EnvironmentInvalid(
            f"the scratch repository cannot be made: {error.strerror}",
            where=str(cache),
            hint="Set XDG_CACHE_HOME to a folder on a local disk that belongs to you.",
        ) from error
    author = ("user.name=Demo", "user.email=demo@localhost")
    git = Git(git_dir=folder / ".git", folder=folder, cwd=folder, config=author)
    await git.run("init", "--quiet")
    await git.run("symbolic-ref", "HEAD", "refs/heads/main")
    await git.run("add", "--all")
    await git.run("commit", "--quiet", "-m", "chore: start of the demo")
    return folder
