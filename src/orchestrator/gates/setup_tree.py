"""A program for a setup container that separates the tree's files from those that setup made.

`record`, before setup, prints the files of the tree. `conclude`, after setup, reads that list, removes the
tree's files and the folders that are then empty, and prints the paths that setup changed and made. The
program is passed as text to the container's Python, so it uses the standard library only.
"""

import configparser
import hashlib
import json
import os
import re
import stat
import sys
import tomllib
from collections.abc import Iterator

ROOT = "/workspace"
_ELSEWHERE = ("/proc", "/sys", "/dev", "/tmp", "/run")  # noqa: S108 - a path that is left out


def record(root: str) -> dict[str, str]:
    """Every file and link of the tree, with a digest of kind, mode and content."""
    return {path: _digest(f"{root}/{path}") for path, is_folder in _walk(root) if not is_folder}


def conclude(root: str, before: dict[str, str], *, system: str = "/") -> dict[str, list[str]]:
    """Remove the tree's files, and report on the rest.

    `changed`: paths of the tree that setup changed. `produced`: paths that remain; a folder ends with `/` and
    stands for everything in it. `self_ignored`: those folders that have a .gitignore with `*`. `installed`:
    folders into which the project itself was installed as a copy.
    """
    changed = sorted(path for path, digest in before.items() if _digest(f"{root}/{path}") != digest)
    names = _read_project_names(root)
    for path in before:
        _remove(root, path)
    produced = sorted(_list_produced(root, _list_folders(before)))
    for path in produced:
        if path.endswith("/"):
            # So that the folder itself is in the container's layer, even if the base image has one, too.
            os.utime(f"{root}/{path}")
    return {
        "changed": changed,
        "produced": produced,
        "self_ignored": [path for path in produced if path.endswith("/") and _ignores_itself(root, path)],
        "installed": sorted(_find_copies_of_project(root, system, names)),
    }


def _walk(root: str, prefix: str = "") -> Iterator[tuple[str, bool]]:
    with os.scandir(f"{root}/{prefix}") as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            path = f"{prefix}{entry.name}"
            if path == ".git":
                continue
            is_folder = entry.is_dir(follow_symlinks=False)
            yield path, is_folder
            if is_folder:
                yield from _walk(root, f"{path}/")


def _digest(path: str) -> str:
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return "link " + os.readlink(path)  # noqa: PTH115 - bytes that are not text stay as they are
        if not stat.S_ISREG(mode):
            return "neither file nor link"
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            return f"{mode & 0o111:o} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        return f"cannot be read: {error.errno}"


def _list_folders(paths: dict[str, str]) -> set[str]:
    folders: set[str] = set()
    for path in paths:
        while path := path.rpartition("/")[0]:
            folders.add(path)
    return folders


def _remove(root: str, path: str) -> None:
    try:
        os.unlink(f"{root}/{path}")  # noqa: PTH108
        while path := path.rpartition("/")[0]:
            os.rmdir(f"{root}/{path}")  # noqa: PTH106
    except OSError:
        return


def _list_produced(root: str, folders: set[str]) -> Iterator[str]:
    """The paths that remain. Folders of the tree are entered; any other stands for everything in it."""
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(f"{root}/{prefix}") as entries:
            for entry in entries:
                path = f"{prefix}{entry.name}"
                if path == ".git":
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    yield path
                elif path in folders:
                    waiting.append(f"{path}/")
                else:
                    yield f"{path}/"


def _ignores_itself(root: str, folder: str) -> bool:
    try:
        with open(f"{root}/{folder}.gitignore", encoding="utf-8") as file:  # noqa: PTH123
            return "*" in file.read(4096).split()
    except (OSError, ValueError):
        return False


def _find_copies_of_project(root: str, system: str, names: set[str]) -> Iterator[str]:
    """Folders of Python distributions that are copies of the project: made from the tree, or with its name.

    An editable install points back to the tree and is not a copy.
    """
    for folder, inner, files in os.walk(system):
        inner[:] = [name for name in inner if f"{folder.rstrip('/')}/{name}" not in _ELSEWHERE]
        if not folder.endswith(".dist-info"):
            continue
        found = _read_direct_url(f"{folder}/direct_url.json")
        url, about = str(found.get("url")), found.get("dir_info")
        here = url == f"file://{root}" or url.startswith(f"file://{root}/")
        from_here = here and isinstance(about, dict) and not about.get("editable")
        is_editable = isinstance(about, dict) and bool(about.get("editable"))
        # A distribution in the cache of a package manager has no INSTALLER file: it is not installed.
        is_named = "INSTALLER" in files and _normalize(os.path.basename(folder).split("-")[0]) in names  # noqa: PTH119
        if from_here or (is_named and not is_editable):
            yield folder


def _read_project_names(root: str) -> set[str]:
    """The names of the project's own distribution, from pyproject.toml and setup.cfg."""
    found: list[object] = []
    try:
        with open(f"{root}/pyproject.toml", "rb") as file:  # noqa: PTH123
            about = tomllib.load(file)
        found += [about.get("project", {}).get("name"), about.get("tool", {}).get("poetry", {}).get("name")]
    except (OSError, ValueError, AttributeError):
        pass
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        settings.read(f"{root}/setup.cfg", encoding="utf-8")
        found.append(settings.get("metadata", "name", fallback=None))
    except (configparser.Error, ValueError):
        pass
    return {_normalize(name) for name in found if isinstance(name, str) and name}


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _read_direct_url(path: str) -> dict[str, object]:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


if __name__ == "__main__":
    if sys.argv[1] == "record":
        json.dump(record(ROOT), sys.stdout)
    else:
        json.dump(conclude(ROOT, json.load(sys.stdin)), sys.stdout)
