"""The index that the user's own git works with: lock it as git does, and replace it.

**The lock.** Git takes the index by creating `index.lock` and fails when that file exists. We do the same, so
that no git command of the user's can stage or commit while we move the branch. If we are killed while we hold
the lock, `index.lock` stays behind, and every git command of the user's fails until it is removed. We may
remove it only if the orchestrator made it: behind a lock of the user's git, a half-written index may be at
work. Therefore our lock is a hard link to a file with a fixed name, `orchestrator-index`, and the
orchestrator made `index.lock` exactly if both names are the same file. Only the process that holds the lock
of the code folder may ask and remove, since otherwise the lock could belong to another living run.

**The new index.** It is written into the locked file, synced, and renamed over `index`, as git does. A kill
leaves either the old index or the new one, never a part of one.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.clock import Clock
from orchestrator.errors import WorkspaceError
from orchestrator.files import give_to
from orchestrator.subprocesses import Identity
from orchestrator.workspace.checkout import Checkout
from orchestrator.workspace.git import TREE_SECONDS

LOCK_WAIT_SECONDS = 10.0
_OUR_LOCK = "orchestrator-index"


async def replace_index(checkout: Checkout, commit: str) -> None:
    """Replace the index by that of a commit; files stay as they are. The caller holds the index."""
    git_dir = checkout.git_dir
    with checkout.copy_index() as git:
        # One tree, merged over the index: entries that do not change keep their flags (assume-unchanged,
        # skip-worktree) and their stat data, so that the user's next `git status` reads no file again.
        await git.run("read-tree", "-i", "-m", commit, timeout=TREE_SECONDS)
        await git.try_run("update-index", "-q", "--refresh", timeout=TREE_SECONDS)
        assert git.index is not None
        await asyncio.to_thread(_fill_lock, git.index, git_dir)
    (git_dir / "index.lock").replace(git_dir / "index")


def _fill_lock(index: Path, git_dir: Path) -> None:
    lock, current = git_dir / "index.lock", git_dir / "index"
    with lock.open("wb") as file:
        with index.open("rb") as source:
            shutil.copyfileobj(source, file)
        mode = current.stat().st_mode & 0o777 if current.exists() else index.stat().st_mode & 0o777
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    # Git reads a file again when the file is not older than the index. With a later time on the index, an
    # edit in the same tick of the file system's clock as the entry would count as unchanged, and stay hidden.
    times = index.stat()
    os.utime(lock, ns=(times.st_atime_ns, times.st_mtime_ns))


@asynccontextmanager
async def hold_index(checkout: Checkout, owner: Identity) -> AsyncIterator[None]:
    """Hold the index lock, so that no git command of the user's can change the index in the meantime.

    The caller holds the lock of the code folder. Raises WorkspaceError when a git command of the user's still
    holds the index after LOCK_WAIT_SECONDS.
    """
    git_dir = checkout.git_dir
    lock, ours = git_dir / "index.lock", git_dir / _OUR_LOCK
    remove_own_stale_lock(git_dir)
    with ours.open("xb") as file:
        give_to(file.fileno(), owner)
    try:
        await _link_patiently(ours, lock, checkout.store.clock)
        try:
            yield
        finally:
            # After `replace_index` our lock has become the index, and `index.lock` may be the user's again.
            if is_own_lock(git_dir):
                lock.unlink()
    finally:
        ours.unlink(missing_ok=True)


async def _link_patiently(ours: Path, lock: Path, clock: Clock) -> None:
    deadline = clock.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            os.link(ours, lock)
            return
        except FileExistsError:
            if clock.monotonic() > deadline:
                raise WorkspaceError(
                    f"another git command has held the index for more than {LOCK_WAIT_SECONDS:g} s",
                    where=str(lock),
                    hint="If no git command is running here, remove this file, then: orchestrator resume",
                ) from None
        await clock.sleep(0.1)


def is_own_lock(git_dir: Path) -> bool:
    """Whether `index.lock` was made by us. A holder of the code folder's lock may then remove it."""
    try:
        return (git_dir / "index.lock").samefile(git_dir / _OUR_LOCK)
    except OSError:
        return False


def remove_own_stale_lock(git_dir: Path) -> None:
    """Remove the index lock of a killed run, but not one of the user's git."""
    if is_own_lock(git_dir):
        (git_dir / "index.lock").unlink()
    (git_dir / _OUR_LOCK).unlink(missing_ok=True)
