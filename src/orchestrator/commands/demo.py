"""`demo`: the example in a scratch repository, with none of the user's own settings."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator import subprocesses
from orchestrator.errors import EnvironmentInvalid, UsageError
from orchestrator.shipped_files import PACKAGE, find_shipped
from orchestrator.user_folders import user_folder

MODEL = "model.json"
"""The answers of the scripted model, in the folder of the example; not a part of the repository."""
_CREDENTIALS = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
_STEERING = ("ORCHESTRATOR_", "ANTHROPIC_", "CLAUDE_", "GIT_")
"""`GIT_DIR` of a git hook would lead git to another repository."""
_GIT_SECONDS = 60.0
_AS_DEMO = ("-c", "user.name=Demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgSign=false")


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

    Raises EnvironmentInvalid if it cannot be made.
    """
    cache = user_folder(environ, "XDG_CACHE_HOME", ".cache")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="demo-", dir=cache))
        shutil.copytree(example, folder, ignore=shutil.ignore_patterns(MODEL), dirs_exist_ok=True)
    except OSError as error:
        raise EnvironmentInvalid(
            f"the scratch repository cannot be made: {error.strerror}",
            where=str(cache),
            hint="Set XDG_CACHE_HOME to a folder on a local disk that belongs to you.",
        ) from error
    for words in (
        ("init", "--quiet"),
        ("symbolic-ref", "HEAD", "refs/heads/main"),
        ("add", "--all"),
        (*_AS_DEMO, "-c", "core.hooksPath=/dev/null", "commit", "--quiet", "-m", "chore: start of the demo"),
    ):
        done = await subprocesses.run(["git", "-C", str(folder), *words], timeout=_GIT_SECONDS)
        if done.exit_code != 0:
            raise EnvironmentInvalid(
                done.stderr.decode("utf-8", "replace").strip(),
                where=str(folder),
                hint="Git could not make the scratch repository. To check git: orchestrator doctor",
            )
    return folder
