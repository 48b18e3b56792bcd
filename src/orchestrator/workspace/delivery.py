"""How a candidate becomes the user's: objects by pack, then the branch, then files of ours and the index.

The index lock is held from the first look at branch and index until the new index is in place, so that no
git command of the user's can come in between. It is made as a hard link of a file with a fixed name: that is
how a lock is known that a killed delivery left behind, and only such a one is ours to remove.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import WorkspaceError
from orchestrator.workspace.folder import Layout
from orchestrator.workspace.git import TREE_SECONDS, Git
from orchestrator.workspace.repository import OwnRepository, init_repository
from orchestrator.workspace.tree import give_to, read_file, write_file

LOCK_WAIT_SECONDS = 10.0
UNPACK_LIMIT = 100
"""Changed paths above which a delivery stays a pack, like git's own transfer.unpackLimit."""
_OPEN_TO_ALL = "/tmp"  # noqa: S108 - the folder made in it has a name of its own and is closed to others
_OUR_LOCK = "orchestrator-index"
DOCUMENT_MAX_BYTES = 10_000_000


async def deliver(own: OwnRepository, commit: str, *, branch: str, expected: str) -> None:
    """Move `branch` from `expected` to `commit`, and the index with it; files of the tree stay as they are.

    The commit's own documents are written into the folder. Doing it again is harmless, which is how a
    delivery that was killed is finished. WorkspaceError, and nothing moved, when HEAD, branch or index are
    not what the candidate was made on.
    """
    if await _branch_commit(own, branch) == expected:
        await send_objects(own, commit, expected)
    async with index_of_users(own.layout):
        await _check_unmoved(own, commit, branch, expected)
        await _check_nothing_staged(own, commit, expected)
        await _check_documents(own, commit)
        await move_branch(own, branch, commit, expected)
        await _write_documents(own, commit)
        await replace_index(own, commit)


async def reset_index(own: OwnRepository, commit: str, *, branch: str) -> None:
    """Make the index that of `commit`, on which HEAD and branch must stand; files stay as they are."""
    async with index_of_users(own.layout):
        await _check_unmoved(own, commit, branch, commit)
        await replace_index(own, commit)


async def send_objects(own: OwnRepository, commit: str, base: str) -> None:
    """Copy what `commit` has over `base` into the user's object store, as its owner.

    The receiving git works in an empty repository of this call, so that no setting of the user's repository,
    which may include a file of the tree, takes part.
    """
    layout = own.layout
    # Root's own TMPDIR may be closed to others.
    place = None if layout.owner_identity is None else _OPEN_TO_ALL
    with tempfile.TemporaryDirectory(prefix="ktrdr-delivery-", dir=place) as scratch:
        empty = Path(scratch) / "empty.git"
        await init_repository(empty, layout)
        if layout.owner_identity is not None:
            give_tree(Path(scratch), layout.owner.uid, layout.owner.gid)
        receiver = Git(
            git_dir=empty,
            folder=layout.folder,
            cwd=layout.folder,
            identity=layout.owner_identity,
            objects=layout.object_stores[0],
            alternates=layout.object_stores[1:],
            config=("core.fsync=committed,loose-object", *_sharing(own)),
        )
        many = await _changed_paths(own, base, commit) > UNPACK_LIMIT
        into = ("index-pack", "--stdin", "--fix-thin") if many else ("unpack-objects", "-q")
        await own.git.stream(
            ("pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"),
            receiver,
            into,
            stdin=f"{commit}\n^{base}\n".encode(),
        )


async def move_branch(own: OwnRepository, branch: str, commit: str, expected: str) -> None:
    if await _branch_commit(own, branch) == commit:
        return
    users = replace(own.layout.users_git, env=own.author.env())
    await users.run("update-ref", "-m", "orchestrator: land", f"refs/heads/{branch}", commit, expected)


def give_tree(top: Path, uid: int, gid: int) -> None:
    """Make files that root has just created in a folder of ours another user's."""
    for parent, folders, files in os.walk(top):
        for name in (*folders, *files):
            os.chown(Path(parent) / name, uid, gid, follow_symlinks=False)
    os.chown(top, uid, gid)


async def _branch_commit(own: OwnRepository, branch: str) -> str | None:
    done = await own.layout.users_git.try_run("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
    return os.fsdecode(done.stdout).strip() or None if done.exit_code == 0 else None


async def _check_unmoved(own: OwnRepository, commit: str, branch: str, expected: str) -> None:
    head = await own.layout.users_git.try_run("symbolic-ref", "--quiet", "HEAD")
    name = os.fsdecode(head.stdout).strip()
    if name != f"refs/heads/{branch}":
        where = name.removeprefix("refs/heads/") or "a detached commit"
        raise _moved(own, commit, f"HEAD is on {where}, no longer on {branch}", f"git switch {branch}")
    at = await _branch_commit(own, branch)
    if at not in (commit, expected):
        raise _moved(own, commit, f"{branch} is at {at}, not at {expected}", f"git log {expected}..{branch}")


async def _check_nothing_staged(own: OwnRepository, commit: str, expected: str) -> None:
    with own.index_copy() as git:
        staged = await git.try_run("write-tree")
    tree = os.fsdecode(staged.stdout).strip()
    if tree not in [await tree_of(own.git, entry) for entry in {commit, expected}]:
        raise _moved(own, commit, f"something was staged on top of {expected}", "git reset (files stay)")


def _moved(own: OwnRepository, commit: str, what: str, hint: str) -> WorkspaceError:
    return WorkspaceError(
        f"{what}; the candidate {commit} is kept and was not delivered",
        where=str(own.layout.folder),
        hint=f"Look with: {hint}",
    )


async def tree_of(git: Git, commit: str) -> str:
    return await git.text("rev-parse", "--verify", f"{commit}^{{tree}}")


async def _changed_paths(own: OwnRepository, old: str, new: str) -> int:
    listing = await own.git.run(
        "diff-tree", "-r", "-z", "--no-renames", "--name-only", old, new, timeout=TREE_SECONDS
    )
    return listing.count(b"\0")


def _sharing(own: OwnRepository) -> tuple[str, ...]:
    return (f"core.sharedRepository={own.shared}",) if own.shared else ()


async def _check_documents(own: OwnRepository, commit: str) -> None:
    for path in own.documents(commit):
        await asyncio.to_thread(read_file, own.layout.folder, path, DOCUMENT_MAX_BYTES)


async def _write_documents(own: OwnRepository, commit: str) -> None:
    for path in own.documents(commit):
        blob = f"{commit}:{path}"
        content = await own.git.run("cat-file", "--filters", blob)
        there = await asyncio.to_thread(read_file, own.layout.folder, path, DOCUMENT_MAX_BYTES)
        if there == content:
            continue
        if there is not None:
            await keep_replaced(own, there)
        try:
            await asyncio.to_thread(write_file, own.layout.folder, path, content, own.layout.owner)
        except OSError as error:
            raise WorkspaceError(
                f"it cannot be written: {error.strerror}", where=path, hint="Make it writable, then resume."
            ) from error


async def keep_replaced(own: OwnRepository, content: bytes) -> None:
    """What stood where a document of ours goes may be somebody's work, so it stays to be had."""
    blob = await own.git.text("hash-object", "-w", "--stdin", stdin=content)
    await own.git.run("update-ref", f"refs/replaced/{blob}", blob)


async def replace_index(own: OwnRepository, commit: str) -> None:
    git_dir = own.layout.git_dir
    with own.index_copy() as git:
        # One tree, over what the index has: unchanged entries keep their flags and stat data.
        await git.run("read-tree", "-i", "-m", commit, timeout=TREE_SECONDS)
        await git.try_run("update-index", "-q", "--refresh", timeout=TREE_SECONDS)
        assert git.index is not None
        await asyncio.to_thread(_fill_lock, own, git.index, git_dir)
    (git_dir / "index.lock").replace(git_dir / "index")


def _fill_lock(own: OwnRepository, index: Path, git_dir: Path) -> None:
    lock, current = git_dir / "index.lock", git_dir / "index"
    with lock.open("wb") as file:
        with index.open("rb") as source:
            shutil.copyfileobj(source, file)
        mode = current.stat().st_mode & 0o777 if current.exists() else index.stat().st_mode & 0o777
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    # Git tells by the index's time which entries may have changed unseen; a later one would hide changes.
    times = index.stat()
    os.utime(lock, ns=(times.st_atime_ns, times.st_mtime_ns))


@asynccontextmanager
async def index_of_users(layout: Layout) -> AsyncIterator[None]:
    git_dir = layout.git_dir
    lock, ours = git_dir / "index.lock", git_dir / _OUR_LOCK
    remove_own_stale_lock(git_dir)
    descriptor = os.open(ours, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    give_to(descriptor, layout.owner)
    os.close(descriptor)
    try:
        await _link_patiently(ours, lock)
        try:
            yield
        finally:
            if is_own_lock(git_dir):
                lock.unlink()
    finally:
        ours.unlink(missing_ok=True)


async def _link_patiently(ours: Path, lock: Path) -> None:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            os.link(ours, lock)
            return
        except FileExistsError:
            if time.monotonic() > deadline:
                raise WorkspaceError(
                    "another git command holds the index, and has for more than 10 s",
                    where=str(lock),
                    hint="When no git command runs here, remove this file, then resume.",
                ) from None
        await asyncio.sleep(0.1)


def is_own_lock(git_dir: Path) -> bool:
    """Whether index.lock is a delivery's of ours. Whoever holds the folder's lock may then remove it."""
    try:
        return (git_dir / "index.lock").samefile(git_dir / _OUR_LOCK)
    except OSError:
        return False


def remove_own_stale_lock(git_dir: Path) -> None:
    if is_own_lock(git_dir):
        (git_dir / "index.lock").unlink()
    (git_dir / _OUR_LOCK).unlink(missing_ok=True)
