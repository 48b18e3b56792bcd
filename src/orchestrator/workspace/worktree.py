"""The files that an attempt works on: what the engine may ask of them, and the user's folder as such files.

A kind of working tree says where its files and index are (`checkout`), who owns them, and what landing does
with them. All else is the same for every kind: candidates and saved trees are made of a checkout's files, and
all trees store them in the same `Store`.
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
        """Who owns the files, and whom an attempt's processes run as."""
        ...

    @property
    def folder(self) -> Path:
        """The folder that is mounted at `/workspace`."""
        return self.checkout.folder

    async def baseline(self, *, ignored_before: frozenset[str] = frozenset()) -> Baseline:
        """What is in the folder before an attempt. Store it: a later process may have to continue.

        A path of `ignored_before` was ignored before an earlier attempt and counts as ignored, whatever
        `.gitignore` says now: an attempt could otherwise remove a line there, and the next candidate would
        take in the user's `.env`.
        """
        found = await candidates.take_baseline(self.checkout)
        return replace(found, ignored=found.ignored | ignored_before)

    async def make_git_dir(self, into: Path, *, branch: str) -> tuple[Bind, ...]:
        """Make the repository that an agent sees in its container; see `container_git`."""
        return await make_agent_git_dir(self.checkout, into, branch=branch)

    async def clear_oddities(self, baseline: Baseline, into: Path) -> tuple[Oddity, ...]:
        """Move files that git cannot store, and that are not in the baseline, into the evidence folder.

        Those are pipes, sockets and devices, and repositories inside the repository. A pipe called
        `.gitignore` would block each git command that reads it.
        """
        return await candidates.clear_oddities(self.checkout, baseline, into)

    async def snapshot(self, *, exclude: frozenset[str], baseline: Baseline) -> Snapshot:
        """The folder as a tree in our repository. A path of `exclude` is left out while it is untracked.

        Raises TreeRefused with the path that git does not take.
        """
        return await candidates.take_snapshot(self.checkout, exclude=exclude, baseline=baseline)

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
        """A commit of a snapshot with the files of `overlay` laid over it, kept under a ref of ours.

        The overlay is written into the folder when the commit lands. `base` is a pinned commit of the user's.
        Raises LinkInPath when a link, or a file in place of a folder, is in the way of an overlay's file, and
        TreeRefused for content that git's own check of a repository would report (see `fsck`).
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
        """Save the folder as it is, as far as git takes it, as a commit under a ref of ours.

        Ignored files are left out, and untracked ones that were ignored before an attempt.
        """
        return await candidates.salvage(
            self.checkout, ref, parent=parent, message=message, base=base, ignored_before=ignored_before
        )

    async def land(self, commit: str, *, branch: str, expected: str) -> None:
        """Move the user's branch from `expected` to a commit, and the files and index of their folder too.

        May be repeated: that is how a landing that was killed is finished. WorkspaceError, and nothing has
        moved, when HEAD, branch or index are not as they were when the candidate was made.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedFolder(Worktree):
    """The user's own folder, mounted as it is: what an agent writes is in the user's files at once."""

    user: UserRepository

    @property
    def checkout(self) -> Checkout:
        return self.user.checkout

    @property
    def owner(self) -> Identity:
        return self.user.owner

    async def land(self, commit: str, *, branch: str, expected: str) -> None:
        await delivery.deliver(self.user, commit, branch=branch, expected=expected)
