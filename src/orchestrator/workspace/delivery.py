"""Deliver our commits to the user's repository: objects, then the branch, our documents, and the index.

**A kill.** A delivery can be killed between any two steps, and the user may work on before anybody repeats
it. So the order is chosen such that each prefix of it is harmless. Objects that no ref names are ignored by
git and collected later. The branch never names a commit whose objects are missing, because the objects are
stored and synced before it moves. If the branch has moved and documents or index have not, `git status` shows
the difference, and repeating the delivery completes it: each step checks whether it has been done.

**The user at work.** The user may commit, switch branches or stage files at any time, also between our checks
and our writes. Moving the branch is a compare-and-swap (`update-ref` with the expected commit). The index has
no such operation, so we hold its lock from the first check of branch and index until the new index is in
place: a git command of the user's fails in that time instead of being undone by ours.

**Files of the tree** are not touched: the candidate was made from them. If the user has edited one since, the
edit is then a change against the new commit, as it should be.
"""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

from orchestrator.errors import WorkspaceError
from orchestrator.files import DRAFTS, give_tree_to
from orchestrator.text import shell_word
from orchestrator.workspace.differences import list_differences
from orchestrator.workspace.git import TREE_SECONDS, Git
from orchestrator.workspace.history import tree_of
from orchestrator.workspace.store import init_repository
from orchestrator.workspace.tree import read_file, remove_file, write_file
from orchestrator.workspace.user_index import hold_index, replace_index
from orchestrator.workspace.user_repository import SAVED_REFS, UserRepository

UNPACK_LIMIT = 100
"""Changed paths above which a delivery stays a pack, like git's own transfer.unpackLimit."""
_OPEN_TO_ALL = "/tmp"  # noqa: S108 - the folder made in it has a name of its own and is closed to others
DOCUMENT_MAX_BYTES = 10_000_000


async def deliver(user: UserRepository, commit: str, *, branch: str, expected: str) -> None:
    """Move `branch` from `expected` to `commit`, and the index with it; write the commit's documents.

    May be repeated, which completes a delivery that was killed. Raises WorkspaceError, and changes nothing,
    when HEAD, branch or index are not as they were when the candidate was made.
    """
    # Before the index is held: a large commit takes minutes, and the user's git would fail all that time. If
    # the branch is elsewhere, either the objects arrived before a kill, or `_check_unmoved` refuses.
    if await user.find_branch_commit(branch) == expected:
        await send_objects(user, commit, expected)
    async with hold_index(user.checkout, user.owner):
        # Not before the index is held: until then the user may have switched branches, committed, or staged a
        # file.
        await _check_unmoved(user, commit, branch, expected)
        await _check_nothing_staged(user, commit, expected)
        # A document that cannot be written must be found now, while nothing has changed yet.
        for path in user.store.documents(commit):
            await asyncio.to_thread(read_file, user.folder, path, DOCUMENT_MAX_BYTES)
        await user.move_branch(branch, to=commit, expected=expected)
        await _write_documents(user, commit)
        await replace_index(user.checkout, commit)


async def export_to_user_repository(user: UserRepository, commit: str, *, run: str, base: str) -> None:
    """Store a commit that holds the user's work in their own repository, under a ref of the run."""
    await send_objects(user, commit, base)
    await user.git.run("update-ref", f"{SAVED_REFS}/{run}/{commit}", commit)


async def send_objects(user: UserRepository, commit: str, base: str) -> None:
    """Copy the objects that `commit` has and `base` has not into the user's object store, as its owner.

    The receiving git must not run in the user's repository: their configuration may include a file of the
    code folder, an agent may have written that file, and a setting in it can name a program. So an empty
    repository is made for this call, and the user's object store is given to git as its object folder.
    """
    layout, shared = user.store.layout, user.store.shared
    prefix, parent = _scratch_place(user)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as scratch:
        empty = Path(scratch) / "empty.git"
        init_repository(empty, layout.object_format)
        if layout.owner_identity is not None:
            give_tree_to(Path(scratch), layout.owner)
        receiver = Git(
            git_dir=empty,
            folder=layout.folder,
            cwd=layout.folder,
            identity=layout.owner_identity,
            objects=layout.object_stores[0],
            alternates=layout.object_stores[1:],
            config=(
                # The objects are on disk before the branch names them. After a power failure, a branch whose
                # commit is missing would make the user's repository unusable.
                "core.fsync=committed,loose-object",
                *([f"core.sharedRepository={shared}"] if shared else []),
            ),
        )
        changed = await list_differences(user.store.git, base, commit)
        into = (
            ("index-pack", "--stdin", "--fix-thin")
            if len(changed) > UNPACK_LIMIT
            else ("unpack-objects", "-q")
        )
        await user.store.git.stream(
            ("pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"),
            receiver,
            into,
            stdin=f"{commit}\n^{base}\n".encode(),
        )


def _scratch_place(user: UserRepository) -> tuple[str, str]:
    """The beginning of the name of a scratch folder for this code folder, and the folder that it is in."""
    # Root's own TMPDIR may be closed to others.
    parent = tempfile.gettempdir() if user.store.layout.owner_identity is None else _OPEN_TO_ALL
    return f"ktrdr-delivery-{user.store.name}-", parent


def remove_scratch_folders(user: UserRepository) -> None:
    """Remove the scratch folders that killed deliveries to this code folder left; requires its lock."""
    prefix, parent = _scratch_place(user)
    for folder in Path(parent).glob(f"{prefix}*"):
        # Other users can make names in that folder; a link is not followed.
        if folder.lstat().st_uid in (os.geteuid(), user.store.layout.owner.uid):
            shutil.rmtree(folder, ignore_errors=True)


async def remove_drafts(user: UserRepository) -> None:
    """Remove the drafts of files that a killed delivery, undo or lay back left in the code folder."""
    pattern = f":(glob)**/{DRAFTS}"
    # Git follows no link in the folder. It has no index here, so every file in it counts as another one.
    found = await user.store.git.run(
        "ls-files", "--others", "--exclude-standard", "-z", "--", pattern, timeout=TREE_SECONDS
    )
    for path in filter(None, os.fsdecode(found).split("\0")):
        await asyncio.to_thread(remove_file, user.folder, path)


async def _check_unmoved(user: UserRepository, commit: str, branch: str, expected: str) -> None:
    current = await user.find_checked_out_branch()
    name = shell_word(branch)
    if current != branch:
        where = f"branch {current}" if current else "a detached commit"
        raise _delivery_error(
            commit, f"the folder is on {where}, not on {branch}", f"Switch back: git switch {name}"
        )
    at = await user.find_branch_commit(branch)
    # `commit` counts as unmoved, too: then an earlier delivery moved the branch and was killed, and this one
    # completes it.
    if at not in (commit, expected):
        if at is None:
            what, hint = "is gone", f"Create it again: git branch {name} {expected}"
        else:
            what = f"is at {at[:12]}, not at {expected[:12]}"
            hint = f"See what is new: git log {expected[:12]}..refs/heads/{name}"
        raise _delivery_error(commit, f"branch {branch} {what}", hint)


async def _check_nothing_staged(user: UserRepository, commit: str, expected: str) -> None:
    with user.checkout.copy_index() as git:
        staged = await git.try_run("write-tree")
    tree = os.fsdecode(staged.stdout).strip()
    # The index of `commit` is that of a delivery that was killed after its last step. Every other tree
    # contains something that the user has staged, and replacing the index would lose it.
    if tree not in [await tree_of(user.store, entry) for entry in {commit, expected}]:
        raise _delivery_error(
            commit,
            "changes were staged while the task was carried out",
            "Commit or unstage them; to see them: git diff --cached",
        )


def _delivery_error(commit: str, what: str, hint: str) -> WorkspaceError:
    return WorkspaceError(
        f"{what}. The commit of the task was not added to the branch and is kept ({commit[:12]})", hint=hint
    )


async def _write_documents(user: UserRepository, commit: str) -> None:
    for path in user.store.documents(commit):
        blob = f"{commit}:{path}"
        content = await user.store.git.run("cat-file", "--filters", blob)
        present = await asyncio.to_thread(read_file, user.folder, path, DOCUMENT_MAX_BYTES)
        if present == content:
            continue
        if present is not None:
            # The user or the agent wrote a file of this name, and perhaps no commit holds it.
            await user.store.keep_replaced(present)
        try:
            await asyncio.to_thread(write_file, user.folder, path, content, user.owner)
        except OSError as error:
            raise WorkspaceError(
                f"cannot be written: {error.strerror}",
                where=path,
                hint="Make it writable, then: orchestrator resume",
            ) from error
