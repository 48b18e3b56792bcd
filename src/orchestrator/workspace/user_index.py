"""The index that the user's own git works with: lock it as git does, and put a new one in its place.

The lock is made as a hard link of a file with a fixed name. A process that was killed while it held the lock
leaves it behind, and then every git command of the user's fails. The fixed name tells our lock from one of
the user's git: only ours may be removed, by the process that holds the lock of the code folder.
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
    """Make the index that of a commit; files stay as they are. The caller holds the index."""
    git_dir = checkout.git_dir
    with checkout.index_copy() as git:
        # One tree, over what the index has: unchanged entries keep their flags and stat data.
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
    # Git tells by the index's time which entries may have changed unseen; a later one would hide changes.
    times = index.stat()
    os.utime(lock, ns=(times.st_atime_ns, times.st_mtime_ns))


@asynccontextmanager
async def hold_index(checkout: Checkout, owner: Identity) -> AsyncIterator[None]:
    """Hold the index lock, so that no git command of the user's changes the index meanwhile."""
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
                    "another git command holds the index, and has for more than 10 s",
                    where=str(lock),
                    hint="When no git command runs here, remove this file, then resume.",
                ) from None
        await clock.sleep(0.1)


def is_own_lock(git_dir: Path) -> bool:
    """Whether index.lock is ours. The process that holds the lock of the code folder may then remove it."""
    try:
        return (git_dir / "index.lock").samefile(git_dir / _OUR_LOCK)
    except OSError:
        return False


def remove_own_stale_lock(git_dir: Path) -> None:
    if is_own_lock(git_dir):
        (git_dir / "index.lock").unlink()
    (git_dir / _OUR_LOCK).unlink(missing_ok=True)
