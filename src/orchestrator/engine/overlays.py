"""What lies over the code folder in an attempt: setup's folders, and nothing where a file is masked.

A mount needs something to lie on, or the engine makes a folder of root's in the user's. So a missing folder
is made as its owner, remembered, and removed again unless something is in it.
"""

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from orchestrator.errors import WorkspaceError
from orchestrator.files import Owner, give_to
from orchestrator.mounts import AnonymousVolume, Bind, Mount
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.workspace.container_git import WORKSPACE
from orchestrator.workspace.tree import parent_of

_CACHES = "__pycache__"


def setup_volumes(
    folder: Path, owner: Owner, paths: Iterable[str], folders: AttemptFolders
) -> tuple[Mount, ...]:
    """A volume over each of these folders (each ends with `/`), filled by the engine from the setup image.

    One that is in the way by now is left out.
    """
    wanted = sorted(path.rstrip("/") for path in paths)
    wanted = [path for path in wanted if path.rpartition("/")[2] != _CACHES]
    missing = [path for path in wanted if _kind(folder, path) is None]
    folders.overlaid.write_text(json.dumps(missing), "utf-8")
    for path in missing:
        _make(folder, path, owner)
    return tuple(
        AnonymousVolume(target=f"{WORKSPACE}/{path}") for path in wanted if _kind(folder, path) == "folder"
    )


def in_the_way(folder: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """Which of these folders (each ends with `/`) cannot be there: a link or a file lies in their place."""
    return tuple(path for path in paths if _kind(folder, path.rstrip("/")) not in (None, "folder"))


def remove_overlay_folders(folder: Path, folders: AttemptFolders) -> None:
    """Take away the folders that were made for an attempt's volumes, as far as they are empty."""
    if not folders.overlaid.exists():
        return
    for path in json.loads(folders.overlaid.read_text("utf-8")):
        try:
            with parent_of(folder, path) as (parent, name):
                os.rmdir(name, dir_fd=parent)
        except (OSError, WorkspaceError):
            continue


def masks(folder: Path, paths: Iterable[str], folders: AttemptFolders) -> tuple[Mount, ...]:
    """An empty read-only file or folder over each of these; over what a link in the folder leads to, too.

    Where there is nothing there is nothing to mask.
    """
    file, empty = folders.masks / "file", folders.masks / "folder"
    empty.mkdir(parents=True, exist_ok=True)
    file.touch()
    file.chmod(0o444)
    empty.chmod(0o555)
    mounts = {}
    for path in paths:
        real = _inside(folder, path)
        kind = None if real is None else _kind(folder, real)
        if kind in ("file", "folder"):
            source = file if kind == "file" else empty
            mounts[real] = Bind(source=source, target=f"{WORKSPACE}/{real}", read_only=True)
    return tuple(mounts.values())


def _inside(folder: Path, path: str) -> str | None:
    """Where a path really lies in the folder; None when it lies outside, or in the git directory."""
    root = os.path.realpath(folder)
    real = os.path.realpath(folder / path)
    if not real.startswith(f"{root}/"):
        return None
    inner = real[len(root) + 1 :]
    return None if inner.partition("/")[0] == ".git" else inner


def _kind(folder: Path, path: str) -> str | None:
    """file or folder; `other` for a link, on the way too, and the like; None when nothing is there."""
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


def _make(folder: Path, path: str, owner: Owner) -> None:
    """Only where the folder above is there: it is a tracked one, and may have been removed since."""
    try:
        with parent_of(folder, path) as (parent, name):
            os.mkdir(name, 0o755, dir_fd=parent)
            give_to(name, owner, dir_fd=parent)
    except (OSError, WorkspaceError):
        return
