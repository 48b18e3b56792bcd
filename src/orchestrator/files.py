"""Opens files that an agent could have made, writes files atomically, and changes owners.

An agent that works in a folder chooses what each name in it refers to. If we opened such a name carelessly,
a FIFO would block us until another process writes to it, a terminal could become our controlling terminal, a
link could lead to another file of the user, and a file that grows could fill the memory. The agent can also
replace a folder of the path by a link between two of our steps.

So every function here opens without following links and without waiting, checks the open descriptor instead
of the name, and reads up to a limit. A path below a folder is opened one part at a time, each relative to the
open folder before it. A lint rule forbids `os.open` and `os.chown` in all other modules.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Protocol

# O_NOFOLLOW: a link with the name of a folder is refused, or an agent could lead us out of its folder.
# O_CLOEXEC: a program that we start, such as git, inherits none of our descriptors.
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO would wait for a writer. O_NOCTTY: a terminal could become our controlling terminal.
_ENTRY = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# O_EXCL: the file must not exist. An existing name could be a link, and our data would go to its target.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_TRUNC: a process that waits for a lock opens the file in which the holder has recorded itself, and
# must not empty it.
_OWN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

DRAFTS = ".orchestrator-*.new"
"""A pattern for the names of the drafts that a kill can leave; see `write_atomically`."""

Place = Path | str


class Owner(Protocol):
    """A user and a group that files can be given to."""

    @property
    def uid(self) -> int: ...

    @property
    def gid(self) -> int: ...


class NotRegular(OSError):
    """The path exists and is not a regular file."""

    def __init__(self, path: Place) -> None:
        super().__init__(errno.EINVAL, "not a regular file", str(path))


class TooLarge(OSError):
    def __init__(self, path: Place, limit: int) -> None:
        super().__init__(errno.EFBIG, f"larger than {limit} bytes", str(path))


class NotFolder(OSError):
    """A part of a path is a link, a file, or a folder without access; `filename` is that part."""

    def __init__(self, part: str) -> None:
        super().__init__(errno.ENOTDIR, "not a folder", part)


def open_entry(path: Place, *, dir_fd: int | None = None, follow: bool = False) -> int:
    """A descriptor of a file of any type. The caller must check its type with `fstat`, not by the name.

    With `follow`, a link as the last part of the path is followed: for paths that the user chose.
    """
    return os.open(path, _ENTRY if follow else _ENTRY | os.O_NOFOLLOW, dir_fd=dir_fd)


def measure_folder(folder: Path) -> int:
    """The bytes of all files below a folder, each file counted once; what vanishes meanwhile is left out."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))  # noqa: PTH118 - for thousands of files
            except OSError:
                continue
            sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def open_regular(path: Place, *, dir_fd: int | None = None, follow: bool = False) -> BufferedReader:
    """Open a regular file for reading. Raises NotRegular for a FIFO, device, socket or folder, else OSError.

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
    """The content of a regular file of at most `limit` bytes. Raises as `open_regular` does, and TooLarge.

    The limit applies to the bytes that were read, not to the size in the file's status: the file can grow
    between the two.
    """
    with open_regular(path, dir_fd=dir_fd, follow=follow) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLarge(path, limit)
    return content


def open_folder(path: Place, *, dir_fd: int | None = None) -> int:
    """A descriptor of a folder, not of a link to one: to list it, to lock it, or to open entries of it."""
    return os.open(path, _FOLDER, dir_fd=dir_fd)


def open_below(root: Path, parts: Sequence[str], *, make_as: Owner | None = None) -> int:
    """A descriptor of the folder `parts` below `root`, where no part is a link.

    If the joined path were opened, only a link as its last part would be refused. Here each part is opened
    relative to the open folder before it, so replacing a folder by a link meanwhile has no effect. With
    `make_as`, missing folders are created for that owner. Raises FileNotFoundError or NotFolder.
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
    # `mkdir` follows no link. If an agent replaces the new folder by a link before it is opened, the open
    # fails.
    os.mkdir(part, 0o777, dir_fd=folder)
    made = open_folder(part, dir_fd=folder)
    give_to(made, make_as)
    return made


def open_own(path: Path, *, append: bool = False) -> int:
    """A descriptor of a private file of the orchestrator, created if missing, to lock it or to write it."""
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
    """Replace a file as a whole: readers see the old content or the new, also after a kill.

    With `sync`, the content is on disk before the name refers to it, so that a power failure cannot leave an
    empty file. Without `replace`, an existing file is kept and FileExistsError is raised. The existing file
    is never opened: a link is replaced, and its target is not written. `mode` is subject to the umask. A kill
    can leave a draft beside the file, which `DRAFTS` matches.
    """
    with _open_draft(path, mode, dir_fd, replace) as file:
        if owner is not None:
            # Before the draft gets its final name: a kill cannot leave a file under that name that belongs to
            # root and that the user cannot change.
            give_to(file.fileno(), owner)
        file.write(data)
        file.flush()
        if sync:
            # Only the content is synced, not the folder: after a power failure the name may still refer to
            # the old content, and that is whole, too.
            os.fsync(file.fileno())


def write_pieces_atomically(path: Place, pieces: Iterable[bytes]) -> None:
    """As `write_atomically` with `sync`, for content that is too large for the memory."""
    with _open_draft(path, 0o600, None, True) as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Place) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = open_folder(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_atomically(path: Place, target: bytes, *, dir_fd: int | None = None, owner: Owner) -> None:
    """Create a symbolic link to `target`, replacing an existing file."""
    with _prepare_draft(path, dir_fd, True) as draft:
        os.symlink(target, draft, dir_fd=dir_fd)
        give_to(draft, owner, dir_fd=dir_fd)


@contextmanager
def _open_draft(path: Place, mode: int, dir_fd: int | None, replace: bool) -> Iterator[BinaryIO]:
    with (
        _prepare_draft(path, dir_fd, replace) as draft,
        os.fdopen(os.open(draft, _NEW, mode, dir_fd=dir_fd), "wb") as file,
    ):
        yield file


@contextmanager
def _prepare_draft(path: Place, dir_fd: int | None, replace: bool) -> Iterator[str]:
    """The name of a draft in the folder of `path`, which is renamed to `path` at the end, or removed."""
    # A random name: an agent cannot prepare a link or a folder under it.
    draft = os.path.join(os.path.dirname(path), DRAFTS.replace("*", os.urandom(8).hex()))  # noqa: PTH118, PTH120 - relative to dir_fd
    try:
        yield draft
        if replace:
            os.rename(draft, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            # Unlike `rename`, `link` fails if the name exists. So of two processes only one can create the
            # file.
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
    """Change the owner of a file, if we are root. Other users cannot, and create files as themselves.

    For a link, the owner of the link itself changes, never that of its target: otherwise an agent that
    replaces a file by a link would receive a file that belongs to root.
    """
    if os.geteuid() == 0:
        follow = isinstance(target, int)  # os.chown requires it for a descriptor, which cannot be replaced
        os.chown(target, owner.uid, owner.gid, dir_fd=dir_fd, follow_symlinks=follow)


def give_tree_to(top: Path, owner: Owner) -> None:
    """Apply `give_to` to a folder of the orchestrator and everything in it."""
    for parent, folders, files in os.walk(top):
        for name in (*folders, *files):
            give_to(Path(parent) / name, owner)
    give_to(top, owner)
