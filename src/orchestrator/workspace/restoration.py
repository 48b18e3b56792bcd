"""Bring a folder back to an earlier commit of a branch: branch first, then files, then index.

Whoever calls has saved the folder's tree before. Every step is harmless when done again, so a call that was
killed is finished by calling again. Files are touched without following links and as the folder's owner;
ignored files stay, and what would be overwritten without having been saved is kept in our repository.
"""

import asyncio
import os

from orchestrator.errors import WorkspaceError
from orchestrator.workspace import candidate as candidates
from orchestrator.workspace.delivery import index_of_users, keep_replaced, move_branch, replace_index
from orchestrator.workspace.differences import ABSENT, LINK, Difference, differences
from orchestrator.workspace.git import TREE_SECONDS
from orchestrator.workspace.repository import OwnRepository
from orchestrator.workspace.tree import LinkInPath, TreeRefused, read_file, remove_file, write_file

FILE_MAX_BYTES = 2_000_000_000


async def bring_back(
    own: OwnRepository, target: str, *, branch: str, expected: str, saved: str, untouched: frozenset[str]
) -> tuple[str, ...]:
    """Move `branch` from `expected` to `target`, and index and files with it; gives the changed paths.

    `saved` is the commit that holds the folder as it is. `untouched` are paths that are left as they are.
    """
    async with index_of_users(own.layout):
        await _check_head(own, branch)
        await move_branch(own, branch, target, expected)
        # First what goes: a file may stand where a folder has to come.
        found = sorted(await differences(own, saved, target), key=lambda each: each.mode != ABSENT)
        changed = [difference for difference in found if difference.path not in untouched]
        for difference in changed:
            await _apply(own, difference)
        await replace_index(own, target)
    return tuple(sorted(difference.path for difference in changed))


async def _check_head(own: OwnRepository, branch: str) -> None:
    head = await own.layout.users_git.try_run("symbolic-ref", "--quiet", "HEAD")
    if os.fsdecode(head.stdout).strip() != f"refs/heads/{branch}":
        raise WorkspaceError(
            f"HEAD is no longer on {branch}; nothing was taken back",
            where=str(own.layout.folder),
            hint=f"git switch {branch}",
        )


async def _apply(own: OwnRepository, difference: Difference) -> None:
    folder, owner = own.layout.folder, own.layout.owner
    if difference.mode == ABSENT:
        await asyncio.to_thread(remove_file, folder, difference.path)
        return
    if difference.before == ABSENT:
        await _keep_unsaved(own, difference.path)
    # A link's content is where it leads; a file's gets the line ends that the user's checkout would have.
    how = ("blob",) if difference.mode == LINK else ("--filters", f"--path={difference.path}")
    content = await own.git.run("cat-file", *how, difference.blob, timeout=TREE_SECONDS)
    await asyncio.to_thread(write_file, folder, difference.path, content, owner, mode=difference.mode)


async def _keep_unsaved(own: OwnRepository, path: str) -> None:
    """An ignored file may stand where the target has one."""
    try:
        content = await asyncio.to_thread(read_file, own.layout.folder, path, FILE_MAX_BYTES)
    except LinkInPath:
        return
    except TreeRefused as error:
        raise WorkspaceError(f"it cannot be saved before it is replaced: {error.what}", where=path) from error
    if content is not None:
        await keep_replaced(own, content)


async def commit_paths(
    own: OwnRepository, *, parent: str, tree: str, paths: tuple[str, ...], message: str
) -> str:
    """A commit on `parent` that takes only these paths from `tree`; a path that is not there is removed."""
    listing = await own.git.run("ls-tree", "-r", "-z", "--full-tree", tree, timeout=TREE_SECONDS)
    wanted = set(paths)
    entries = {path: head for head, path in _entries(os.fsdecode(listing)) if path in wanted}
    gone = "0" * len(parent)
    lines = [f"{entries.get(path, f'000000 {gone}')}\t{path}\0" for path in paths]
    with own.empty_index() as git:
        await git.run("read-tree", parent, timeout=TREE_SECONDS)
        await git.run("update-index", "-z", "--index-info", stdin=os.fsencode("".join(lines)))
        made = await git.text("write-tree")
    return await candidates.commit_tree(own, made, parent=parent, message=message)


def _entries(listing: str) -> list[tuple[str, str]]:
    """(mode, type and id as `update-index --index-info` takes them; path)."""
    rows = [row.partition("\t") for row in listing.split("\0") if row]
    return [(head, path) for head, _, path in rows]
