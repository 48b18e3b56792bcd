"""The three things a run works with: the user's repository, our own, and the files of its attempts."""

import asyncio
import os
import posixpath
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.clock import Clock
from orchestrator.errors import EnvironmentInvalid
from orchestrator.subprocesses import Identity
from orchestrator.workspace import history
from orchestrator.workspace.folder import (
    GitSettings,
    Layout,
    check_nothing_in_progress,
    check_out_of_reach,
    check_settings,
    find_hooks_folder,
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
    """The results of `inspect`."""

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
        """Check that a run can work here, then create or reuse our repository of it below `repositories`.

        Raises EnvironmentInvalid, with the reason and the next step, and then leaves nothing behind. Files
        are not checked: see `UserRepository.check_files`.
        """
        layout, settings = await _check(folder, repositories, environ)
        existed = store_folder(repositories, layout).exists()
        store = await open_store(repositories, layout, settings, clock)
        hooks = find_hooks_folder(layout, settings)
        user = UserRepository(store=store, notices=settings.notices, hooks=hooks)
        try:
            with user.checkout.copy_index() as git:
                _check_index(layout, await git.run("ls-files", "-s", "-z", timeout=TREE_SECONDS))
        except BaseException:
            if not existed:
                await asyncio.to_thread(shutil.rmtree, store.git_dir, ignore_errors=True)
            raise
        return cls(user=user, store=store, tree=MountedFolder(user=user))

    @staticmethod
    async def inspect(folder: Path, *, repositories: Path, environ: Mapping[str, str]) -> Findings:
        """Raises EnvironmentInvalid as `open` does; creates nothing."""
        layout, settings = await _check(folder, repositories, environ)
        _check_index(layout, await layout.users_git.run("ls-files", "-s", "-z", timeout=TREE_SECONDS))
        return Findings(
            notices=settings.notices, signs_commits=settings.is_true("commit.gpgsign"), owner=layout.owner
        )

    def with_wanted_paths(self, paths: Iterable[str]) -> "Workspace":
        """The same workspace, in which these paths are work also where they are named like scratch."""
        normal = frozenset(posixpath.normpath(path) for path in paths if path)
        user = replace(self.user, wanted=normal - {"."})
        return replace(self, user=user, tree=MountedFolder(user=user))

    async def forget(self, run: str) -> None:
        """Remove every ref of a run, in both repositories."""
        await self.store.forget(run)
        await self.user.forget(run)

    async def filter_landed(self, commits: frozenset[str]) -> frozenset[str]:
        """Those of these commits that are HEAD or ancestors of it."""
        if not commits:
            return commits
        return await history.ancestors(self.store, commits, of=(await self.user.head()).commit)


async def _check(folder: Path, repositories: Path, environ: Mapping[str, str]) -> tuple[Layout, GitSettings]:
    """The checks that do not need our repository."""
    layout = await read_layout(folder, environ)
    check_out_of_reach(layout, repositories)
    settings = await read_settings(layout)
    check_settings(layout, settings)
    check_nothing_in_progress(layout)
    lock = layout.git_dir / "index.lock"
    if lock.exists() and not is_own_lock(layout.git_dir):
        raise EnvironmentInvalid(
            "a git command is running here, or was killed",
            where=str(lock),
            hint="If no git command is running here, remove this file and try again.",
        )
    await read_head(layout)
    return layout, settings


def _check_index(layout: Layout, listing: bytes) -> None:
    where = str(layout.folder)
    entries = [entry.partition("\t") for entry in os.fsdecode(listing).split("\0")]
    submodules = [path for details, _, path in entries if details.startswith("160000")]
    if submodules:
        raise EnvironmentInvalid(
            f"submodules are not supported yet ({', '.join(submodules)})",
            where=where,
            hint=_describe_ways_out(layout.folder.name, submodules),
        )
    for details, _, path in entries:
        if details and details[-1] != "0":
            raise EnvironmentInvalid(
                f"{path} has an unresolved conflict", where=where, hint="Resolve it, then: git add"
            )


def _describe_ways_out(name: str, submodules: Sequence[str]) -> str:
    """How to work without submodules: leave them out in another worktree, or make them ordinary files."""
    paths = " ".join(shlex.quote(path) for path in submodules)
    other = shlex.quote(f"../{name}-without-submodules")
    git_files = " ".join(shlex.quote(f"{path}/.git") for path in submodules)
    return (
        f"Work in a worktree without them: git worktree add -b without-submodules {other} && cd {other} && "
        f"git rm -q {paths} && git commit -m 'chore: leave out submodules'\n"
        f"Or make them ordinary files: git rm -q --cached {paths} && rm -rf {git_files} && "
        f"git add {paths} && git commit -m 'chore: vendor submodules'"
    )
