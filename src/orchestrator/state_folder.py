"""The state folder, which stores journal, transcripts and evidence where no agent can write."""

import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import EnvironmentInvalid
from orchestrator.files import open_folder, open_regular, write_atomically
from orchestrator.user_folders import user_folder

NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "drvfs", "gfs2", "glusterfs", "gpfs", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs", "smb3", "smbfs", "vboxsf"}
    | {"fuse.ceph", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
    | {"fuse.vmhgfs-fuse"}
)
"""File systems on which locks or shared memory do not work, also those that virtual machines share."""

GATEWAY_LOCK = "gateway.lock"
"""The file in the state folder that the gateway keeps locked, and a process that migrates the journal."""

_MOUNTS = Path("/proc/self/mountinfo")
_ID = re.compile(r"[0-9a-f]{8}")
_HINT_MOVE = "Set XDG_STATE_HOME to a folder on a local disk that belongs to you."


class StateFolder(NamedTuple):
    path: Path
    id: str
    """Eight hexadecimal digits, which mark the containers and sockets of this state folder."""

    @property
    def repositories(self) -> Path:
        return self.path / "repositories"


def state_folder(environ: Mapping[str, str]) -> Path:
    """The path of the state folder, which need not exist. Raises EnvironmentInvalid for a relative one."""
    return user_folder(environ, "XDG_STATE_HOME", ".local/state")


def open_state_folder(environ: Mapping[str, str], *, outside: Path | None = None) -> StateFolder:
    """The state folder, created if missing. It belongs to us, and is private, writable and local.

    It must not be in the folder `outside`, where an agent can write. On systems without /proc/self/mountinfo
    the type of the file system is unknown and not checked. Raises EnvironmentInvalid, with the command or the
    variable that fixes the problem.
    """
    path = state_folder(environ)
    check_state_folder(path, outside=outside, to_be_made=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EnvironmentInvalid(
            f"the state folder cannot be made: {error.strerror}", where=str(path), hint=_HINT_MOVE
        ) from None
    _refuse_foreign(path)
    _refuse_open(path)
    return StateFolder(path=path, id=_read_or_make_id(path))


def check_state_folder(path: Path, *, outside: Path | None, to_be_made: bool = False) -> None:
    """Check what `open_state_folder` checks, without creating anything. Raises EnvironmentInvalid."""
    if outside is not None and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(outside)):
        raise EnvironmentInvalid(
            f"the state folder is in {outside}, where an agent can change it",
            where=str(path),
            hint="Set XDG_STATE_HOME to a folder outside of it.",
        )
    _refuse_network(path)
    if path.exists() and not to_be_made:
        _refuse_foreign(path)
        _refuse_open(path)


def close_to_others(path: Path) -> None:
    """Give the user's state folder the mode that it needs. EnvironmentInvalid if another user owns it.

    The folder is opened first, so that no link is followed to another one.
    """
    _refuse_foreign(path)
    try:
        descriptor = open_folder(path)
    except OSError as error:
        raise EnvironmentInvalid(
            f"cannot be opened: {error.strerror}", where=str(path), hint=_HINT_MOVE
        ) from None
    try:
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def file_system_type(mountinfo: str, path: str) -> str | None:
    """The type of the file system of an absolute path without links, by the kernel's mount table."""
    best, found = -1, None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        # The kernel writes a space in a path as a backslash and its octal code.
        point = fields[4] if len(fields) > 4 else ""
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)
        holds = path == point or path.startswith(point.rstrip("/") + "/")
        if point and right and holds and len(point) >= best:
            best, found = len(point), right.split(" ")[0]
    return found


def _refuse_network(path: Path) -> None:
    try:
        mountinfo = _MOUNTS.read_text(encoding="latin-1")
    except OSError:
        return
    # The real path: a link can lead to another file system than its name suggests.
    kind = file_system_type(mountinfo, os.fsencode(os.path.realpath(path)).decode("latin-1"))
    if kind in NETWORK_FILE_SYSTEMS:
        raise EnvironmentInvalid(
            f"the state folder is on a network or shared file system ({kind}), where locks do not hold",
            where=str(path),
            hint=_HINT_MOVE,
        )


def _refuse_foreign(path: Path) -> None:
    us = os.geteuid()
    # Of a link and of its target: the owner of either can change where the state is, or what it is.
    for owner in {path.lstat().st_uid, path.stat().st_uid} - {us}:
        raise EnvironmentInvalid(
            f"the state folder belongs to user {owner}, but you are user {us}",
            where=str(path),
            hint=_HINT_MOVE,
        )


def _refuse_open(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 or mode & 0o700 != 0o700:
        import shlex

        reach = "can be accessed by other users" if mode & 0o077 else "cannot be accessed by its owner"
        raise EnvironmentInvalid(
            f"the state folder {reach} (mode {mode:04o})",
            where=str(path),
            hint=f"To fix its mode: chmod 700 {shlex.quote(str(path))}",
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise EnvironmentInvalid("the state folder cannot be written", where=str(path), hint=_HINT_MOVE)


def _read_or_make_id(path: Path) -> str:
    file = path / "id"
    try:
        if not os.path.lexists(file):
            with suppress(FileExistsError):  # another process has created it meanwhile: its id counts
                write_atomically(file, f"{os.urandom(4).hex()}\n".encode(), replace=False)
        with open_regular(file) as content:
            text = content.read(64).decode("ascii", "replace").strip()
    except OSError as error:
        raise EnvironmentInvalid(
            f"cannot be used: {error.strerror}", where=str(file), hint=_HINT_MOVE
        ) from None
    if _ID.fullmatch(text) is None:
        raise EnvironmentInvalid(
            "does not hold the id of a state folder",
            where=str(file),
            hint="Remove the file to get a new id. "
            "The orchestrator then no longer recognises containers with the old id.",
        )
    return text
