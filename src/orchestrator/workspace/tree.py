"""The files of the code folder, read and written without following links and without blocking.

An agent may have left anything there, and the orchestrator works on the host, as the user:

- A named pipe blocks every program that opens it until another program writes to it. One pipe called
  `.gitignore` would stop every git command on the folder forever. So the kind of an entry is checked before
  it is opened, and it is opened in a way that does not wait.
- A link where a folder was leads a write out of the folder: with `docs` pointing to `/home/ada/.ssh`, our
  hand-off document could replace a key. So a path is walked part by part from the open folder, and a link on
  the way is an error. Checking first and opening the joined path later would not do: what still runs in the
  container can swap a folder for a link in between.
- A repository inside the repository would be committed as a link to a commit, without its files: the agent's
  work would be lost. It is moved away as a whole, and a notice says where.

Paths are relative to the folder, with `/`, as git prints them; bytes that are not UTF-8 are surrogates.
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
    """The tree cannot become a commit; the message names the path."""


class LinkInPath(TreeRefused):
    """A link, or something else that is not a folder, is on the path of a file that we read or write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The entries of a folder that need care, found without opening any file."""

    specials: frozenset[str]
    """Pipes, sockets and devices."""
    repositories: frozenset[str]
    """Every `.git` but the folder's own."""
    attributes: bool
    """Whether there is any `.gitattributes`."""
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A list of everything in the folder before an attempt: the attempt cannot have made it."""

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
    """Where it was moved to; None when it had no content to keep, as a pipe."""


def survey(folder: Path) -> Survey:
    """Walk the whole folder, ignored parts too, but for its own `.git`."""
    specials: set[str] = set()
    repositories: set[str] = set()
    unreadable: list[str] = []
    attributes = False
    waiting = [""]
    while waiting:
        parent = waiting.pop()
        try:
            entries = list(_list_entries(folder, parent))
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
    """Move a special file or a nested `.git` out of the tree to `target`, where nothing is yet."""
    with parent_of(folder, path) as (parent, name):
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        kind = _kind(mode)
        kept: Path | None = target
        try:
            # The entry itself is renamed, and never opened: opening a pipe would wait for a writer.
            os.rename(name, target, src_dir_fd=parent)  # noqa: TID251 - moves an entry, writes none
        except OSError:
            # Another file system: only a copy can get there, and a pipe or device has nothing to copy.
            kept = _copy(folder / path, target) if kind == "repository" else None
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
    return Oddity(path=path, kind=kind, kept=kept)


@contextmanager
def parent_of(folder: Path, path: str, *, make_as: Owner | None = None) -> Iterator[tuple[int, str]]:
    """The open folder that holds `path`, and the last part of the path, to be used relative to that folder.

    Raises LinkInPath when a part before the last is not a folder. With `make_as`, missing folders are created
    for that owner.
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
    """Raises LinkInPath unless `path` is a regular file, or absent, and no folder above it is a link."""
    try:
        with parent_of(folder, path) as (parent, name):
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise LinkInPath("it is not a regular file", where=path)


def read_file(folder: Path, path: str, limit: int) -> bytes | None:
    """The content of a regular file; None when it is absent. Follows no link and never blocks.

    Raises LinkInPath for anything but a regular file, TreeRefused when it has more than `limit` bytes or
    cannot be read.
    """
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

    `mode` is git's; the content of a link is its target. Raises LinkInPath when a folder has this path.
    """
    with parent_of(folder, path, make_as=owner) as (parent, name):
        try:
            if mode == "120000":
                link_atomically(name, content, dir_fd=parent, owner=owner)
            else:
                bits = 0o777 if mode == "100755" else 0o666
                # Without sync, which takes long for many files: git has the content as an object, and a
                # delivery or an undo that is repeated writes the file again.
                write_atomically(name, content, mode=bits, sync=False, dir_fd=parent, owner=owner)
        except IsADirectoryError:
            raise LinkInPath("there is a folder of this name", where=path) from None


def remove_file(folder: Path, path: str) -> None:
    """Remove a file or link itself, and then the folders above it that are empty.

    Nothing happens if there is no such file, if it is a folder, or if a folder above it is a link.
    """
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
    """Store files and links as they are; those that cannot be read are left out."""
    with tarfile.open(into, "w", errors="surrogateescape") as tar:
        for path in paths:
            try:
                tar.add(folder / path, arcname=path, recursive=False)
            except OSError:
                continue


def _list_entries(folder: Path, parent: str) -> Iterator[tuple[str, bool, bool]]:
    """Name, whether it is a folder, and whether it is a file or link."""
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


def _copy(source: Path, kept: Path) -> Path:
    """Links stay links."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, kept, symlinks=True, ignore=_specials_in)
    else:
        shutil.copy2(source, kept, follow_symlinks=False)
    return kept


def _specials_in(parent: str, names: list[str]) -> set[str]:
    """Names of pipes, sockets and devices: they have no content to copy, and opening a pipe blocks."""
    modes = {name: (Path(parent) / name).lstat().st_mode for name in names}
    return {
        name
        for name, mode in modes.items()
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
    }
