"""Put commits of ours into the user's repository: objects first, then the branch, our own files, the index.

A delivery may be killed at any point. Objects that no ref names do no harm, and the branch never names a
commit whose objects are missing, because they come first. When the branch has moved but files and index have
not, a repeated delivery finishes them. The index is held from the first check of branch and index until the
new index is in place, so that no git command of the user's can come in between.
"""

import asyncio
import os
import tempfile
from pathlib import Path

from orchestrator.errors import WorkspaceError
from orchestrator.files import give_tree_to
from orchestrator.workspace.git import TREE_SECONDS, Git
from orchestrator.workspace.history import tree_of
from orchestrator.workspace.store import init_repository
from orchestrator.workspace.tree import read_file, write_file
from orchestrator.workspace.user_index import hold_index, replace_index
from orchestrator.workspace.user_repository import SAVED_REFS, UserRepository

UNPACK_LIMIT = 100
"""Changed paths above which a delivery stays a pack, like git's own transfer.unpackLimit."""
_OPEN_TO_ALL = "/tmp"  # noqa: S108 - the folder made in it has a name of its own and is closed to others
DOCUMENT_MAX_BYTES = 10_000_000


async def deliver(user: UserRepository, commit: str, *, branch: str, expected: str) -> None:
    """Move `branch` from `expected` to `commit`, and the index with it; files of the tree stay as they are.

    The commit's own documents are written into the folder. May be repeated: that is how a delivery that was
    killed is finished. WorkspaceError, and nothing has moved, when HEAD, branch or index are not as they were
    when the candidate was made.
    """
    if await user.branch_commit(branch) == expected:
        await send_objects(user, commit, expected)
    async with hold_index(user.checkout, user.owner):
        await _check_unmoved(user, commit, branch, expected)
        await _check_nothing_staged(user, commit, expected)
        await _check_documents(user, commit)
        await user.move_branch(branch, to=commit, expected=expected)
        await _write_documents(user, commit)
        await replace_index(user.checkout, commit)


async def export_to_user_repository(user: UserRepository, commit: str, *, run: str, base: str) -> None:
    """Put a commit of ours that holds the user's work into their repository, under a ref of the run."""
    await send_objects(user, commit, base)
    await user.git.run("update-ref", f"{SAVED_REFS}/{run}/{commit}", commit)


async def send_objects(user: UserRepository, commit: str, base: str) -> None:
    """Copy what `commit` has over `base` into the user's object store, as its owner.

    The receiving git must not read the user's configuration, which may include a file that an agent wrote. So
    it works in an empty repository made for this call, with the user's store as its object folder.
    """
    layout = user.store.layout
    # Root's own TMPDIR may be closed to others.
    place = None if layout.owner_identity is None else _OPEN_TO_ALL
    with tempfile.TemporaryDirectory(prefix="ktrdr-delivery-", dir=place) as scratch:
        empty = Path(scratch) / "empty.git"
        await init_repository(empty, layout)
        if layout.owner_identity is not None:
            give_tree_to(Path(scratch), layout.owner)
        receiver = Git(
            git_dir=empty,
            folder=layout.folder,
            cwd=layout.folder,
            identity=layout.owner_identity,
            objects=layout.object_stores[0],
            alternates=layout.object_stores[1:],
            config=("core.fsync=committed,loose-object", *_sharing(user)),
        )
        many = await _changed_paths(user, base, commit) > UNPACK_LIMIT
        into = ("index-pack", "--stdin", "--fix-thin") if many else ("unpack-objects", "-q")
        await user.store.git.stream(
            ("pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"),
            receiver,
            into,
            stdin=f"{commit}\n^{base}\n".encode(),
        )


async def _check_unmoved(user: UserRepository, commit: str, branch: str, expected: str) -> None:
    current = await user.checked_out_branch()
    if current != branch:
        where = current or "a detached commit"
        raise _moved(user, commit, f"HEAD is on {where}, no longer on {branch}", f"git switch {branch}")
    at = await user.branch_commit(branch)
    if at not in (commit, expected):
        raise _moved(user, commit, f"{branch} is at {at}, not at {expected}", f"git log {expected}..{branch}")


async def _check_nothing_staged(user: UserRepository, commit: str, expected: str) -> None:
    with user.checkout.index_copy() as git:
        staged = await git.try_run("write-tree")
    tree = os.fsdecode(staged.stdout).strip()
    if tree not in [await tree_of(user.store, entry) for entry in {commit, expected}]:
        raise _moved(user, commit, f"something was staged on top of {expected}", "git reset (files stay)")


def _moved(user: UserRepository, commit: str, what: str, hint: str) -> WorkspaceError:
    return WorkspaceError(
        f"{what}; the candidate {commit} is kept and was not delivered",
        where=str(user.folder),
        hint=f"Look with: {hint}",
    )


async def _changed_paths(user: UserRepository, old: str, new: str) -> int:
    listing = await user.store.git.run(
        "diff-tree", "-r", "-z", "--no-renames", "--name-only", old, new, timeout=TREE_SECONDS
    )
    return listing.count(b"\0")


def _sharing(user: UserRepository) -> tuple[str, ...]:
    return (f"core.sharedRepository={user.store.shared}",) if user.store.shared else ()


async def _check_documents(user: UserRepository, commit: str) -> None:
    for path in user.store.documents(commit):
        await asyncio.to_thread(read_file, user.folder, path, DOCUMENT_MAX_BYTES)


async def _write_documents(user: UserRepository, commit: str) -> None:
    for path in user.store.documents(commit):
        blob = f"{commit}:{path}"
        content = await user.store.git.run("cat-file", "--filters", blob)
        there = await asyncio.to_thread(read_file, user.folder, path, DOCUMENT_MAX_BYTES)
        if there == content:
            continue
        if there is not None:
            await user.store.keep_replaced(there)
        try:
            await asyncio.to_thread(write_file, user.folder, path, content, user.owner)
        except OSError as error:
            raise WorkspaceError(
                f"it cannot be written: {error.strerror}", where=path, hint="Make it writable, then resume."
            ) from error
