"""What a run works with: the user's repository, our own repository of it, and the files of its attempts."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.clock import Clock
from orchestrator.errors import EnvironmentInvalid
from orchestrator.subprocesses import Identity
from orchestrator.workspace import history
from orchestrator.workspace.checkout import Checkout
from orchestrator.workspace.folder import (
    GitSettings,
    Layout,
    check_nothing_in_progress,
    check_out_of_reach,
    check_settings,
    read_layout,
    read_settings,
)
from orchestrator.workspace.git import TREE_SECONDS
from orchestrator.workspace.store import Store, open_store, store_folder
from orchestrator.workspace.user_index import is_own_lock
from orchestrator.workspace.user_repository import UserRepository, read_head
from orchestrator.workspace.worktree import MountedFolder, Worktree


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What `inspect` learns of a folder."""

    notices: tuple[str, ...]
    signs_commits: bool
    owner: Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    user: UserRepository
    store: Store
    tree: Worktree

    @classmethod
    async def open(
        cls, folder: Path, *, repositories: Path, environ: Mapping[str, str], clock: Clock
    ) -> "Workspace":
        """Check that a run can work here, then make or reuse our repository of it below `repositories`.

        Raises EnvironmentInvalid, with the reason and the next step, and leaves nothing behind then. The
        files are not checked: see `UserRepository.check_files`.
        """
        checked = await _check(folder, repositories, environ)
        store = await _open_checked(checked.layout, checked.settings, repositories, clock)
        user = UserRepository(store=store, notices=checked.settings.notices)
        return cls(user=user, store=store, tree=MountedFolder(user=user))

    @staticmethod
    async def inspect(folder: Path, *, repositories: Path, environ: Mapping[str, str]) -> Findings:
        """Raises EnvironmentInvalid as `open` does, without making anything."""
        layout, settings = await _check(folder, repositories, environ)
        _check_index(layout, await layout.users_git.run("ls-files", "-s", "-z", timeout=TREE_SECONDS))
        return Findings(
            notices=settings.notices, signs_commits=settings.true("commit.gpgsign"), owner=layout.owner
        )

    async def forget(self, run: str) -> None:
        """Remove every ref of a run, in both repositories."""
        await self.store.forget(run)
        await self.user.forget(run)

    async def held_by_head(self, commits: frozenset[str]) -> frozenset[str]:
        """Those of these commits that HEAD builds on."""
        return await history.ancestors(self.store, commits, of=(await self.user.head()).commit)


class _Checked(NamedTuple):
    layout: Layout
    settings: GitSettings


async def _check(folder: Path, repositories: Path, environ: Mapping[str, str]) -> _Checked:
    """The checks that do not need our repository."""
    layout = await read_layout(folder, environ)
    check_out_of_reach(layout, repositories)
    settings = await read_settings(layout)
    check_settings(layout, settings)
    check_nothing_in_progress(layout)
    _check_index_lock(layout)
    await read_head(layout)
    return _Checked(layout, settings)


async def _open_checked(layout: Layout, settings: GitSettings, repositories: Path, clock: Clock) -> Store:
    """The checks that need our repository. One that was made for them is removed again if they fail."""
    existed = store_folder(repositories, layout).exists()
    store = await open_store(repositories, layout, settings, clock)
    try:
        checkout = Checkout(store=store, folder=layout.folder, git_dir=layout.git_dir)
        with checkout.index_copy() as git:
            _check_index(layout, await git.run("ls-files", "-s", "-z", timeout=TREE_SECONDS))
    except BaseException:
        if not existed:
            await asyncio.to_thread(shutil.rmtree, store.git_dir, ignore_errors=True)
        raise
    return store


def _check_index(layout: Layout, listing: bytes) -> None:
    where = str(layout.folder)
    for entry in os.fsdecode(listing).split("\0"):
        details, _, path = entry.partition("\t")
        if details.startswith("160000"):
            raise EnvironmentInvalid(f"submodules are not supported yet ({path})", where=where)
        if details and details[-1] != "0":
            raise EnvironmentInvalid(
                f"{path} has a conflict that is not resolved", where=where, hint="Resolve it, then git add."
            )


def _check_index_lock(layout: Layout) -> None:
    lock = layout.git_dir / "index.lock"
    if lock.exists() and not is_own_lock(layout.git_dir):
        raise EnvironmentInvalid(
            "a git command is at work, or was killed",
            where=str(lock),
            hint="When no git command runs here, remove this file and try again.",
        )
