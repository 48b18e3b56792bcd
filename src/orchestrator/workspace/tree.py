"""The files of the code folder, touched without following links and without blocking.

An agent may have left anything: pipes that block a reader, links where folders were, repositories in
repositories. Paths are relative to the folder, with `/`, as git has them; bytes that are not UTF-8 are
surrogates in them.
"""

import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.errors import WorkspaceError
from orchestrator.subprocesses import Identity

OddityKind = Literal["pipe", "socket", "device", "repository"]


class TreeRefused(WorkspaceError):
    """The tree, as it is, cannot become a commit; the message names the path."""


class LinkInPath(TreeRefused):
    """A link, or something else that is no folder, stands where our own file has to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What in a folder is not plainly a file, a folder or a link."""

    specials: frozenset[str]
    repositories: frozenset[str]
    """Every `.git` but the folder's own."""
    attributes: bool
    """Whether any `.gitattributes` is there."""
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was in the folder before an attempt and is none of its doing."""

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
    """Where it lies now; None when there was nothing in it to keep."""


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
def parent_of(folder: Path, path: str, *, make_as: Identity | None = None) -> Iterator[tuple[int, str]]:
    """The open folder that holds `path`, and its last name; LinkInPath when a part of the way is no folder.

    With `make_as` missing folders are made, for that owner.
    """
    *parts, name = path.split("/")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            inner = _step(descriptor, part, path, make_as)
            os.close(descriptor)
            descriptor = inner
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
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TreeRefused(f"it cannot be read: {error.strerror}", where=path) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise LinkInPath("it is not a regular file", where=path)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise TreeRefused(f"it is larger than {limit} bytes", where=path)
    return content


def write_file(folder: Path, path: str, content: bytes, owner: Identity, *, mode: str = "100644") -> None:
    """Write a file or link for its owner, whole or not at all, without following links.

    `mode` is git's; a link's content is where it leads. LinkInPath when a folder stands in its place.
    """
    with parent_of(folder, path, make_as=owner) as (parent, name):
        temporary = f".{name[:100]}.{os.getpid()}.new"
        try:
            if mode == "120000":
                os.symlink(content, temporary, dir_fd=parent)
                os.chown(temporary, owner.uid, owner.gid, dir_fd=parent, follow_symlinks=False)
            else:
                _write_new(parent, temporary, content, owner, 0o777 if mode == "100755" else 0o666)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except IsADirectoryError:
            os.unlink(temporary, dir_fd=parent)
            raise LinkInPath("a folder stands in its place", where=path) from None
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            raise


def _write_new(parent: int, name: str, content: bytes, owner: Identity, permissions: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, permissions, dir_fd=parent)
    with os.fdopen(descriptor, "wb") as file:
        give_to(descriptor, owner)
        file.write(content)


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


def give_to(descriptor: int, owner: Identity) -> None:
    """Make a file that root has just created its owner's; an ordinary caller's is theirs already."""
    if os.geteuid() != owner.uid:
        os.fchown(descriptor, owner.uid, owner.gid)


def give_tree(top: Path, owner: Identity) -> None:
    """Make a folder of ours that root has just filled another user's."""
    for parent, folders, files in os.walk(top):
        for name in (*folders, *files):
            os.chown(Path(parent) / name, owner.uid, owner.gid, follow_symlinks=False)
    os.chown(top, owner.uid, owner.gid)


def _entries(folder: Path, parent: str) -> Iterator[tuple[str, bool, bool]]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder / parent if parent else folder, flags)
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                yield entry.name, is_folder, entry.is_symlink() or entry.is_file(follow_symlinks=False)
    finally:
        os.close(descriptor)


def _step(descriptor: int, part: str, path: str, make_as: Identity | None) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(part, flags, dir_fd=descriptor)
    except FileNotFoundError:
        if make_as is None:
            raise
    except OSError as error:
        raise LinkInPath(f"{part} is not a folder", where=path) from error
    os.mkdir(part, 0o777, dir_fd=descriptor)
    made = os.open(part, flags, dir_fd=descriptor)
    give_to(made, make_as)
    return made


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
