"""The files that an attempt works on: a protocol, and its one implementation, the user's own folder.

A kind of working tree defines where its files and index are (`checkout`), who owns them, and what landing
means. The rest is the same for every kind: candidates and saved trees are made of a checkout's files, and are
stored in the one `Store`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from orchestrator.mounts import Bind
from orchestrator.subprocesses import Identity
from orchestrator.workspace import candidate as candidates
from orchestrator.workspace import delivery
from orchestrator.workspace.candidate import Candidate, Snapshot
from orchestrator.workspace.checkout import Checkout
from orchestrator.workspace.container_git import make_agent_git_dir
from orchestrator.workspace.tree import Baseline, Oddity
from orchestrator.workspace.user_repository import UserRepository


class Worktree(Protocol):
    @property
    def checkout(self) -> Checkout: ...

    @property
    def owner(self) -> Identity:
        """The user who owns the files, and as whom an attempt's processes run."""
        ...

    @property
    def folder(self) -> Path:
        """The folder that is mounted at `/workspace`."""
        return self.checkout.folder

    async def baseline(self, *, ignored_before: frozenset[str] = frozenset()) -> Baseline:
        """List what is in the folder before an attempt. Store it: after a kill, a later process needs it.

        A path of `ignored_before` was ignored before an earlier attempt, and still counts as ignored,
        even if `.gitignore` no longer lists it. Otherwise one attempt could remove a line there without a
        commit, and the next one would start with the user's `.env` as an ordinary untracked file, which its
        candidate would contain.
        """
        found = await candidates.take_baseline(self.checkout)
        return replace(found, ignored=found.ignored | ignored_before)

    async def make_git_dir(self, into: Path, *, branch: str) -> tuple[Bind, ...]:
        """Create the repository that an agent sees in its container; see `container_git`."""
        return await make_agent_git_dir(self.checkout, into, branch=branch)

    async def clear_oddities(self, baseline: Baseline, into: Path) -> tuple[Oddity, ...]:
        """Move files that git cannot store, and that are not in the baseline, to the folder `into`.

        These are pipes, sockets, devices, and the `.git` of a repository inside the repository, unless it is
        in an ignored folder; the other files of such a repository stay. A pipe called `.gitignore` would
        block every git command on the folder, ours and the user's, until the pipe is removed.

        If `into` is on another file system, a `.git` is copied there, and pipes, sockets and devices, which
        have no content to copy, are deleted.
        """
        return await candidates.clear_oddities(self.checkout, baseline, into)

    async def snapshot(self, *, exclude: frozenset[str], baseline: Baseline) -> Snapshot:
        """Store the folder as a tree in our repository; untracked paths of `exclude` are left out.

        Raises TreeRefused, with the path, when git cannot take one.
        """
        return await candidates.take_snapshot(self.checkout, exclude=exclude, baseline=baseline)

    async def is_ignored(self, path: str, baseline: Baseline) -> bool:
        """Whether git ignores this path now, or ignored it or its folder when the baseline was taken."""
        return await candidates.is_ignored(self.checkout, path, baseline)

    async def build_candidate(
        self,
        snapshot: Snapshot,
        *,
        parent: str,
        message: str,
        overlay: Mapping[str, bytes],
        ref: str,
        base: str,
    ) -> Candidate:
        """Make a commit of a snapshot and the files of `overlay`, and keep it under one of our refs.

        The files of the overlay are written into the folder when the commit lands. `base` is a pinned commit
        of the user's: objects that it has are borrowed, all others are stored with the candidate. Raises
        LinkInPath when a link, or a file where a folder is needed, is on the path of such a file, and
        TreeRefused for content that `git fsck` would report (see `fsck.py`).
        """
        return await candidates.build_candidate(
            self.checkout,
            snapshot,
            parent=parent,
            message=message,
            overlay=overlay,
            ref=ref,
            base=base,
        )

    async def salvage(
        self, ref: str, *, parent: str, message: str, base: str, ignored_before: frozenset[str] = frozenset()
    ) -> str:
        """Save the folder, also one that cannot land, as a commit under one of our refs; return the commit.

        Left out are ignored files and what a snapshot leaves out as well: untracked files that were ignored
        before an attempt or are too large, and scratch. When git refuses a file, the commit also holds all
        changed files as a tar.
        """
        return await candidates.salvage(
            self.checkout, ref, parent=parent, message=message, base=base, ignored_before=ignored_before
        )

    async def land(self, commit: str, *, branch: str, expected: str) -> None:
        """Move the user's branch from `expected` to a commit, with the files and index of their folder.

        May be repeated, which completes a landing that was killed. Raises WorkspaceError, and changes
        nothing, when HEAD, branch or index are not as they were when the candidate was made.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedFolder(Worktree):
    """The user's own folder, mounted into the container: a file that an agent writes is the user's file."""

    user: UserRepository

    @property
    def checkout(self) -> Checkout:
        return self.user.checkout

    @property
    def owner(self) -> Identity:
        return self.user.owner

    async def land(self, commit: str, *, branch: str, expected: str) -> None:
        await delivery.deliver(self.user, commit, branch=branch, expected=expected)
