"""The files of the code folder, touched without following links and without blocking.

An agent may have left anything there. A pipe blocks the program that opens it; a link where a folder was
leads a write out of the folder; a repository inside the repository would be committed without its files.
Paths are relative to the folder, with `/`, as git has them; bytes that are not UTF-8 are surrogates in them.
"""

import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.errors import WorkspaceError
from orchestrator.files import (
    NotFolder,
    NotRegular,
    Owner,
    TooLarge,
    link_atomically,
    open_below,
    open_folder,
    read_regular,
    write_atomically,
)

OddityKind = Literal["pipe", "socket", "device", "repository"]


class TreeRefused(WorkspaceError):
    """The tree, as it is, cannot become a commit; the message names the path."""


class LinkInPath(TreeRefused):
    """A link, or something else that is not a folder, is where our own file has to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a folder holds besides ordinary files, folders and links."""

    specials: frozenset[str]
    repositories: frozenset[str]
    """Every `.git` but the folder's own."""
    attributes: bool
    """Whether there is any `.gitattributes`."""
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was in the folder before an attempt, and so was not made by it."""

    ignored: frozenset[str]
    """Ignored paths that existed; a folder ends with `/` and stands for all that is in it."""
    specials: frozenset[str] = field(default_factory=frozenset)
    repositories: frozenset[str] = field(default_factory=frozenset)

    def to_json(self) -> str:
        return json.dumps({name: sorted(paths) for name, paths in asdict(self).items()})

    @classmethod
    def from_json(cls, text: str) -> "Baseline":
        return cls(**{name: frozenset(paths) for name, paths in json.loads(text).items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    path: str
    kind: OddityKind
    kept: Path | None
    """Where it is now; None when it had no content to keep."""


def survey(folder: Path) -> Survey:
    """Walk the whole folder, ignored parts too; the folder's own `.git` is left out."""
    specials: set[str] = set()
    repositories: set[str] = set()
    unreadable: list[str] = []
    attributes = False
    waiting = [""]
    while waiting:
        parent = waiting.pop()
        try:
            entries = list(_entries(folder, parent))
        except OSError:
            unreadable.append(parent)
            continue
        for name, is_folder, is_plain in entries:
            path = f"{parent}{name}"
            if name == ".git":
                repositories.add(path)
            elif is_folder:
                waiting.append(f"{path}/")
            elif not is_plain:
                specials.add(path)
            attributes = attributes or name == ".gitattributes"
    repositories.discard(".git")
    return Survey(
        specials=frozenset(specials),
        repositories=frozenset(repositories),
        attributes=attributes,
        unreadable=tuple(sorted(unreadable)),
    )


def move_out(folder: Path, path: str, target: Path) -> Oddity:
    """Take a special file or a nested `.git` out of the tree; `target` is its new name, and free."""
    with parent_of(folder, path) as (parent, name):
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        kind = _kind(mode)
        kept: Path | None = target
        try:
            os.rename(name, target, src_dir_fd=parent)
        except OSError:
            kept = _carry_over(folder / path, target) if kind == "repository" else None
            _remove(name, parent)
    return Oddity(path=path, kind=kind, kept=kept)


@contextmanager
def parent_of(folder: Path, path: str, *, make_as: Owner | None = None) -> Iterator[tuple[int, str]]:
    """The open folder that holds `path`, and its last name; LinkInPath when a part of the way is no folder.

    With `make_as` missing folders are made, for that owner.
    """
    *parts, name = path.split("/")
    try:
        descriptor = open_below(folder, parts, make_as=make_as)
    except NotFolder as error:
        raise LinkInPath(f"{error.filename} is not a folder", where=path) from error
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)


def check_free_of_links(folder: Path, path: str) -> None:
    """LinkInPath unless `path` is a regular file, or absent, below folders that are no links."""
    try:
        with parent_of(folder, path) as (parent, name):
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise LinkInPath("it is not a regular file", where=path)


def read_file(folder: Path, path: str, limit: int) -> bytes | None:
    """A regular file of at most `limit` bytes; None when it is absent. Follows no link and never blocks."""
    check_free_of_links(folder, path)
    try:
        with parent_of(folder, path) as (parent, name):
            return read_regular(name, limit=limit, dir_fd=parent)
    except FileNotFoundError:
        return None
    except NotRegular:
        raise LinkInPath("it is not a regular file", where=path) from None
    except TooLarge as error:
        raise TreeRefused(f"it is {error.strerror}", where=path) from None
    except OSError as error:
        raise TreeRefused(f"it cannot be read: {error.strerror}", where=path) from error


def write_file(folder: Path, path: str, content: bytes, owner: Owner, *, mode: str = "100644") -> None:
    """Write a file or link for its owner, whole or not at all, without following links.

    `mode` is git's; a link's content is where it leads. LinkInPath when a folder stands in its place.
    """
    with parent_of(folder, path, make_as=owner) as (parent, name):
        try:
            if mode == "120000":
                link_atomically(name, content, dir_fd=parent, owner=owner)
            else:
                bits = 0o777 if mode == "100755" else 0o666
                write_atomically(name, content, mode=bits, sync=False, dir_fd=parent, owner=owner)
        except IsADirectoryError:
            raise LinkInPath("a folder stands in its place", where=path) from None


def remove_file(folder: Path, path: str) -> None:
    """Remove a file or link, and the folders above it that are empty then; an absent one is no error."""
    try:
        with parent_of(folder, path) as (parent, name):
            os.unlink(name, dir_fd=parent)
    except (FileNotFoundError, LinkInPath, IsADirectoryError):
        return
    above = path.rpartition("/")[0]
    while above:
        try:
            with parent_of(folder, above) as (parent, name):
                os.rmdir(name, dir_fd=parent)
        except OSError:
            return
        above = above.rpartition("/")[0]


def write_tar(folder: Path, paths: Iterable[str], into: Path) -> None:
    """Files and links as they are, without those that cannot be read."""
    with tarfile.open(into, "w", errors="surrogateescape") as tar:
        for path in paths:
            try:
                tar.add(folder / path, arcname=path, recursive=False)
            except OSError:
                continue


def _entries(folder: Path, parent: str) -> Iterator[tuple[str, bool, bool]]:
    descriptor = open_folder(folder / parent)
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                yield entry.name, is_folder, entry.is_symlink() or entry.is_file(follow_symlinks=False)
    finally:
        os.close(descriptor)


def _kind(mode: int) -> OddityKind:
    if stat.S_ISFIFO(mode):
        return "pipe"
    if stat.S_ISSOCK(mode):
        return "socket"
    return "device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "repository"


def _carry_over(source: Path, kept: Path) -> Path:
    """To another file system: copy, links as links."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, kept, symlinks=True, ignore=_specials_in)
    else:
        shutil.copy2(source, kept, follow_symlinks=False)
    return kept


def _specials_in(parent: str, names: list[str]) -> set[str]:
    """Pipes and the like: there is nothing in them to copy, and opening one blocks."""
    modes = {name: (Path(parent) / name).lstat().st_mode for name in names}
    return {
        name
        for name, mode in modes.items()
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
    }


def _remove(name: str, parent: int) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)
