"""A name for the user of a container: pure.

A container runs as the owner of the code folder, whose uid the image does not know. Programs that ask for
the name of their user (`whoami`, `getpass.getuser()`, `os.userInfo()`, ssh) fail then. So the engine's client
adds an entry to the image's own `/etc/passwd` and `/etc/group` in each container before it starts.
"""

import io
import tarfile
from pathlib import PurePosixPath

from orchestrator.containers.base import ContainerSpec

NAME = "agent"
"""The name of every user but root, also if the image has another one: the environment has to say the same."""
FOLDER = "/etc"
USERS = "passwd"
GROUPS = "group"
LIMIT_BYTES = 1_000_000
"""A larger file is left as it is."""
_ABOUT = "ktrdr-orchestrator"
"""The comment by which our entry is found in an image that was made of a container."""


def user_variables(uid: int) -> dict[str, str]:
    """The environment variables that name the user."""
    name = "root" if uid == 0 else NAME
    return {"USER": name, "LOGNAME": name}


def needs_entries(spec: ContainerSpec) -> bool:
    """Whether the container gets entries: not for root, and not where the files belong to a mount.

    The engine would write into that mount, and it may be a file of the host.
    """
    files = [PurePosixPath(FOLDER, name) for name in (USERS, GROUPS)]
    mounted = any(file.is_relative_to(mount.target) for file in files for mount in spec.mounts)
    return spec.uid != 0 and not mounted


def add_user(passwd: bytes, spec: ContainerSpec) -> bytes:
    """The file with our entry first: of several entries with one uid, the first one gives the name."""
    about = f":{_ABOUT}:".encode()
    lines = [line for line in passwd.splitlines() if about not in line]
    home = spec.env.get("HOME", "/tmp")  # noqa: S108 - a folder of the container
    entry = ":".join((NAME, "x", str(spec.uid), str(spec.gid), _ABOUT, home.replace(":", ""), "/bin/bash"))
    return b"\n".join([entry.encode(), *lines, b""])


def add_group(group: bytes, gid: int) -> bytes:
    """The file with a name for this gid: its own, else ours."""
    fields = [line.split(b":") for line in group.splitlines()]
    if any(len(parts) > 2 and parts[2] == str(gid).encode() for parts in fields):
        return group
    return f"{NAME}:x:{gid}:\n".encode() + group


def read_file(archive: bytes) -> bytes | None:
    """The one regular file of a tar archive; None for anything else, such as a link."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            entry = tar.next()
            content = None if entry is None or not entry.isreg() else tar.extractfile(entry)
            return None if content is None else content.read()
    except tarfile.TarError:
        return None


def make_archive(files: dict[str, bytes]) -> bytes:
    """A tar archive of files of root that everybody may read."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
