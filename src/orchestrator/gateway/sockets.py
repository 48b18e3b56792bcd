"""Where the gateway's sockets are, and who may connect to them.

The path of a Unix socket has at most 107 bytes, so the sockets are in a short folder below /tmp and not in
the state folder. Every user may create names in /tmp: another user who created ours first could put a socket
there and receive credentials. So the folder must belong to us, have mode 0700, and not be a link.
A container reaches only the folder of its own attempt, which is mounted into it.
"""

import hashlib
import os
import shutil
import socket
import stat
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import EnvironmentInvalid
from orchestrator.files import Owner, give_to
from orchestrator.gateway.access import AttemptKey

SOCKET_NAME = "api.sock"
BACKLOG = 128


def gateway_folder(state: Path) -> Path:
    """The folder of this state folder's gateway; links in the path make no difference."""
    return user_folder() / _short_hash(str(state.resolve()), 10)


def user_folder() -> Path:
    return Path("/tmp") / f"ktrdr-{os.geteuid()}"  # noqa: S108 - checked by prepare_folder


def control_socket(state: Path) -> Path:
    return gateway_folder(state) / "control.sock"


def attempt_folder(folder: Path, key: AttemptKey) -> Path:
    return folder / _short_hash("\0".join((key.run, key.task, str(key.attempt))), 16)


def remove_attempt_folder(state: Path, key: AttemptKey) -> None:
    """Remove what a gateway that has been killed left of an attempt that has ended."""
    folder = gateway_folder(state)
    shutil.rmtree(attempt_folder(folder, key), ignore_errors=True)
    with suppress(OSError):
        folder.rmdir()  # only if no other attempt and no gateway is left


def check_user_folder(above: Path | None = None) -> Path:
    """The folder of our sockets, which need not exist. Raises EnvironmentInvalid when it is not private."""
    above = above or user_folder()
    fault = _describe_fault(above.lstat()) if os.path.lexists(above) else None
    if fault is not None:
        raise EnvironmentInvalid(
            f"the folder of the gateway's sockets {fault}",
            where=str(above),
            hint="Another user may have created it. Check what it holds, remove it, and start again.",
        )
    return above


def prepare_folder(folder: Path) -> None:
    """Create the gateway's folder, and check that the folder above it is private.

    Raises EnvironmentInvalid when that is a link, belongs to another user, or is open to others.
    """
    above = folder.parent
    try:
        # Not `exist_ok`: a folder that exists may have been created by another user, and its mode must not be
        # changed before it is checked.
        above.mkdir(mode=0o700)
        above.chmod(0o700)  # the umask may have removed bits
    except FileExistsError:
        pass
    check_user_folder(above)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)


def _describe_fault(status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a folder"
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}"
    if stat.S_IMODE(status.st_mode) != 0o700:
        return f"has mode {stat.S_IMODE(status.st_mode):04o} instead of 0700"
    return None


def open_listening_socket(folder: Path, owner: Owner) -> socket.socket:
    """A new socket at the usual path in the attempt's folder, to which only this user can connect.

    A folder that exists is kept. A container may have it mounted, and would not see a new folder at the same
    path, so its agent would lose its model.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / SOCKET_NAME
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        # Socket first, folder last: until the folder changes hands, its mode lets only us in, and no other
        # user can replace the socket.
        _give_to_agent(path, owner)
        _give_to_agent(folder, owner)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _give_to_agent(path: Path, owner: Owner) -> None:
    """Make the container's user the owner. The group is not checked: the modes give it no access."""
    if owner.uid != path.stat().st_uid and os.geteuid() != 0:
        raise EnvironmentInvalid(
            f"the agent runs as user {owner.uid}, and only root can give that user a socket",
            where=str(path),
            hint="Run as the owner of the code folder.",
        )
    give_to(path, owner)


def _short_hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]
