"""Undo commits of a run: carry out an undo, finish one that was killed, notice one that the user did by hand.

The order is: save the folder as a commit, append `undo_started` with everything that is needed, move branch,
index and files, append `work_undone`. A kill leaves one of two things. Without `undo_started` nothing has
moved. With it, and without `work_undone`, anything may have moved, and each step may be repeated: the next
command finishes the undo before it does anything else.
"""

from dataclasses import dataclass

from msgspec import structs

from orchestrator.errors import EnvironmentInvalid
from orchestrator.project.run_folder import RunFolder
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.facts import Notice, UndoneTask, UndoStarted, WorkUndone
from orchestrator.workspace import history
from orchestrator.workspace.delivery import export_to_user_repository
from orchestrator.workspace.restoration import undo_to
from orchestrator.workspace.workspace import Workspace


async def carry_out_undo(
    workspace: Workspace, journal: RunJournal, undo: UndoStarted, untouched: frozenset[str]
) -> None:
    """Move branch, index and files to the target, and append that it is done; `undo_started` is stored.

    Files of `undo.spared`, and those of `untouched`, stay. `undo.saved` holds the folder from before. It is
    exported first: the user must be able to reach it with their own git as soon as a file has changed.
    """
    start = journal.state.start
    await export_to_user_repository(workspace.user, undo.saved, run=journal.state.run, base=start.base)
    spared = frozenset(undo.spared)
    # Not `undone` until everything has moved: a kill in between leaves `undo_started` as the last word, and
    # the next command repeats the whole undo.
    await undo_to(
        workspace.user,
        undo.target,
        branch=start.branch,
        expected=undo.expected,
        saved=undo.saved,
        untouched=untouched | spared,
    )
    await journal.append(WorkUndone(tasks=undo.tasks))


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedUndo:
    """The result of an undo that was killed and is now carried to its end."""

    undo: UndoStarted
    saved: tuple[str, ...]
    """Commits that hold the folder from before, newest first."""
    is_cancelled: bool


async def finish_undo(
    workspace: Workspace, journal: RunJournal, folder: RunFolder, untouched: frozenset[str]
) -> FinishedUndo | None:
    """Finish an undo that was killed; cancel it when the branch has moved since. None: there is none.

    The user may have worked in the folder after the kill. So the folder is saved again, and the undo is
    announced again with that commit: what counts as the folder from before is the newest one.

    Raises EnvironmentInvalid when HEAD is not on the branch.
    """
    undo, start = journal.state.undo, journal.state.start
    if undo is None:
        return None
    at = await workspace.user.find_branch_commit(start.branch)
    if at not in (undo.expected, undo.target):
        await _cancel_undo(workspace, journal, undo, at)
        return FinishedUndo(undo=undo, saved=(undo.saved,), is_cancelled=True)
    if (await workspace.user.head()).branch != start.branch:
        raise EnvironmentInvalid(
            f"an undo of run {journal.state.run} was interrupted and has to be finished, "
            f"but HEAD is not on {start.branch}",
            where=str(workspace.tree.folder),
            hint=f"Switch to it: git switch {start.branch}",
        )
    ref = await journal.reserve_ref("undo")
    saved = await workspace.tree.salvage(
        ref,
        parent=at,
        message="Folder before an undo was finished\n",
        ignored_before=folder.list_paths_ignored_before(),
        base=start.base,
    )
    again = structs.replace(undo, saved=saved, ref=ref)
    await journal.append(again)
    await journal.append(
        Notice(text=f"an interrupted undo is finished now; the folder before this: git show {saved}")
    )
    await carry_out_undo(workspace, journal, again, untouched)
    return FinishedUndo(undo=again, saved=(saved, undo.saved), is_cancelled=False)


async def _cancel_undo(workspace: Workspace, journal: RunJournal, undo: UndoStarted, at: str | None) -> None:
    """Leave files and branch alone.

    Tasks whose commits are not on the branch are pending again all the same.
    """
    start = journal.state.start
    await export_to_user_repository(workspace.user, undo.saved, run=journal.state.run, base=start.base)
    gone = [task for task in undo.tasks if at is None or not await _is_on(workspace, task, at)]
    await journal.append(
        Notice(
            text=f"an interrupted undo is cancelled, because {start.branch} "
            f"{'no longer exists' if at is None else f'has moved to {at}'}; "
            f"the folder before the undo: git show {undo.saved}"
        )
    )
    await journal.append(WorkUndone(tasks=tuple(gone), folder_too=False))


async def reopen_lost_tasks(workspace: Workspace, journal: RunJournal) -> None:
    """Tasks whose commits the user has removed from the branch are pending again.

    A commit that the user has rewritten (amended, rebased, squashed) still counts: its message names the run
    and the task. Without that, a rebase would have everything done a second time.
    """
    state, branch = journal.state, journal.state.start.branch
    tip = await workspace.user.find_branch_commit(branch)
    if not state.branch_ready or tip is None:
        return
    finished = [(id, task.finished.commit) for id, task in state.tasks.items() if task.finished is not None]
    landed = [UndoneTask(task=id, commit=commit) for id, commit in finished if commit is not None]
    lost = [task for task in landed if not await _is_on(workspace, task, tip)]
    if not lost:
        return
    replaced = frozenset(commit for task in state.tasks.values() for commit in task.replaced)
    rewritten = await history.find_landed(
        workspace.store, tip=tip, base=state.start.base, run=state.run, besides=replaced
    )
    gone = tuple(task for task in lost if task.task not in rewritten)
    for task in gone:
        text = f"task {task.task} is pending again: its commit {task.commit} is no longer on {branch}"
        await journal.append(Notice(text=text))
    if gone:
        await journal.append(WorkUndone(tasks=gone, folder_too=False))


async def _is_on(workspace: Workspace, task: UndoneTask, tip: str) -> bool:
    return await history.is_ancestor(workspace.store, task.commit, tip)
