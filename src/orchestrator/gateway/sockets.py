"""Where the gateway's sockets lie, and who may reach them.

A unix socket's path has at most 107 bytes, so they lie under a short folder in /tmp and not in the state
folder. That folder is ours alone (0700); the container reaches only its attempt's folder, by a mount.
"""

import hashlib
import os
import socket
import stat
from pathlib import Path

from orchestrator.errors import EnvironmentInvalid
from orchestrator.files import Owner, give_to
from orchestrator.gateway.access import AttemptKey

SOCKET_NAME = "api.sock"
BACKLOG = 128


def gateway_folder(state: Path) -> Path:
    """The folder of this state folder's gateway; the same for every way of writing the path."""
    return user_folder() / _short(str(state.resolve()), 10)


def user_folder() -> Path:
    return Path("/tmp") / f"ktrdr-{os.geteuid()}"  # noqa: S108 - checked by prepare_folder


def control_socket(state: Path) -> Path:
    return gateway_folder(state) / "control.sock"


def attempt_folder(folder: Path, key: AttemptKey) -> Path:
    return folder / _short("\0".join((key.run, key.task, str(key.attempt))), 16)


def check_user_folder(above: Path | None = None) -> Path:
    """The folder of our sockets, made or not; raises EnvironmentInvalid when it is not ours alone."""
    above = above or user_folder()
    fault = _fault(above.lstat()) if os.path.lexists(above) else None
    if fault is not None:
        raise EnvironmentInvalid(
            f"the folder of the gateway's sockets {fault}",
            where=str(above),
            hint="Somebody else may have made it. Look at it, remove it, and start again.",
        )
    return above


def prepare_folder(folder: Path) -> None:
    """Make the gateway's folder, and check that the folder above it is ours alone.

    Raises EnvironmentInvalid when it is a link, somebody else's, or open to others.
    """
    above = folder.parent
    try:
        above.mkdir(mode=0o700)
        above.chmod(0o700)  # whatever the umask left out
    except FileExistsError:
        pass
    check_user_folder(above)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)


def _fault(status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a folder"
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}"
    if stat.S_IMODE(status.st_mode) != 0o700:
        return f"has mode {stat.S_IMODE(status.st_mode):04o} instead of 0700"
    return None


def listening_socket(folder: Path, owner: Owner) -> socket.socket:
    """A socket in the attempt's folder, made anew at the same path, for this user alone.

    The folder itself is kept when it exists: a container has it mounted.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / SOCKET_NAME
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        _give(path, owner)
        _give(folder, owner)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _give(path: Path, owner: Owner) -> None:
    """Hand over to the container's user; the group does not matter (the modes give it nothing)."""
    if owner.uid != path.stat().st_uid and os.geteuid() != 0:
        raise EnvironmentInvalid(
            f"the agent's user {owner.uid} is not yours, and only root can give it a socket",
            where=str(path),
            hint="Run as the owner of the code folder.",
        )
    give_to(path, owner)


def _short(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]
