"""Undo commits in the user's folder: first the branch moves back, then the files, then the index.

**A kill.** The caller has saved the folder as a commit before, so every file can be had again. Each step may
be repeated: the branch moves only if it has not moved yet, and writing the same content or removing an absent
file changes nothing. A killed undo is completed by calling again with the same arguments.

**Links.** An agent may have left a link where a folder was, for example `docs` pointing to `/etc`. Files are
written and removed as the folder's owner, and without following any link on their way.

**Files in no commit.** Ignored files are not in the saved tree and stay. If the target has a file where an
ignored one is, the ignored one is kept in our repository before it is overwritten.
"""

import asyncio

from orchestrator.errors import WorkspaceError
from orchestrator.workspace.differences import ABSENT, LINK, Difference, list_differences
from orchestrator.workspace.git import TREE_SECONDS
from orchestrator.workspace.tree import LinkInPath, TreeRefused, read_file, remove_file, write_file
from orchestrator.workspace.user_index import hold_index, replace_index
from orchestrator.workspace.user_repository import UserRepository

FILE_MAX_BYTES = 2_000_000_000


async def undo_to(
    user: UserRepository, target: str, *, branch: str, expected: str, saved: str, untouched: frozenset[str]
) -> tuple[str, ...]:
    """Move `branch` from `expected` to `target`, with files and index; return the changed paths.

    `saved` is the commit that holds the folder as it is now. Paths of `untouched` are left as they are.
    Raises WorkspaceError, and changes nothing, when HEAD is not on `branch`.
    """
    async with hold_index(user.checkout, user.owner):
        if await user.find_checked_out_branch() != branch:
            raise WorkspaceError(
                f"HEAD is no longer on {branch}; nothing was undone",
                where=str(user.folder),
                hint=f"Switch to it: git switch {branch}",
            )
        # The branch first: if it has moved in the meantime, nothing was written yet. If we are killed after
        # this line, a fact in the journal announces the move, and the next command repeats the rest.
        await user.move_branch(branch, to=target, expected=expected)
        found = await list_differences(user.store.git, saved, target)
        changed = [difference for difference in found if difference.path not in untouched]
        # Remove before writing: a file may be where a folder is needed.
        for difference in sorted(changed, key=lambda each: each.mode != ABSENT):
            await _apply(user, difference)
        await replace_index(user.checkout, target)
    return tuple(sorted(difference.path for difference in changed))


async def lay_over(
    user: UserRepository, commit: str, *, onto: str, branch: str, untouched: frozenset[str]
) -> None:
    """Write the changes of `commit` against `onto` into the folder, which is as `onto` is; nothing is staged.

    Paths of `untouched` are left as they are. Raises WorkspaceError, and changes nothing, when HEAD is not on
    `branch` or the branch is not at `onto`.
    """
    async with hold_index(user.checkout, user.owner):
        if await user.find_checked_out_commit(branch) != onto:
            raise WorkspaceError(
                f"{branch} has moved; no file was written",
                where=str(user.folder),
                hint="Try again: orchestrator resume",
            )
        found = await list_differences(user.store.git, onto, commit)
        changed = [difference for difference in found if difference.path not in untouched]
        for difference in sorted(changed, key=lambda each: each.mode != ABSENT):
            await _apply(user, difference)


async def _apply(user: UserRepository, difference: Difference) -> None:
    folder, owner = user.folder, user.owner
    if difference.mode == ABSENT:
        await asyncio.to_thread(remove_file, folder, difference.path)
        return
    # The saved tree has no such file, but the folder may: one that git ignores is in no commit.
    if difference.before == ABSENT:
        await _keep_unsaved(user, difference.path)
    # The content of a link is its target. A file gets the line endings that the user's git would write.
    how = ("blob",) if difference.mode == LINK else ("--filters", f"--path={difference.path}")
    content = await user.store.git.run("cat-file", *how, difference.blob, timeout=TREE_SECONDS)
    await asyncio.to_thread(write_file, folder, difference.path, content, owner, mode=difference.mode)


async def _keep_unsaved(user: UserRepository, path: str) -> None:
    """Keep a file that no commit holds, such as an ignored one, before the target's file replaces it.

    A link, or something below a link, has no content of its own to keep: writing will replace or refuse it.
    """
    try:
        content = await asyncio.to_thread(read_file, user.folder, path, FILE_MAX_BYTES)
    except LinkInPath:
        return
    except TreeRefused as error:
        raise WorkspaceError(f"cannot be saved before it is replaced: {error.what}", where=path) from error
    if content is not None:
        await user.store.keep_replaced(content)
