"""Mounts that cover parts of the code folder in a container: setup's folders, and masks over hidden files.

A mount needs something to be mounted on. If that is missing, the container engine makes it, as root, in the
user's folder. So a missing folder is made here first, as the folder's owner, is remembered on disk, and is
removed after the attempt unless something is in it. The list survives a kill: the next process that
ends the attempt removes the folders.

The paths come from setup and from the configuration, but an agent has worked in the folder since. It may have
replaced any part of any path by a link that leads out of the folder. Nothing here follows such a link: each
step of a path is opened from the folder before it, and a path that does not end at an ordinary file or folder
is not covered. The one exception is a mask, which also hides the file behind a link, see `mask_mounts`.
"""

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from orchestrator.errors import WorkspaceError
from orchestrator.files import Owner, give_to
from orchestrator.mounts import Bind, Mount
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.workspace.container_git import WORKSPACE
from orchestrator.workspace.tree import parent_of

_CACHES = "__pycache__"


def make_mount_points(
    folder: Path, owner: Owner, paths: Iterable[str], folders: AttemptFolders
) -> tuple[str, ...]:
    """Those of these folders (each ends with `/`) that can be covered, without the `/`.

    Missing folders are made; one whose place is taken by a link or a file cannot be covered.
    """
    wanted = sorted(path.rstrip("/") for path in paths)
    wanted = [path for path in wanted if path.rpartition("/")[2] != _CACHES]
    missing = [path for path in wanted if _find_kind(folder, path) is None]
    # Remembered before they are made, so that a kill in between leaves no folder that stays forever.
    folders.overlaid.write_text(json.dumps(missing), "utf-8")
    for path in missing:
        try:
            with parent_of(folder, path) as (parent, name):
                os.mkdir(name, 0o755, dir_fd=parent)
                give_to(name, owner, dir_fd=parent)
        except (OSError, WorkspaceError):
            continue  # the tracked folder above was removed, or is a link now: it is not covered
    return tuple(path for path in wanted if _find_kind(folder, path) == "folder")


def find_blocked(folder: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """The paths of folders (each ends with `/`) at which the code folder has a link or a file instead."""
    return tuple(path for path in paths if _find_kind(folder, path.rstrip("/")) not in (None, "folder"))


def remove_overlay_folders(folder: Path, folders: AttemptFolders) -> None:
    """Remove the folders that were made for an attempt's mounts, as far as they are empty."""
    if not folders.overlaid.exists():
        return
    for path in json.loads(folders.overlaid.read_text("utf-8")):
        try:
            with parent_of(folder, path) as (parent, name):
                os.rmdir(name, dir_fd=parent)
        except (OSError, WorkspaceError):
            continue


def mask_mounts(folder: Path, paths: Iterable[str], folders: AttemptFolders) -> tuple[Mount, ...]:
    """An empty read-only file or folder over each of these paths that exists.

    If a path is a link, or leads through one, the mask is put over the file that it leads to: a mask on the
    link itself would leave the secret readable by its other name. A path that leads out of the folder needs
    no mask, because the container does not see its target. Below `.git` nothing is masked: the container
    has a git directory of its own there.
    """
    file, empty = folders.masks / "file", folders.masks / "folder"
    empty.mkdir(parents=True, exist_ok=True)
    file.touch()
    file.chmod(0o444)
    empty.chmod(0o555)
    mounts, root = {}, os.path.realpath(folder)
    for path in paths:
        real = os.path.realpath(folder / path)
        inner = real.removeprefix(f"{root}/")
        # `realpath` follows every link, also one that leads out: such a path needs no mask.
        if inner == real or inner.partition("/")[0] == ".git":
            continue
        # A link that was put there since is `other`, and is not followed.
        kind = _find_kind(folder, inner)
        if kind in ("file", "folder"):
            source = file if kind == "file" else empty
            mounts[inner] = Bind(source=source, target=f"{WORKSPACE}/{inner}", read_only=True)
    return tuple(mounts.values())


def _find_kind(folder: Path, path: str) -> str | None:
    """`file`, `folder`, or `other`: a link (also on the way), or a pipe. None when it is missing."""
    try:
        with parent_of(folder, path) as (parent, name):
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    except (OSError, WorkspaceError):
        return "other"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"
