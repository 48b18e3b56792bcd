"""The user's own repository: reading HEAD, branches and index; writing refs and the index.

Once an agent has worked in the folder, any file there may be the agent's. The user's configuration may
include one of these files, git reads the configuration whenever it starts, and a setting can name a program
(a pager, a file-system monitor, a filter). With the wrong command, the agent would run that program on the
host. So only `rev-parse`, `symbolic-ref` and `update-ref` run in this repository, as the folder's owner: they
read no file of the code folder and start no program that a setting could name (`git.py` turns off hooks).
Everything else (index, ignored paths, attributes, differences) is asked of our own repository, over a copy of
the user's index.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.errors import EnvironmentInvalid, WorkspaceError
from orchestrator.subprocesses import Identity
from orchestrator.workspace import candidate as candidates
from orchestrator.workspace.checkout import Checkout
from orchestrator.workspace.folder import Layout
from orchestrator.workspace.git import TREE_SECONDS, Git
from orchestrator.workspace.history import tree_of
from orchestrator.workspace.refs import BRANCHES, list_branches_and_tags, list_ref_names
from orchestrator.workspace.scratch import is_below
from orchestrator.workspace.store import Store
from orchestrator.workspace.tree import survey
from orchestrator.workspace.user_index import hold_index, replace_index

SAVED_REFS = "refs/ktrdr-saved"
"""Commits that hold work of the user's; the next part of the name is the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    commit: str
    branch: str | None
    """None when HEAD is detached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRepository:
    store: Store
    """Our own repository, in which index and files are read."""
    notices: tuple[str, ...]
    """Settings of the user's that point into the code folder; to be shown before a run starts."""
    hooks: str | None = None
    """The folder of the user's git hooks, relative to the code folder; None when it is not in there."""
    wanted: frozenset[str] = frozenset()
    """Paths that are work also where they are named like scratch."""

    @property
    def folder(self) -> Path:
        return self.store.layout.folder

    @property
    def git_dir(self) -> Path:
        return self.store.layout.git_dir

    @property
    def owner(self) -> Identity:
        return self.store.layout.owner

    @property
    def git(self) -> Git:
        """Only for `rev-parse`, `symbolic-ref` and `update-ref`."""
        return self.store.layout.users_git

    @property
    def checkout(self) -> Checkout:
        return Checkout(store=self.store, folder=self.folder, git_dir=self.git_dir, wanted=self.wanted)

    async def head(self) -> Head:
        return await read_head(self.store.layout)

    async def find_checked_out_branch(self) -> str | None:
        """The branch that HEAD names, even if it no longer exists; None when HEAD is detached."""
        return await _branch_of_head(self.git)

    async def find_branch_commit(self, branch: str) -> str | None:
        done = await self.git.try_run("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}")
        return os.fsdecode(done.stdout).strip() if done.exit_code == 0 else None

    async def has_namesake(self, branch: str) -> bool:
        """Whether git takes the branch's short name for another ref, such as a tag of that name."""
        for ref in (f"refs/{branch}", f"refs/tags/{branch}"):
            if (await self.git.try_run("rev-parse", "--verify", "--quiet", ref)).exit_code == 0:
                return True
        return False

    async def find_checked_out_commit(self, branch: str) -> str:
        """The branch's commit. WorkspaceError when HEAD is not on this branch."""
        head = await self.head()
        if head.branch != branch:
            raise WorkspaceError(
                f"HEAD is on {head.branch or 'a detached commit'}, not on {branch}",
                where=str(self.folder),
                hint=f"Switch to it: git switch {branch}",
            )
        return head.commit

    async def check_branch(self, branch: str) -> bool:
        """Whether the branch has to be created. Raises EnvironmentInvalid when a run cannot work on it."""
        done = await self.store.git.try_run("check-ref-format", f"refs/heads/{branch}")
        # Git accepts some names that its own commands would read as an option or as another ref.
        if done.exit_code != 0 or branch.startswith("-") or branch == "HEAD":
            raise EnvironmentInvalid(
                f"{branch!r} cannot be the name of a branch",
                hint="Give the plan another **Branch:**, or rename its file.",
            )
        head = await self.head()
        if head.branch == branch:
            self._check_not_elsewhere(branch)
            return False
        if await self.find_branch_commit(branch) is not None:
            raise EnvironmentInvalid(
                f"the branch {branch} exists, and HEAD is on {head.branch or 'a detached commit'}",
                where=str(self.folder),
                hint=f"Switch to it: git switch {branch}",
            )
        await self._check_no_clash(branch)
        return True

    async def make_branch(self, branch: str, at: str) -> None:
        """Create the branch at a commit and put HEAD on it. No file changes. May be repeated."""
        if await self.find_branch_commit(branch) != at:
            # The zeros say that the branch must not exist: one that was created since the check is not
            # overwritten.
            await self._update_ref("begin", f"refs/heads/{branch}", at, "0" * len(at))
        if (await self.head()).branch != branch:
            git = replace(self.git, env=self.store.author.env())
            # HEAD last. After a kill before it, the user is still on their own branch, and repeating this is
            # harmless.
            await git.run("symbolic-ref", "-m", "orchestrator: begin", "HEAD", f"refs/heads/{branch}")

    async def move_branch(self, branch: str, *, to: str, expected: str) -> None:
        """Move the branch from `expected`; nothing if it is at `to` already. Else WorkspaceError."""
        try:
            await self._update_ref("land", f"refs/heads/{branch}", to, expected)
        except WorkspaceError:
            if await self.find_branch_commit(branch) != to:
                raise

    async def _update_ref(self, why: str, *args: str) -> None:
        git = replace(self.git, env=self.store.author.env())
        await git.run("update-ref", "-m", f"orchestrator: {why}", *args)

    async def pin_base(self, run: str, commit: str) -> None:
        """Protect a commit from the user's `git gc`, by the ref `refs/ktrdr/RUN` in their repository."""
        # Candidates borrow the objects of the base. If the user rewrote the branch, their `git gc` would
        # delete them.
        await self.git.run("update-ref", f"refs/ktrdr/{run}", commit)

    async def forget(self, run: str) -> None:
        """Remove a run's refs: the base that it pinned, and the commits that hold the user's saved work."""
        for ref in (*await list_ref_names(self.git, f"{SAVED_REFS}/{run}/*"), f"refs/ktrdr/{run}"):
            await self.git.run("update-ref", "-d", ref)
        with suppress(OSError):  # does not exist, or holds refs of other runs
            (self.store.layout.common_dir / "refs" / "ktrdr").rmdir()

    async def is_tracked(self, path: str) -> bool:
        """Whether the path is in the user's index."""
        with self.checkout.copy_index() as git:
            literal = replace(git, env={**git.env, "GIT_LITERAL_PATHSPECS": "1"})
            return bool(await literal.run("ls-files", "-z", "--", path))

    async def filter_ignored(self, paths: Iterable[str]) -> frozenset[str]:
        """Those of these paths that git ignores here, whether they exist or not. Folders end with `/`."""
        with self.checkout.copy_index() as git:
            return await candidates.filter_ignored(git, paths)

    async def list_dirty_paths(self, apart_from: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Paths where HEAD, index and files differ, and untracked paths that are not ignored; sorted.

        Untracked scratch is left out (see `scratch.py`), and a path of `apart_from` while it is untracked.
        """
        head = await self.head()
        with self.checkout.copy_index() as git:
            differing = ("diff-index", "--cached", "-z", "--name-only", "--no-renames", head.commit)
            staged = await git.run(*differing, timeout=TREE_SECONDS)
            changed = await candidates.list_changed_and_untracked(git)
            loose = frozenset(await candidates.list_untracked(git))
            scratch = await candidates.find_scratch_among(self.checkout, git, loose)
        found = {path for path in os.fsdecode(staged).split("\0") if path} | set(changed)
        unused = {path for path in loose if path in apart_from or is_below(path, scratch)}
        return tuple(sorted(found - unused))

    async def check_refs(self) -> None:
        """Raises EnvironmentInvalid, with its name, when a branch or tag points to nothing."""
        try:
            await list_branches_and_tags(self.store)
        except WorkspaceError as error:
            raise EnvironmentInvalid(error.what, where=error.where, hint=error.hint) from error

    async def check_files(self) -> None:
        """Raises EnvironmentInvalid, with the path, when a run cannot start with these files.

        That is a `.gitignore` or `.gitattributes` that is not a regular file, a repository outside of ignored
        folders and scratch, and attributes with filters or encodings. The files are the user's, so nothing is
        moved. After an attempt, `Worktree.clear_oddities` moves the first two away instead.
        """
        found = await asyncio.to_thread(survey, self.folder)
        for path in sorted(found.specials):
            # Git reads these on every command, and reading a pipe never returns.
            if path.rpartition("/")[2] in (".gitignore", ".gitattributes"):
                raise EnvironmentInvalid(
                    "this is not a regular file",
                    where=str(self.folder / path),
                    hint="Replace it with a file, or remove it.",
                )
        with self.checkout.copy_index() as git:
            unused = await candidates.filter_in_unused_folders(self.checkout, git, found.repositories)
            named = await candidates.find_conversion(
                git, found, await candidates.list_scratch(self.checkout, git)
            )
        nested = sorted(found.repositories - unused)
        if nested:
            raise EnvironmentInvalid(
                "repositories inside the repository are supported in ignored folders only",
                where=str(self.folder / nested[0]),
                hint="Move it out, or ignore its folder.",
            )
        if named is not None:
            path, attribute, value = named
            raise EnvironmentInvalid(
                f"attributes with filters or encodings are not supported yet ({attribute}={value})",
                where=str(self.folder / path),
                hint="Remove the attribute from .gitattributes, or use another tool for this repository.",
            )

    async def keep_staged(self, *, head: str, ref: Callable[[], Awaitable[str]], base: str) -> str | None:
        """Keep the user's staged content as a commit; None when nothing differs from `head`.

        `ref` returns the ref to keep it under, and is called only when there is something to keep.
        """
        staged = await candidates.write_staged_tree(self.checkout)
        if staged is None or staged == await tree_of(self.store, head):
            return None
        kept = await self.store.commit_tree(staged, parent=head, message="Staged before\n")
        await self.store.keep(kept, await ref(), base=base)
        return kept

    async def set_staged_aside(
        self, *, branch: str, head: str, ref: Callable[[], Awaitable[str]], base: str
    ) -> str | None:
        """Keep the staged content (see `keep_staged`), and replace the index by that of `head`.

        WorkspaceError when `branch` is no longer checked out at `head`: the index belongs to that state.
        """
        kept = await self.keep_staged(head=head, ref=ref, base=base)
        if kept is not None:
            async with hold_index(self.checkout, self.owner):
                if (await self.find_checked_out_branch(), await self.find_branch_commit(branch)) != (
                    branch,
                    head,
                ):
                    raise WorkspaceError(
                        f"{branch} is no longer checked out at {head}",
                        where=str(self.folder),
                        hint=f"See: git log {head}..{BRANCHES}/{branch}",
                    )
                await replace_index(self.checkout, head)
        return kept

    async def _check_no_clash(self, branch: str) -> None:
        for ref in await list_ref_names(self.git, BRANCHES):
            name = ref.removeprefix(f"{BRANCHES}/")
            if name.startswith(f"{branch}/") or branch.startswith(f"{name}/"):
                raise EnvironmentInvalid(
                    f"the branch {branch} cannot be created, because there is a branch {name}",
                    where=str(self.folder),
                    hint=f"Give the plan another **Branch:**, or rename it: git branch -m {name} NEW-NAME",
                )

    def _check_not_elsewhere(self, branch: str) -> None:
        common_dir = self.store.layout.common_dir
        # Two worktrees on one branch: moving it here would make all files there look changed.
        heads = {common_dir / "HEAD", *common_dir.glob("worktrees/*/HEAD")}
        for head in heads - {self.git_dir / "HEAD"}:
            if head.read_bytes().strip() == os.fsencode(f"ref: refs/heads/{branch}"):
                raise EnvironmentInvalid(
                    f"the branch {branch} is also checked out in another worktree",
                    where=str(head.parent),
                    hint="Switch that worktree to another branch.",
                )


async def read_head(layout: Layout) -> Head:
    git = layout.users_git
    # By one call, unless HEAD is detached or `HEAD` is also the name of a tag or branch.
    both = await git.try_run("rev-parse", "HEAD^{commit}", "--symbolic-full-name", "HEAD")
    lines = os.fsdecode(both.stdout).rstrip("\n").split("\n")
    if both.exit_code == 0 and len(lines) == 2 and lines[1].startswith(f"{BRANCHES}/"):
        return Head(commit=lines[0], branch=lines[1].removeprefix(f"{BRANCHES}/"))
    commit = await git.try_run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if commit.exit_code != 0:
        target = await git.try_run("rev-parse", "--verify", "--quiet", "HEAD")
        if target.exit_code == 0:
            branch = await _branch_of_head(git)
            name = "HEAD" if branch is None else f"{BRANCHES}/{branch}"
            raise EnvironmentInvalid(
                f"{name} points to {os.fsdecode(target.stdout).strip()}, a commit that does not exist",
                where=str(layout.folder),
                hint=f"Check the repository: git fsck. List earlier commits of the branch: git reflog {name}",
            )
        raise _explain_no_commit(layout)
    return Head(commit=os.fsdecode(commit.stdout).strip(), branch=await _branch_of_head(git))


def _explain_no_commit(layout: Layout) -> EnvironmentInvalid:
    """HEAD, or the branch that it names, gives no commit at all."""
    damaged, name = layout.git_dir / "HEAD", "HEAD"
    # Git does not name the branch of HEAD when that branch's file is damaged.
    target = os.fsdecode(damaged.read_bytes()).strip()
    if target.startswith("ref: "):
        name = target.removeprefix("ref: ").strip()
        damaged = layout.common_dir / name
    # A branch without a commit has no file, as after `git init`.
    if not damaged.is_file() and not damaged.is_symlink():
        return EnvironmentInvalid(
            "the repository has no commit yet", where=str(layout.folder), hint="Make a first commit."
        )
    return EnvironmentInvalid(
        f"{name} points to nothing: its file is empty or damaged",
        where=str(damaged),
        hint="Write the id of its last commit into that file; to list its commits: "
        f"tail {layout.common_dir / 'logs' / name}",
    )


async def _branch_of_head(git: Git) -> str | None:
    name = await git.try_run("symbolic-ref", "--quiet", "HEAD")
    return os.fsdecode(name.stdout).strip().removeprefix("refs/heads/") if name.exit_code == 0 else None
