"""The code folder as the engine sees it: what it is, what becomes of it, and how work gets into it."""

import asyncio
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from orchestrator.errors import EnvironmentInvalid, WorkspaceError
from orchestrator.subprocesses import Identity
from orchestrator.workspace import candidate as candidates
from orchestrator.workspace import container_git, delivery, restoration
from orchestrator.workspace.candidate import Candidate, Snapshot
from orchestrator.workspace.container_git import GitMount
from orchestrator.workspace.folder import (
    Layout,
    Settings,
    check_nothing_in_progress,
    check_out_of_reach,
    check_settings,
    read_layout,
    read_settings,
)
from orchestrator.workspace.git import TREE_SECONDS
from orchestrator.workspace.repository import Author, OwnRepository, open_repository, repository_folder
from orchestrator.workspace.soundness import check_sound
from orchestrator.workspace.tree import Baseline, Oddity, Survey, survey

ChangeStatus = Literal["added", "modified", "deleted", "type_changed"]
_STATUS: Mapping[str, ChangeStatus] = {"A": "added", "M": "modified", "D": "deleted", "T": "type_changed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    commit: str
    branch: str | None
    """None when HEAD is detached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    path: str
    status: ChangeStatus
    added: int | None
    """Lines; None for a binary file."""
    deleted: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What can be said of a folder without making anything."""

    notices: tuple[str, ...]
    signs_commits: bool
    owner: Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Git works as the caller in our repository, and as the folder's owner in the user's."""

    own: OwnRepository
    notices: tuple[str, ...]
    """Settings of the user's that point into the code folder; to be announced."""

    @classmethod
    async def open(cls, folder: Path, *, repositories: Path) -> "Workspace":
        """Check that a run can work here, then make or reuse our repository of it below `repositories`.

        Raises EnvironmentInvalid, by name and with the next step, and leaves nothing behind then. The files
        are not looked at: see `check_files`.
        """
        seen = await _look(folder, repositories)
        return await _open_checked(seen.layout, seen.settings, repositories)

    @staticmethod
    async def inspect(folder: Path, *, repositories: Path) -> "Findings":
        """What `open` refuses, without making anything. Raises EnvironmentInvalid."""
        layout, settings = await _look(folder, repositories)
        _check_index(layout, await layout.users_git.run("ls-files", "-s", "-z", timeout=TREE_SECONDS))
        return Findings(
            notices=settings.notices, signs_commits=settings.true("commit.gpgsign"), owner=layout.owner
        )

    @property
    def folder(self) -> Path:
        return self.own.layout.folder

    @property
    def git_dir(self) -> Path:
        return self.own.layout.git_dir

    @property
    def owner(self) -> Identity:
        return self.own.layout.owner

    @property
    def author(self) -> Author:
        return self.own.author

    async def head(self) -> Head:
        return await _head(self.own.layout)

    async def branch_commit(self, branch: str) -> str | None:
        done = await self.own.layout.users_git.try_run(
            "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}"
        )
        return os.fsdecode(done.stdout).strip() if done.exit_code == 0 else None

    async def check_files(self) -> None:
        """EnvironmentInvalid, by name, for files that a run cannot start on.

        Not for a tree that an attempt left behind: what is odd there is moved away (`clear_oddities`).
        """
        found = await asyncio.to_thread(survey, self.folder)
        _check_specials(self.own, found)
        with self.own.index_copy() as git:
            inside_ignored = await candidates.in_ignored_folders(git, found.repositories)
            named = await candidates.conversions(git, found)
        nested = sorted(found.repositories - inside_ignored)
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
            )

    async def dirty_paths(self, apart_from: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Paths where HEAD, index and files differ, and untracked ones that are not ignored; sorted.

        A path of `apart_from` is left out while it is untracked.
        """
        head = await self.head()
        with self.own.index_copy() as git:
            staged = await git.run(
                "diff-index",
                "--cached",
                "-z",
                "--name-only",
                "--no-renames",
                head.commit,
                timeout=TREE_SECONDS,
            )
            changed = await candidates.changed_and_untracked(git)
            loose = frozenset(await candidates.untracked(git))
        found = {path for path in os.fsdecode(staged).split("\0") if path} | set(changed)
        return tuple(sorted(found - (apart_from & loose)))

    async def is_tracked(self, path: str) -> bool:
        """Whether the path is in the user's index."""
        with self.own.index_copy() as git:
            quiet = replace(git, env={**git.env, "GIT_LITERAL_PATHSPECS": "1"})
            return bool(await quiet.run("ls-files", "-z", "--", path))

    async def check_branch(self, branch: str) -> bool:
        """Whether the branch still has to be made. EnvironmentInvalid when a run cannot work on it."""
        await self._check_name(branch)
        head = await self.head()
        if head.branch == branch:
            await self._check_not_elsewhere(branch)
            return False
        if await self.branch_commit(branch) is not None:
            raise EnvironmentInvalid(
                f"the branch {branch} exists, and HEAD is on {head.branch or 'a detached commit'}",
                where=str(self.folder),
                hint=f"git switch {branch}",
            )
        await self._check_room_for(branch)
        return True

    async def make_branch(self, branch: str, at: str) -> None:
        """Make the branch at a commit and put HEAD on it; no file is touched. Doing it again is harmless."""
        users = replace(self.own.layout.users_git, env=self.author.env())
        if await self.branch_commit(branch) != at:
            await users.run(
                "update-ref", "-m", "orchestrator: begin", f"refs/heads/{branch}", at, "0" * len(at)
            )
        if (await self.head()).branch != branch:
            await users.run("symbolic-ref", "-m", "orchestrator: begin", "HEAD", f"refs/heads/{branch}")

    async def pin_base(self, run: str, commit: str) -> None:
        """Keep a commit from the user's `git gc`, by `refs/ktrdr/RUN` in their repository."""
        await self.own.layout.users_git.run("update-ref", f"refs/ktrdr/{run}", commit)

    async def baseline(self, *, ignored_before: frozenset[str] = frozenset()) -> Baseline:
        """What is in the folder before an attempt; store it, so that a later process knows it too.

        What was ignored before earlier attempts counts as ignored still, whatever became of `.gitignore`.
        """
        found = await candidates.take_baseline(self.own)
        return replace(found, ignored=found.ignored | ignored_before)

    async def make_agent_git_dir(self, into: Path, *, branch: str) -> tuple[GitMount, ...]:
        return await container_git.make_agent_git_dir(self.own, into, branch=branch)

    async def make_gate_git_dir(self, into: Path, *, commit: str, branch: str) -> tuple[GitMount, ...]:
        return await container_git.make_gate_git_dir(self.own, into, commit=commit, branch=branch)

    async def write_gate_archive(self, commit: str, into: Path, *, uid: int, gid: int) -> None:
        await container_git.write_gate_archive(self.own, commit, into, uid=uid, gid=gid)

    async def clear_oddities(self, baseline: Baseline, into: Path) -> tuple[Oddity, ...]:
        """Move what git cannot take, and was not there before, into the evidence folder `into`."""
        return await candidates.clear_oddities(self.own, baseline, into)

    async def snapshot(self, *, exclude: frozenset[str], baseline: Baseline) -> Snapshot:
        """The folder as a tree in our repository. `exclude` are paths left out while they are untracked.

        Raises TreeRefused with the path that git does not take.
        """
        return await candidates.take_snapshot(self.own, exclude=exclude, baseline=baseline)

    async def commit(
        self,
        snapshot: Snapshot,
        *,
        parent: str,
        message: str,
        overlay: Mapping[str, bytes],
        ref: str,
        base: str | None = None,
    ) -> Candidate:
        """A commit of a snapshot with `overlay` laid over it, kept under `ref` of our repository.

        Files of the overlay are written into the folder when the commit is delivered. Raises LinkInPath for a
        link, or a file, where a folder of theirs would have to be, and TreeRefused for content that git's own
        check of a repository calls an error, or would only now warn of.
        """
        tree = await candidates.lay_over(self.own, snapshot.tree, overlay)
        commit = await candidates.commit_tree(self.own, tree, parent=parent, message=message)
        self.own.remember_documents(commit, overlay)
        pack = await self._pack(commit, base)
        await check_sound(self.own, pack, parent=parent, commit=commit)
        await self.own.git.run("update-ref", ref, commit)
        return Candidate(commit=commit, tree=tree)

    async def keep(self, commit: str, ref: str, *, base: str | None = None) -> None:
        """Make a commit last in our repository, with every object it has over `base`.

        Whole, because git does not store again what it finds in the user's repository, where a `gc` may take
        it away. Without `base`: over all that `pin_base` has pinned there.
        """
        await self._pack(commit, base)
        await self.own.git.run("update-ref", ref, commit)

    async def _pack(self, commit: str, base: str | None) -> Path:
        known = [base] if base is not None else await self._pinned()
        packs = self.own.git_dir / "objects" / "pack" / "pack"
        wanted = "".join([f"{commit}\n", *(f"^{entry}\n" for entry in known)])
        git = self.own.git
        name = await git.run(
            "pack-objects", "--revs", "-q", str(packs), stdin=wanted.encode(), timeout=TREE_SECONDS
        )
        await git.run("prune-packed", "-q")
        return Path(f"{packs}-{name.decode().strip()}.pack")

    async def salvage(
        self,
        ref: str,
        *,
        parent: str,
        message: str,
        ignored_before: frozenset[str] = frozenset(),
        base: str | None = None,
    ) -> str:
        """Save the folder as it is, as far as git takes it, as a commit under a ref of our repository.

        Ignored files are not in it, nor what is untracked and was ignored before an attempt.
        """
        tree = await candidates.salvage_tree(self.own, parent, ignored_before=ignored_before)
        commit = await candidates.commit_tree(self.own, tree, parent=parent, message=message)
        await self.keep(commit, ref, base=base)
        return commit

    async def hand_over(self, commit: str, *, run: str, base: str) -> None:
        """Put a commit of ours that holds the user's work into their repository, under a ref of the run's."""
        await delivery.send_objects(self.own, commit, base)
        ref = f"refs/ktrdr-saved/{run}/{commit}"
        await self.own.layout.users_git.run("update-ref", ref, commit)

    async def deliver(self, commit: str, *, branch: str, expected: str) -> None:
        """Land a commit on the user's branch; see `delivery.deliver`. Also finishes one that was killed."""
        await delivery.deliver(self.own, commit, branch=branch, expected=expected)

    async def commit_edits(
        self, *, tree: str, paths: tuple[str, ...], parent: str, message: str, ref: str, base: str
    ) -> str:
        """A commit on `parent` of these paths as `tree` has them, kept under `ref`: what a person changed."""
        commit = await restoration.commit_paths(
            self.own, parent=parent, tree=tree, paths=paths, message=message
        )
        await self.keep(commit, ref, base=base)
        return commit

    async def set_staged_aside(self, *, branch: str, head: str, ref: str, base: str) -> str | None:
        """Bring the index to `head`; what the user had staged is kept under `ref`. That commit, or None."""
        kept = await self.keep_staged(head=head, ref=ref, base=base)
        if kept is not None:
            await delivery.reset_index(self.own, head, branch=branch)
        return kept

    async def keep_staged(self, *, head: str, ref: str, base: str) -> str | None:
        """Keep what the user has staged under `ref`. That commit, or None when it is what `head` holds."""
        staged = await candidates.staged_tree(self.own)
        if staged is None or staged == await self.tree_of(head):
            return None
        kept = await candidates.commit_tree(self.own, staged, parent=head, message="Staged before\n")
        await self.keep(kept, ref, base=base)
        return kept

    async def bring_back(
        self, target: str, *, branch: str, expected: str, saved: str, untouched: frozenset[str]
    ) -> tuple[str, ...]:
        """Move branch, index and files back to an earlier commit; see `restoration.bring_back`."""
        return await restoration.bring_back(
            self.own, target, branch=branch, expected=expected, saved=saved, untouched=untouched
        )

    async def forget(self, run: str) -> None:
        """Drop every ref of a run in our repository; in the user's what it saved, and the base it pinned."""
        listing = await self.own.git.text("for-each-ref", "--format=%(refname)", "refs/ktrdr/")
        mine = [ref for ref in listing.split("\n") if ref.split("/")[3:4] == [run]]
        for ref in mine:
            await self.own.git.run("update-ref", "-d", ref)
        users = self.own.layout.users_git
        saved = await users.text("rev-parse", "--symbolic-full-name", f"--glob=refs/ktrdr-saved/{run}/*")
        for ref in (*saved.split(), f"refs/ktrdr/{run}"):
            await users.run("update-ref", "-d", ref)
        with suppress(OSError):  # not there, or with the refs of other runs in it
            (self.own.layout.common_dir / "refs" / "ktrdr").rmdir()

    async def parent_of(self, commit: str) -> str:
        """The commit's first parent."""
        return await self.own.git.text("rev-parse", "--verify", f"{commit}^1")

    async def commits_between(self, base: str, tip: str) -> tuple[str, ...]:
        """Commits that `tip` has over `base`, newest first."""
        listing = await self.own.git.text("rev-list", tip, f"^{base}", "--")
        return tuple(listing.split())

    async def commit_of_checked_out(self, branch: str) -> str:
        """Where the branch stands. WorkspaceError when HEAD is not on it (any more)."""
        head = await self.head()
        if head.branch != branch:
            raise WorkspaceError(
                f"HEAD is on {head.branch or 'a detached commit'}, not on {branch}",
                where=str(self.folder),
                hint=f"git switch {branch}",
            )
        return head.commit

    async def has_commit(self, commit: str) -> bool:
        """Whether the commit is there at all."""
        return (await self.own.git.try_run("cat-file", "-e", f"{commit}^{{commit}}")).exit_code == 0

    async def is_ancestor(self, commit: str, of: str) -> bool:
        """Whether `of` builds on `commit`; False too when the commit is not there any more."""
        done = await self.own.git.try_run("merge-base", "--is-ancestor", commit, of)
        return done.exit_code == 0

    async def files(self, commit: str) -> Mapping[str, str]:
        """Every path that a commit tracks, with its blob."""
        listing = await self.own.git.run("ls-tree", "-r", "-z", "--full-tree", commit, timeout=TREE_SECONDS)
        entries = [entry.split("\t", 1) for entry in os.fsdecode(listing).split("\0") if entry]
        return {path: about.split(" ")[2] for about, path in entries}

    async def ignored(self, paths: Iterable[str]) -> frozenset[str]:
        """Those of these paths that git ignores here, existing or not; folders end with `/`."""
        with self.own.index_copy() as git:
            return await candidates.ignored_of(git, paths)

    async def tree_of(self, commit: str) -> str:
        return await delivery.tree_of(self.own.git, commit)

    async def changes(self, old: str, new: str) -> tuple[Change, ...]:
        """What differs between two commits or trees, by path; a rename is a deletion and an addition."""
        plain = ("-r", "-z", "--no-renames", "--no-ext-diff", "--no-textconv")
        names = await self.own.git.run("diff-tree", *plain, "--name-status", old, new, timeout=TREE_SECONDS)
        counts = await self.own.git.run("diff-tree", *plain, "--numstat", old, new, timeout=TREE_SECONDS)
        fields = os.fsdecode(names).split("\0")
        status = dict(zip(fields[1::2], fields[::2], strict=False))
        rows = [row.split("\t", 2) for row in os.fsdecode(counts).split("\0") if row]
        return tuple(
            Change(path=path, status=_STATUS[status[path]], added=_lines(added), deleted=_lines(deleted))
            for added, deleted, path in rows
        )

    async def read_blob(self, commit: str, path: str, limit: int) -> bytes | None:
        """A regular file of a commit; None when it has none there. WorkspaceError over `limit` bytes."""
        git = replace(self.own.git, env={"GIT_LITERAL_PATHSPECS": "1"})
        entry = await git.run("ls-tree", "-z", "-l", "--full-tree", commit, "--", path)
        fields = entry.split(maxsplit=4)
        if len(fields) < 4 or not fields[0].startswith(b"100"):
            return None
        if int(fields[3]) > limit:
            raise WorkspaceError(f"it is larger than {limit} bytes", where=path)
        return await git.run("cat-file", "blob", os.fsdecode(fields[2]))

    async def find_landed(
        self, *, branch: str, base: str, run: str, besides: frozenset[str] = frozenset()
    ) -> dict[str, str]:
        """Commits of this run on the branch since `base`, without `besides`, by task id, as trailers say.

        One that the user has rewritten or squashed counts too, as far as it still says whose it was.
        """
        tip = await self.branch_commit(branch)
        if tip is None:
            return {}
        listing = await self.own.git.run("log", "-z", "--format=%H%n%B", tip, f"^{base}", "--")
        found = {}
        for entry in os.fsdecode(listing).split("\0"):
            commit, _, message = entry.partition("\n")
            if commit not in besides:
                found.update(dict.fromkeys(_tasks_named(message, run), commit))
        return found

    async def _pinned(self) -> list[str]:
        listing = await self.own.layout.users_git.text("rev-parse", "--glob=refs/ktrdr/*")
        return listing.split()

    async def _check_name(self, branch: str) -> None:
        done = await self.own.git.try_run("check-ref-format", f"refs/heads/{branch}")
        if done.exit_code != 0 or branch.startswith("-") or branch == "HEAD":
            raise EnvironmentInvalid(
                f"{branch!r} cannot be the name of a branch",
                hint="Give the plan another **Branch:**, or rename its file.",
            )

    async def _check_room_for(self, branch: str) -> None:
        listing = await self.own.layout.users_git.text("rev-parse", "--symbolic-full-name", "--branches")
        for name in (line.removeprefix("refs/heads/") for line in listing.splitlines()):
            if name.startswith(f"{branch}/") or branch.startswith(f"{name}/"):
                raise EnvironmentInvalid(
                    f"there cannot be a branch {branch} beside the branch {name}",
                    where=str(self.folder),
                    hint="Give the plan another **Branch:**, or rename the branch there is.",
                )

    async def _check_not_elsewhere(self, branch: str) -> None:
        layout = self.own.layout
        heads = {layout.common_dir / "HEAD", *layout.common_dir.glob("worktrees/*/HEAD")}
        for head in heads - {layout.git_dir / "HEAD"}:
            if head.read_bytes().strip() == os.fsencode(f"ref: refs/heads/{branch}"):
                raise EnvironmentInvalid(
                    f"the branch {branch} is checked out in another worktree too",
                    where=str(head.parent),
                    hint="Switch that worktree to another branch.",
                )


class _Seen(NamedTuple):
    layout: Layout
    settings: Settings


async def _look(folder: Path, repositories: Path) -> _Seen:
    """The checks that need nothing of ours."""
    layout = await read_layout(folder)
    check_out_of_reach(layout, repositories)
    settings = await read_settings(layout)
    check_settings(layout, settings)
    check_nothing_in_progress(layout)
    _check_index_lock(layout)
    await _head(layout)
    return _Seen(layout, settings)


async def _open_checked(layout: Layout, settings: Settings, repositories: Path) -> Workspace:
    """The checks that need a repository of ours to be asked; a new one is taken away again if they fail."""
    existed = repository_folder(repositories, layout).exists()
    own = await open_repository(repositories, layout, settings)
    try:
        with own.index_copy() as git:
            _check_index(layout, await git.run("ls-files", "-s", "-z", timeout=TREE_SECONDS))
    except BaseException:
        if not existed:
            await asyncio.to_thread(shutil.rmtree, own.git_dir, ignore_errors=True)
        raise
    return Workspace(own=own, notices=settings.notices)


def _check_specials(own: OwnRepository, found: Survey) -> None:
    for path in sorted(found.specials):
        if path.rpartition("/")[2] in (".gitignore", ".gitattributes"):
            raise EnvironmentInvalid("this is not a regular file", where=str(own.layout.folder / path))


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


async def _head(layout: Layout) -> Head:
    git = layout.users_git
    commit = await git.try_run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if commit.exit_code != 0:
        raise EnvironmentInvalid(
            "the repository has no commit yet", where=str(layout.folder), hint="Make a first commit."
        )
    name = await git.try_run("symbolic-ref", "--quiet", "HEAD")
    branch = os.fsdecode(name.stdout).strip().removeprefix("refs/heads/") if name.exit_code == 0 else None
    return Head(commit=os.fsdecode(commit.stdout).strip(), branch=branch)


def _check_index_lock(layout: Layout) -> None:
    lock = layout.git_dir / "index.lock"
    if lock.exists() and not delivery.is_own_lock(layout.git_dir):
        raise EnvironmentInvalid(
            "a git command is at work, or was killed",
            where=str(lock),
            hint="When no git command runs here, remove this file and try again.",
        )


def _lines(count: str) -> int | None:
    return None if count == "-" else int(count)


def _tasks_named(message: str, run: str) -> Iterator[str]:
    """Tasks of a run in a commit's message: each `Orchestrator-Task` belongs to the run named before it."""
    owner = None
    for line in message.splitlines():
        key, _, value = line.partition(": ")
        if key == "Orchestrator-Run":
            owner = value
        elif key == "Orchestrator-Task" and owner == run:
            yield value
