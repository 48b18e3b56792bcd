"""Undo commits in the user's folder: the branch goes back first, then the files, then the index.

The caller has saved the folder's files before. Each step may be repeated without harm, so a call that was
killed is finished by calling again. An agent may have left links where folders were: files are written and
removed without following a link, and as the folder's owner. Ignored files stay. A file that would be
overwritten and is not in the saved tree is kept in our repository.
"""

import asyncio

from orchestrator.errors import WorkspaceError
from orchestrator.workspace.differences import ABSENT, LINK, Difference, differences
from orchestrator.workspace.git import TREE_SECONDS
from orchestrator.workspace.tree import LinkInPath, TreeRefused, read_file, remove_file, write_file
from orchestrator.workspace.user_index import hold_index, replace_index
from orchestrator.workspace.user_repository import UserRepository

FILE_MAX_BYTES = 2_000_000_000


async def undo_to(
    user: UserRepository, target: str, *, branch: str, expected: str, saved: str, untouched: frozenset[str]
) -> tuple[str, ...]:
    """Move `branch` from `expected` to `target`, with files and index; gives the changed paths.

    `saved` is the commit that holds the folder as it is now. Paths of `untouched` are left as they are.
    """
    async with hold_index(user.checkout, user.owner):
        await _check_head(user, branch)
        await user.move_branch(branch, to=target, expected=expected)
        # Remove before writing: a file may be where a folder is needed.
        found = sorted(await differences(user.store.git, saved, target), key=lambda each: each.mode != ABSENT)
        changed = [difference for difference in found if difference.path not in untouched]
        for difference in changed:
            await _apply(user, difference)
        await replace_index(user.checkout, target)
    return tuple(sorted(difference.path for difference in changed))


async def _check_head(user: UserRepository, branch: str) -> None:
    if await user.checked_out_branch() != branch:
        raise WorkspaceError(
            f"HEAD is no longer on {branch}; nothing was taken back",
            where=str(user.folder),
            hint=f"git switch {branch}",
        )


async def _apply(user: UserRepository, difference: Difference) -> None:
    folder, owner = user.folder, user.owner
    if difference.mode == ABSENT:
        await asyncio.to_thread(remove_file, folder, difference.path)
        return
    if difference.before == ABSENT:
        await _keep_unsaved(user, difference.path)
    # A link's content is where it leads; a file's gets the line ends that the user's checkout would have.
    how = ("blob",) if difference.mode == LINK else ("--filters", f"--path={difference.path}")
    content = await user.store.git.run("cat-file", *how, difference.blob, timeout=TREE_SECONDS)
    await asyncio.to_thread(write_file, folder, difference.path, content, owner, mode=difference.mode)


async def _keep_unsaved(user: UserRepository, path: str) -> None:
    """Keep a file that no commit holds, such as an ignored one, before the target's file replaces it."""
    try:
        content = await asyncio.to_thread(read_file, user.folder, path, FILE_MAX_BYTES)
    except LinkInPath:
        return
    except TreeRefused as error:
        raise WorkspaceError(f"it cannot be saved before it is replaced: {error.what}", where=path) from error
    if content is not None:
        await user.store.keep_replaced(content)
