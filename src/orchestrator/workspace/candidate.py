"""From the files of a checkout to a commit in our repository: snapshots, candidates and saved trees.

**What goes into a candidate.** Everything that git would add, with four exceptions, because an attempt must
not be able to publish what the user never meant to commit. (1) A path that was ignored before the attempt and
is not ignored any more: by deleting a line of `.gitignore`, an agent would otherwise have the user's `.env`
committed. (2) Untracked files over 50 MB, which are nearly always data or build products, and which no later
commit can take out of the history again. (3) Scratch that tools leave behind (see `scratch.py`). (4) Paths
that the caller excludes, such as an untracked plan.

**What is refused.** A filter or an encoding, because the content of the commit would depend on a program of
the user's; a nested repository, because it would be committed without its files; anything git cannot read.

**Saving.** When a candidate cannot be made, the agent's work must not be lost. `salvage` therefore takes the
folder as far as git takes it, and puts all changed files into a tar inside the commit when git refuses some.
"""

import asyncio
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from orchestrator.workspace.checkout import Checkout
from orchestrator.workspace.fsck import check_objects
from orchestrator.workspace.git import TREE_SECONDS, Git, failure_text, git_error
from orchestrator.workspace.scratch import find_scratch, is_below
from orchestrator.workspace.store import USER_ATTRIBUTES
from orchestrator.workspace.tree import (
    Baseline,
    Oddity,
    Survey,
    TreeRefused,
    check_free_of_links,
    move_out,
    survey,
    write_tar,
)

UNTRACKED_MAX_BYTES = 50_000_000
SALVAGED_TAR = "SALVAGED.tar"
"""In a saved tree of which git refused some files: a tar of all changed files."""
_CONVERSIONS = ("filter", "working-tree-encoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The folder as a tree, without the paths that must never be committed."""

    tree: str
    too_large: tuple[str, ...] = ()
    """Untracked files that were left out because of their size."""
    unignored: tuple[str, ...] = ()
    """Paths left out because they existed and were ignored before the attempt, and are no longer ignored."""
    scratch: tuple[str, ...] = ()
    """Paths left out because tools left them; a folder ends with `/`."""

    @property
    def left_out(self) -> tuple[str, ...]:
        return (*self.too_large, *self.unignored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    commit: str
    tree: str


class _LeftOut(NamedTuple):
    too_large: tuple[str, ...]
    unignored: tuple[str, ...]
    scratch: tuple[str, ...]
    excluded: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return (*self.too_large, *self.unignored, *self.scratch, *self.excluded)


async def take_baseline(checkout: Checkout) -> Baseline:
    found = await asyncio.to_thread(survey, checkout.folder)
    with checkout.copy_index() as git:
        ignored = await list_ignored(git)
    return Baseline(ignored=ignored, specials=found.specials, repositories=found.repositories)


async def list_ignored(git: Git) -> frozenset[str]:
    """Ignored paths that exist. A folder that a pattern matches stands for its content and ends with `/`."""
    listing = await git.run(
        "status",
        "--porcelain=v1",
        "-z",
        "--no-renames",
        "--ignore-submodules=all",
        "--untracked-files=normal",
        "--ignored=matching",
        timeout=TREE_SECONDS,
    )
    entries = os.fsdecode(listing).split("\0")
    return frozenset(entry[3:] for entry in entries if entry.startswith("!! "))


async def list_changed_and_untracked(git: Git) -> tuple[str, ...]:
    """Tracked paths whose files differ from the index or are missing, and untracked, not ignored ones.

    A repository inside the repository is one path that ends with `/`.
    """
    return await _list_files(git, "-m", "-d", "-o", "--exclude-standard")


async def list_untracked(git: Git) -> tuple[str, ...]:
    return await _list_files(git, "-o", "--exclude-standard")


async def list_scratch(checkout: Checkout, git: Git) -> frozenset[str]:
    """Untracked scratch (see `scratch.py`); a folder ends with `/`."""
    return await find_scratch_among(checkout, git, await list_untracked(git))


async def find_scratch_among(checkout: Checkout, git: Git, loose: Collection[str]) -> frozenset[str]:
    """The scratch among these untracked paths."""
    tracked = await _list_files(git, "-c") if loose else ()
    found = await asyncio.to_thread(find_scratch, checkout.folder, loose, tracked, checkout.wanted)
    return frozenset(found)


async def clear_oddities(checkout: Checkout, baseline: Baseline, into: Path) -> tuple[Oddity, ...]:
    """See `Worktree.clear_oddities`. Special files go first: a pipe could block the git command after it."""
    folder = checkout.folder
    found = await asyncio.to_thread(survey, folder)
    specials = sorted(found.specials - baseline.specials)
    moved = await asyncio.to_thread(_move_all, folder, specials, into)
    nested = sorted(found.repositories - baseline.repositories)
    with checkout.copy_index() as git:
        kept = await filter_in_unused_folders(checkout, git, nested)
    repositories = [path for path in nested if path not in kept]
    return (*moved, *await asyncio.to_thread(_move_all, folder, repositories, into))


async def take_snapshot(checkout: Checkout, *, exclude: frozenset[str], baseline: Baseline) -> Snapshot:
    """See `Worktree.snapshot`."""
    found = await asyncio.to_thread(survey, checkout.folder)
    if found.unreadable:
        raise TreeRefused("the folder cannot be read", where=found.unreadable[0] or str(checkout.folder))
    with checkout.copy_index() as git:
        # Before git reads any file, because an encoding changes how it reads them.
        loose = await list_untracked(git)
        scratch = await find_scratch_among(checkout, git, loose)
        await refuse_conversions(git, found, scratch)
        left_out = await _choose_left_out(
            checkout.folder, loose, exclude=exclude, baseline=baseline, scratch=scratch
        )
        refused = await _add_all(git, left_out.paths)
        if refused is not None:
            raise TreeRefused(f"git refuses the tree: {refused}", where=str(checkout.folder))
        listing = await git.run("ls-files", "-s", "-z", timeout=TREE_SECONDS)
        for entry in os.fsdecode(listing).split("\0"):
            # An agent that clones a repository into the folder would have its files left out of the commit
            # without a word, and gates would miss them.
            if entry.startswith("160000"):  # the mode of a submodule
                path = entry.partition("\t")[2]
                raise TreeRefused(
                    "git would store it as a link to another repository, without its files", where=path
                )
        tree = await git.text("write-tree")
    return Snapshot(
        tree=tree,
        too_large=left_out.too_large,
        unignored=left_out.unignored,
        scratch=left_out.scratch,
    )


async def build_candidate(
    checkout: Checkout,
    snapshot: Snapshot,
    *,
    parent: str,
    message: str,
    overlay: Mapping[str, bytes],
    ref: str,
    base: str,
) -> Candidate:
    """See `Worktree.build_candidate`."""
    store = checkout.store
    tree = await _add_overlay(checkout, snapshot.tree, overlay)
    commit = await store.commit_tree(tree, parent=parent, message=message)
    # The ref comes last. After a kill, a later process lands the commit that the journal names, and the
    # journal names a commit only after this function: by then its documents are remembered, its objects no
    # longer depend on what the user's `git gc` deletes, and `git fsck` has accepted them. A commit that fsck
    # refuses stays without a ref, so nothing leads to it.
    store.remember_documents(commit, overlay)
    pack = await store.pack(commit, base)
    await check_objects(store, pack, parent=parent, commit=commit)
    await store.git.run("update-ref", ref, commit)
    return Candidate(commit=commit, tree=tree)


async def salvage(
    checkout: Checkout, ref: str, *, parent: str, message: str, ignored_before: frozenset[str], base: str
) -> str:
    """See `Worktree.salvage`."""
    tree = await _salvage_tree(checkout, parent, ignored_before=ignored_before)
    commit = await checkout.store.commit_tree(tree, parent=parent, message=message)
    await checkout.store.keep(commit, ref, base=base)
    return commit


async def _add_overlay(checkout: Checkout, tree: str, overlay: Mapping[str, bytes]) -> str:
    """The tree with these files added. Raises LinkInPath when a link is on the path of one in the folder."""
    if not overlay:
        return tree
    with checkout.store.scratch_index() as index:
        git = checkout.git.with_index(index)
        await git.run("read-tree", tree, timeout=TREE_SECONDS)
        for path, content in overlay.items():
            # The document lands at this path in the user's folder. A link on the way would lead that write
            # elsewhere, so the candidate is refused now, while nothing has moved.
            await asyncio.to_thread(check_free_of_links, checkout.folder, path)
            blob = await git.text("hash-object", "-w", "--stdin", f"--path={path}", stdin=content)
            await git.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
        return await git.text("write-tree")


async def _salvage_tree(checkout: Checkout, parent: str, *, ignored_before: frozenset[str]) -> str:
    """The folder as far as git takes it; if git refuses a file, also all changed files as a tar.

    When the index itself cannot become a tree, because a merge of the user's left conflicts in it, the tar is
    added to the tree of `parent` instead. So there is always a commit that holds the work.
    """
    folder = checkout.folder
    with checkout.copy_index() as git:
        changed = await list_changed_and_untracked(git)
        loose = frozenset(await list_untracked(git))
        left_out = await asyncio.to_thread(_too_large, folder, loose)
        left_out |= {path for path in loose if _find_ignored_root(path, ignored_before) is not None}
        # What a snapshot leaves out must be left out here as well: the two are compared, and a difference
        # counts as the user's edit.
        scratch = await find_scratch_among(checkout, git, loose)
        kept = [path for path in changed if path not in left_out and not is_below(path, scratch)]
        taken = [path for path in kept if not path.endswith("/")]
        others = (path for path in changed if path.endswith("/") and path not in left_out)
        refused = await _add_all(git, {*left_out, *scratch, *others}, keep_going=True)
        if refused is None:
            return await git.text("write-tree")
        await _add_tar(git, folder, taken)
        written = await git.try_run("write-tree")
    if written.exit_code == 0:
        return os.fsdecode(written.stdout).strip()
    with checkout.store.scratch_index() as index:
        git = checkout.git.with_index(index)
        await git.run("read-tree", parent, timeout=TREE_SECONDS)
        await _add_tar(git, folder, taken)
        return await git.text("write-tree")


async def write_staged_tree(checkout: Checkout) -> str | None:
    """The user's index as a tree; None while it has conflicts of a merge, which no tree can hold."""
    with checkout.copy_index() as git:
        done = await git.try_run("write-tree")
    return os.fsdecode(done.stdout).strip() if done.exit_code == 0 else None


async def refuse_conversions(git: Git, found: Survey, scratch: frozenset[str]) -> None:
    """Raises TreeRefused when a path outside of scratch has a filter or an encoding.

    Git would commit what the filter makes of the file. Our repository defines no filter, so we would commit
    the file itself: the secret instead of its encrypted form, the large file instead of its pointer. An
    encoding that an attempt sets would change the bytes of files that it did not touch.
    """
    named = await find_conversion(git, found, scratch)
    if named is not None:
        path, attribute, value = named
        raise TreeRefused(
            f"its attributes set {attribute}={value}",
            where=path,
            hint="Filters (git-lfs, git-crypt, …) and working-tree encodings are not supported yet.",
        )


async def find_conversion(git: Git, found: Survey, scratch: frozenset[str]) -> tuple[str, str, str] | None:
    """The first path, outside of scratch, with a filter or an encoding: (path, attribute, value)."""
    named = (git.git_dir / USER_ATTRIBUTES, git.git_dir / "info" / "attributes")
    if not found.attributes and not any(
        attribute.encode() in path.read_bytes() for path in named for attribute in _CONVERSIONS
    ):
        return None  # spares asking git about each path, in most repositories
    paths = await git.run("ls-files", "-z", "-c", "-o", "--exclude-standard", timeout=TREE_SECONDS)
    answer = await git.run("check-attr", "-z", "--stdin", *_CONVERSIONS, stdin=paths, timeout=TREE_SECONDS)
    fields = os.fsdecode(answer).split("\0")
    for path, attribute, value in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        if value not in ("unspecified", "unset") and not is_below(path, scratch):
            return path, attribute, value
    return None


async def _list_files(git: Git, *which: str) -> tuple[str, ...]:
    listing = await git.run("ls-files", "-z", *which, timeout=TREE_SECONDS)
    return tuple(dict.fromkeys(path for path in os.fsdecode(listing).split("\0") if path))


async def _choose_left_out(
    folder: Path,
    loose: Iterable[str],
    *,
    exclude: frozenset[str],
    baseline: Baseline,
    scratch: frozenset[str],
) -> _LeftOut:
    roots = {path: _find_ignored_root(path, baseline.ignored) for path in loose}
    unignored = {root for root in roots.values() if root is not None}
    others = [path for path, root in roots.items() if root is None and not is_below(path, scratch)]
    nested = next((path for path in others if path.endswith("/")), None)
    if nested is not None:
        raise TreeRefused("it is a repository inside the repository", where=nested)
    return _LeftOut(
        too_large=tuple(sorted(await asyncio.to_thread(_too_large, folder, others))),
        unignored=tuple(sorted(unignored)),
        scratch=tuple(sorted(scratch - unignored)),
        excluded=tuple(path for path in others if path in exclude),
    )


def _find_ignored_root(path: str, ignored: frozenset[str]) -> str | None:
    """The path that was ignored before the attempt and equals or contains this one."""
    if path in ignored:
        return path
    end = path.find("/")
    while end >= 0:
        if path[: end + 1] in ignored:
            return path[: end + 1]
        end = path.find("/", end + 1)
    return None


def _too_large(folder: Path, paths: Iterable[str]) -> set[str]:
    found = set()
    for path in paths:
        with suppress(OSError):  # may be gone by now, or unreadable, which git will report
            if (folder / path).lstat().st_size > UNTRACKED_MAX_BYTES:
                found.add(path)
    return found


async def _add_all(git: Git, left_out: Iterable[str], *, keep_going: bool = False) -> str | None:
    """Add the whole folder to the index; returns git's own message when it refuses something, else None."""
    patterns = [":/", *(f":(top,exclude,literal){path}" for path in left_out)]
    flags = ("--ignore-errors",) if keep_going else ()
    done = await git.try_run(
        "add",
        "-A",
        *flags,
        "--pathspec-from-file=-",
        "--pathspec-file-nul",
        stdin=b"\0".join(map(os.fsencode, patterns)),
        timeout=TREE_SECONDS,
    )
    if done.exit_code == 0:
        return None
    return failure_text(done)


async def _add_tar(git: Git, folder: Path, paths: Iterable[str]) -> None:
    assert git.index is not None
    tar = git.index.with_name("salvaged.tar")
    await asyncio.to_thread(write_tar, folder, paths, tar)
    blob = await git.text("hash-object", "-w", "--no-filters", str(tar), timeout=TREE_SECONDS)
    await git.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{SALVAGED_TAR}")


async def filter_in_unused_folders(checkout: Checkout, git: Git, nested: Iterable[str]) -> frozenset[str]:
    """Those of these `.git` paths whose folder is ignored or scratch, so that nothing of it is committed."""
    holders = {path.rpartition("/")[0]: path for path in nested}
    if not holders:
        return frozenset()
    scratch = await list_scratch(checkout, git)
    unused = {path for path in holders if is_below(path, scratch)}
    unused |= await filter_ignored(git, holders.keys() - unused)
    return frozenset(holders[path] for path in unused)


async def filter_ignored(git: Git, paths: Iterable[str]) -> frozenset[str]:
    """Those of these paths that git ignores, whether they exist or not; a tracked path is never among them.

    A path of a folder may end with `/`, and is returned as it was given.
    """
    asked = b"\0".join(map(os.fsencode, paths))
    if not asked:
        return frozenset()
    done = await git.try_run("check-ignore", "-z", "--stdin", stdin=asked, timeout=TREE_SECONDS)
    if done.exit_code not in (0, 1):
        raise git_error(done, "check-ignore", git.git_dir)
    return frozenset(path for path in os.fsdecode(done.stdout).split("\0") if path)


async def is_ignored(checkout: Checkout, path: str, baseline: Baseline) -> bool:
    """See `Worktree.is_ignored`. A tracked file is never ignored."""
    with checkout.copy_index() as git:
        if await git.run("ls-files", "-z", "--", f":(top,literal){path}"):
            return False
        if _find_ignored_root(path, baseline.ignored) is not None:
            return True
        # Git does not look behind a link, and an agent may have replaced a folder by one.
        if any((checkout.folder / parent).is_symlink() for parent in PurePosixPath(path).parents):
            return False
        return bool(await filter_ignored(git, [path]))


def _move_all(folder: Path, paths: Sequence[str], into: Path) -> tuple[Oddity, ...]:
    moved = []
    into.mkdir(parents=True, exist_ok=True)
    first = sum(1 for _ in into.iterdir()) + 1
    for number, path in enumerate(paths, start=first):
        name = path.rpartition("/")[2][:100]
        try:
            moved.append(move_out(folder, path, into / f"{number}-{name}"))
        except OSError as error:
            raise TreeRefused(f"it cannot be moved away: {error.strerror}", where=path) from error
    return tuple(moved)
