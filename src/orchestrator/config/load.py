"""Reads the sources of settings; a later source overrides an earlier one."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.config.approval import Approval, read_approval
from orchestrator.config.kinds import Host, expand_home
from orchestrator.config.layers import Given, Override, from_environment, from_file, from_flags
from orchestrator.config.mounts import ENGINE_SOCKETS
from orchestrator.config.resolve import LoadedSettings, refuse_unapproved, resolve
from orchestrator.config.stored import StoredSetting, from_stored
from orchestrator.errors import ConfigurationError, EnvironmentInvalid
from orchestrator.files import NotRegular, TooLarge, read_regular
from orchestrator.state_folder import state_folder
from orchestrator.user_folders import home_folder, user_folder

REPOSITORY_FILE = "orchestrator.toml"
DOCKERFILE = ("image", "dockerfile")
LARGEST_FILE = 32_768  # bytes; the parser takes seconds for one key of this length, and quadratic time


def user_file(environ: Mapping[str, str]) -> Path:
    """The path of the user's configuration file, which need not exist."""
    return user_folder(environ, "XDG_CONFIG_HOME", ".config") / "config.toml"


def load_settings(
    folder: Path | None,
    *,
    environ: Mapping[str, str],
    overrides: Iterable[str | Override] = (),
    repository_file: bytes | None = None,
    leave_out_unapproved: bool = False,
) -> LoadedSettings:
    """The settings for a code folder: from its file, the user's file, the environment, and flags.

    Bytes passed as `repository_file` are used instead of the file in the folder, and need no approval: for
    the copy of a run, whose values were approved when the run started, and to compare with that copy. With
    `leave_out_unapproved`, values that need approval and do not have it are left out and listed in the
    result; otherwise the first of them is an error.

    Raises ConfigurationError, which names file and line, variable or flag.
    """
    approval = Approval(everything=repository_file is not None)
    if repository_file is None and folder is not None:
        repository_file = read_repository_file(folder)
        approval = _read_approval(environ, folder)
    users = user_file(environ)
    givens: list[Given] = []
    if repository_file is not None:
        givens += from_file(repository_file, origin="repository", name=REPOSITORY_FILE)
    users_content = _read_user_file(users, folder)
    if users_content is not None:
        givens += from_file(users_content, origin="user", name=str(users))
    givens += from_environment(environ)
    givens += from_flags(overrides)
    host = _host(environ, users)
    contents = {} if folder is None or approval.everything else _contents(givens, folder, host)
    loaded = resolve(givens, host, approval, contents)
    if not leave_out_unapproved:
        refuse_unapproved(loaded, host)
    _refuse_link_out(loaded, folder)
    return replace(loaded, repository_file=repository_file)


def load_stored_settings(
    folder: Path,
    stored: Iterable[StoredSetting],
    repository_file: bytes,
    *,
    environ: Mapping[str, str],
    overrides: Iterable[str | Override] = (),
) -> LoadedSettings:
    """The settings that a run has stored, and flags on top; no file and no variable is read.

    `repository_file` is the run's copy of the file from which some of these settings came.

    Raises ConfigurationError for a flag, and for a stored value that is not valid any more.
    """
    givens = [*from_stored(stored), *from_flags(overrides)]
    loaded = resolve(givens, _host(environ, user_file(environ)), Approval())
    _refuse_link_out(loaded, folder)
    return replace(loaded, repository_file=repository_file)


def _contents(givens: Iterable[Given], folder: Path, host: Host) -> dict[str, tuple[str, ...]]:
    """The lines of the Dockerfile that the repository's file names: they are approved with its name."""
    named = [each.value for each in givens if each.key == DOCKERFILE and each.origin == "repository"]
    if not named or not isinstance(named[0], str):
        return {}
    path = Path(os.path.realpath(folder / expand_home(named[0], host)))
    if not path.is_file():
        return {}  # reported when the image is built
    lines = _read(path, named[0]).decode("utf-8", "replace").split("\n")
    return {".".join(DOCKERFILE): tuple(lines)}


def _host(environ: Mapping[str, str], users: Path) -> Host:
    sockets = [*ENGINE_SOCKETS]
    address = environ.get("DOCKER_HOST", "")
    if address.startswith("unix://"):
        sockets.append(os.path.normpath(address.removeprefix("unix://")))
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime:
        sockets += [f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    return Host(home=home_folder(environ), sockets=tuple(sockets), user_file=str(users))


def read_values(content: bytes) -> dict[str, object]:
    """The values of a configuration file by key, unchecked; empty when it is not TOML."""
    try:
        return {".".join(each.key): each.value for each in from_file(content, origin="stored", name="")}
    except ConfigurationError:
        return {}


def read_repository_file(folder: Path) -> bytes | None:
    """The bytes of the configuration file in a code folder; None without one. Raises ConfigurationError."""
    path = folder / REPOSITORY_FILE
    real = _real(path, REPOSITORY_FILE)
    if real is None:
        return None
    if not real.is_relative_to(os.path.realpath(folder)):
        raise ConfigurationError(
            f"is a link that leads out of the repository, to {str(real)!r}",
            where=REPOSITORY_FILE,
            hint="Replace the link with a file.",
        )
    return _read(real, REPOSITORY_FILE)


def _read_approval(environ: Mapping[str, str], folder: Path) -> Approval:
    """The approved values; none when there is no usable state folder, which is reported elsewhere."""
    try:
        return read_approval(state_folder(environ), folder)
    except EnvironmentInvalid:
        return Approval()


def _read_user_file(path: Path, folder: Path | None) -> bytes | None:
    real = _real(path, str(path))
    if real is None:
        return None
    if folder is not None and real.is_relative_to(os.path.realpath(folder)):
        raise ConfigurationError(
            "is in the code folder, where an agent could change it",
            where=str(path),
            hint="Set XDG_CONFIG_HOME to a folder outside of it.",
        )
    return _read(real, str(path))


def _refuse_link_out(loaded: LoadedSettings, folder: Path | None) -> None:
    """Refuse a scripted model that the repository's file names when a link leads out of the folder.

    Whether a value needs approval is decided by the path as it is written. A link in the repository could
    still make the orchestrator read another file of the user.
    """
    path, source = loaded.settings.gateway.scripted, loaded.sources["gateway.scripted"]
    if folder is None or path is None or not source.startswith(REPOSITORY_FILE):
        return
    if any(each.key == "gateway.scripted" for each in loaded.needing_approval):
        return  # approved for a file outside
    if not Path(os.path.realpath(folder / path)).is_relative_to(os.path.realpath(folder)):
        raise ConfigurationError(
            f"`gateway.scripted` is a link that leads out of the repository: {str(path)!r}",
            where=source,
            hint="Replace the link with a file.",
        )


def _real(path: Path, name: str) -> Path | None:
    """The path with all links resolved, or None when nothing exists there."""
    try:
        return Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigurationError(
                "is a link to a file that does not exist", where=name, hint="Remove the link."
            ) from None
        return None
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read: {error.strerror}", where=name, hint="Check the owner and the mode of the file."
        ) from None


def _read(path: Path, name: str) -> bytes:
    try:
        return read_regular(path, limit=LARGEST_FILE)
    except NotRegular:
        raise ConfigurationError(
            "is not a regular file", where=name, hint="Replace it with a file."
        ) from None
    except TooLarge as error:
        raise ConfigurationError(
            f"is {error.strerror}",
            where=name,
            hint="Check that this is the file you meant: settings take a few lines.",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read: {error.strerror}", where=name, hint="Check the owner and the mode of the file."
        ) from None
