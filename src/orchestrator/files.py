"""The only door to files that an agent could have made, and the only writer of files by rename.

An agent that works in a folder chooses what its names lead to. Opened carelessly, a FIFO waits forever for a
writer, a terminal becomes ours, a link leads to a file of the user's, and a file that grows fills the memory.
The folders on the way can be swapped for links between two steps. So everything here opens without following
and without waiting, looks at what it has opened and not at the name, reads up to a limit, and takes a path
below a folder one step at a time, each relative to the open folder before. A lint rule forbids `os.open` and
`os.chown` everywhere else.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Protocol

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO would wait for a writer. O_NOCTTY: a terminal could become the one that controls us.
_ENTRY = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OWN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

Place = Path | str


class Owner(Protocol):
    """A user and a group that files can be given to."""

    @property
    def uid(self) -> int: ...

    @property
    def gid(self) -> int: ...


class NotRegular(OSError):
    """There is something, and it is not a regular file."""

    def __init__(self, path: Place) -> None:
        super().__init__(errno.EINVAL, "not a regular file", str(path))


class TooLarge(OSError):
    def __init__(self, path: Place, limit: int) -> None:
        super().__init__(errno.EFBIG, f"larger than {limit} bytes", str(path))


class NotFolder(OSError):
    """A part of the way is a link, a file, or a folder that is closed to us; `filename` is its name."""

    def __init__(self, part: str) -> None:
        super().__init__(errno.ENOTDIR, "not a folder", part)


def open_entry(path: Place, *, dir_fd: int | None = None, follow: bool = False) -> int:
    """A descriptor of whatever is there: the caller asks it, and not the name, what it is.

    With `follow` a link as the last part of the path is followed: for paths that the user chose.
    """
    return os.open(path, _ENTRY if follow else _ENTRY | os.O_NOFOLLOW, dir_fd=dir_fd)


def open_regular(path: Place, *, dir_fd: int | None = None, follow: bool = False) -> BufferedReader:
    """A regular file to read from. Raises NotRegular for a FIFO, device, socket or folder, else OSError.

    A link raises OSError (ELOOP) unless `follow` is set.
    """
    descriptor = open_entry(path, dir_fd=dir_fd, follow=follow)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegular(path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Place, *, limit: int, dir_fd: int | None = None, follow: bool = False) -> bytes:
    """All of a regular file of at most `limit` bytes. Raises as `open_regular` does, and TooLarge.

    What was read decides and not the size that the file said it had: it can grow meanwhile.
    """
    with open_regular(path, dir_fd=dir_fd, follow=follow) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLarge(path, limit)
    return content


def open_folder(path: Place, *, dir_fd: int | None = None) -> int:
    """A descriptor of a folder that is not a link: to list, to lock, or to open what is in it."""
    return os.open(path, _FOLDER, dir_fd=dir_fd)


def open_below(root: Path, parts: Sequence[str], *, make_as: Owner | None = None) -> int:
    """A descriptor of the folder that `parts` lead to, below `root`; no part of the way is a link.

    Opening the joined path would refuse a link as its last part only. Each step starts from the open folder
    before, so a folder that is swapped for a link meanwhile leads nowhere else. With `make_as` missing
    folders are made, for that owner. Raises FileNotFoundError, or NotFolder.
    """
    descriptor = open_folder(root)
    for part in parts:
        try:
            inner = _step_into(descriptor, part, make_as)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def _step_into(folder: int, part: str, make_as: Owner | None) -> int:
    try:
        return open_folder(part, dir_fd=folder)
    except FileNotFoundError:
        if make_as is None:
            raise
    except OSError as error:
        raise NotFolder(part) from error
    os.mkdir(part, 0o777, dir_fd=folder)
    made = open_folder(part, dir_fd=folder)
    give_to(made, make_as)
    return made


def open_own(path: Path, *, append: bool = False) -> int:
    """A descriptor of a private file of ours, made if need be, to lock or to write in place."""
    return os.open(path, _OWN | os.O_APPEND if append else _OWN, 0o600)


def write_atomically(
    path: Place,
    data: bytes,
    *,
    mode: int = 0o600,
    sync: bool = True,
    replace: bool = True,
    dir_fd: int | None = None,
    owner: Owner | None = None,
) -> None:
    """Write a whole file in place of what is there; a reader, or a kill, finds the old one or the new one.

    With `sync` the content is on disk before the name leads to it, so that not even a power cut leaves an
    empty file. Without `replace` a file that is there already stays: FileExistsError. What stands there is
    never opened: a link is replaced, not written through. `mode` is subject to the umask.
    """
    with (
        _replacing(path, dir_fd, replace) as draft,
        os.fdopen(os.open(draft, _NEW, mode, dir_fd=dir_fd), "wb") as file,
    ):
        if owner is not None:
            give_to(file.fileno(), owner)
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def link_atomically(path: Place, target: bytes, *, dir_fd: int | None = None, owner: Owner) -> None:
    """Put a symbolic link to `target` in place of what is there."""
    with _replacing(path, dir_fd, True) as draft:
        os.symlink(target, draft, dir_fd=dir_fd)
        give_to(draft, owner, dir_fd=dir_fd)


@contextmanager
def _replacing(path: Place, dir_fd: int | None, replace: bool) -> Iterator[str]:
    """The name of a draft beside `path`, which takes its place at the end, or is removed."""
    draft = os.path.join(os.path.dirname(path), f".orchestrator-{os.urandom(8).hex()}.new")  # noqa: PTH118, PTH120 - relative to dir_fd
    try:
        yield draft
        if replace:
            os.rename(draft, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            os.link(draft, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            os.unlink(draft, dir_fd=dir_fd)
    except BaseException:
        try:
            os.unlink(draft, dir_fd=dir_fd)
        except FileNotFoundError:
            pass
        raise


def make_private_folder(path: Path, owner: Owner, *, exist_ok: bool = False) -> None:
    path.mkdir(mode=0o700, exist_ok=exist_ok)
    give_to(path, owner)


def give_to(target: Place | int, owner: Owner, *, dir_fd: int | None = None) -> None:
    """Make what root has created its owner's. Only root can, and only root needs to.

    A link is given away itself, never what it leads to: an agent that swaps a file for a link would
    otherwise receive a file of root's.
    """
    if os.geteuid() == 0:
        follow = isinstance(target, int)  # a descriptor is what it is; os.chown takes it with this only
        os.chown(target, owner.uid, owner.gid, dir_fd=dir_fd, follow_symlinks=follow)


def give_tree_to(top: Path, owner: Owner) -> None:
    """`give_to` for a folder of ours and all that is in it."""
    for parent, folders, files in os.walk(top):
        for name in (*folders, *files):
            give_to(Path(parent) / name, owner)
    give_to(top, owner)
