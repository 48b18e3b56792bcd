"""The state folder, where journal, transcripts and evidence live, out of an agent's reach."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import EnvironmentInvalid
from orchestrator.files import open_regular, write_atomically
from orchestrator.user_folders import user_folder

NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "drvfs", "gfs2", "glusterfs", "gpfs", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs", "smb3", "smbfs", "vboxsf"}
    | {"fuse.ceph", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
    | {"fuse.vmhgfs-fuse"}
)
"""Where locks or shared memory do not hold, folders that a virtual machine shares with its host included."""

GATEWAY_LOCK = "gateway.lock"
"""The file in the state folder that its gateway holds locked, and so does whoever migrates the journal."""

_MOUNTS = Path("/proc/self/mountinfo")
_ID = re.compile(r"[0-9a-f]{8}")
_HINT_MOVE = "Set XDG_STATE_HOME to a folder of yours on a local disk."


class StateFolder(NamedTuple):
    path: Path
    id: str
    """Tells our containers and sockets from those of another state folder; eight hexadecimal digits."""

    @property
    def repositories(self) -> Path:
        return self.path / "repositories"


def state_folder(environ: Mapping[str, str]) -> Path:
    """Where the state folder is or will be. Raises EnvironmentInvalid when no absolute path can be told."""
    return user_folder(environ, "XDG_STATE_HOME", ".local/state")


def open_state_folder(environ: Mapping[str, str], *, outside: Path | None = None) -> StateFolder:
    """The state folder, made when it is not there; ours, private, writable and local.

    `outside` is a folder that it must not lie in: what an agent can write. On systems without
    /proc/self/mountinfo the file system's type is not known and every one is accepted.
    Raises EnvironmentInvalid with the command or the variable that mends it.
    """
    path = state_folder(environ)
    check_state_folder(path, outside=outside, to_be_made=True)
    _make(path)
    _refuse_foreign(path)
    _refuse_open(path)
    return StateFolder(path=path, id=_read_or_make_id(path))


def check_state_folder(path: Path, *, outside: Path | None, to_be_made: bool = False) -> None:
    """What `open_state_folder` refuses, without making anything. Raises EnvironmentInvalid."""
    _refuse_inside(path, outside)
    _refuse_network(path)
    if path.exists() and not to_be_made:
        _refuse_foreign(path)
        _refuse_open(path)


def file_system_type(mountinfo: str, path: str) -> str | None:
    """The type of the file system that holds an absolute path without links, by the kernel's mount table."""
    best, found = -1, None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = _unescaped(left.split(" ")[4]) if left.count(" ") >= 4 else ""
        holds = path == point or path.startswith(point.rstrip("/") + "/")
        if point and right and holds and len(point) >= best:
            best, found = len(point), right.split(" ")[0]
    return found


def _unescaped(point: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)


def _refuse_inside(path: Path, outside: Path | None) -> None:
    if outside is not None and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(outside)):
        raise EnvironmentInvalid(
            f"the state folder lies in {outside}, where an agent can write it",
            where=str(path),
            hint="Set XDG_STATE_HOME to a folder outside of it.",
        )


def _refuse_network(path: Path) -> None:
    try:
        mountinfo = _MOUNTS.read_text(encoding="latin-1")
    except OSError:
        return
    kind = file_system_type(mountinfo, os.fsencode(os.path.realpath(path)).decode("latin-1"))
    if kind in NETWORK_FILE_SYSTEMS:
        raise EnvironmentInvalid(
            f"the state folder is on a network or shared file system ({kind}), where locks do not hold",
            where=str(path),
            hint=_HINT_MOVE,
        )


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EnvironmentInvalid(
            f"the state folder cannot be made: {error.strerror}", where=str(path), hint=_HINT_MOVE
        ) from None


def _refuse_foreign(path: Path) -> None:
    us = os.geteuid()
    for owner in {path.lstat().st_uid, path.stat().st_uid} - {us}:
        raise EnvironmentInvalid(
            f"the state folder belongs to user {owner}, and we are {us}", where=str(path), hint=_HINT_MOVE
        )


def _refuse_open(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 or mode & 0o700 != 0o700:
        import shlex

        reach = "is open to other users" if mode & 0o077 else "is closed to its owner"
        raise EnvironmentInvalid(
            f"the state folder {reach} (mode {mode:04o})",
            where=str(path),
            hint=f"chmod 700 {shlex.quote(str(path))}",
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise EnvironmentInvalid("the state folder cannot be written", where=str(path), hint=_HINT_MOVE)


def _read_or_make_id(path: Path) -> str:
    file = path / "id"
    try:
        if not os.path.lexists(file):
            _publish(file, os.urandom(4).hex())
        with open_regular(file) as content:
            text = content.read(64).decode("ascii", "replace").strip()
    except OSError as error:
        raise EnvironmentInvalid(f"cannot be used: {error.strerror}", where=str(file)) from None
    if _ID.fullmatch(text) is None:
        raise EnvironmentInvalid(
            "does not hold the id of a state folder",
            where=str(file),
            hint="Remove it for a new id; containers with the old one in ktrdr.state are then unknown.",
        )
    return text


def _publish(file: Path, text: str) -> None:
    """Make the file; when another process was first, its content stays."""
    try:
        write_atomically(file, f"{text}\n".encode(), replace=False)
    except FileExistsError:
        pass
