"""Carry out an undo that the journal has announced, finish one that was killed, and see one by hand."""

from dataclasses import dataclass

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
    """Bring branch, index and files back, then close the intent. `undo.saved` is the folder as it is."""
    await export_to_user_repository(
        workspace.user, undo.saved, run=journal.state.run, base=journal.state.start.base
    )
    await undo_to(
        workspace.user,
        undo.target,
        branch=journal.state.start.branch,
        expected=undo.expected,
        saved=undo.saved,
        untouched=untouched,
    )
    await journal.append(WorkUndone(tasks=undo.tasks))


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedUndo:
    """What became of an undo that was killed."""

    undo: UndoStarted
    saved: tuple[str, ...]
    """Commits that hold the folder as it was, newest first."""
    given_up: bool


async def finish_undo(
    workspace: Workspace, journal: RunJournal, folder: RunFolder, untouched: frozenset[str]
) -> FinishedUndo | None:
    """Go on with an undo that was killed, or give it up when the branch has gone its own way since.

    The folder is saved anew first: somebody may have worked in it in between. None: there is no such undo.
    """
    undo = journal.state.undo
    if undo is None:
        return None
    branch = journal.state.start.branch
    at = await workspace.user.branch_commit(branch)
    if at not in (undo.expected, undo.target):
        await _give_up(workspace, journal, undo, at)
        return FinishedUndo(undo=undo, saved=(undo.saved,), given_up=True)
    if (await workspace.user.head()).branch != branch:
        raise EnvironmentInvalid(
            f"an undo of run {journal.state.run} is to be finished, and HEAD is not on {branch}",
            where=str(workspace.tree.folder),
            hint=f"git switch {branch}",
        )
    ref = await journal.reserve_ref("undo")
    message = "Folder before an undo was finished\n"
    saved = await workspace.tree.salvage(
        ref,
        parent=at,
        message=message,
        ignored_before=folder.ignored_before(),
        base=journal.state.start.base,
    )
    again = UndoStarted(target=undo.target, expected=undo.expected, saved=saved, ref=ref, tasks=undo.tasks)
    await journal.append(again)
    await journal.append(
        Notice(text=f"an undo that was killed is finished; the folder before: git show {saved}")
    )
    await carry_out_undo(workspace, journal, again, untouched)
    return FinishedUndo(undo=again, saved=(saved, undo.saved), given_up=False)


async def _give_up(workspace: Workspace, journal: RunJournal, undo: UndoStarted, at: str | None) -> None:
    """Files and branch stay as they are now; what is off the branch all the same is pending again."""
    await export_to_user_repository(
        workspace.user, undo.saved, run=journal.state.run, base=journal.state.start.base
    )
    gone = [task for task in undo.tasks if at is None or not await _is_on(workspace, task, at)]
    branch = journal.state.start.branch
    await journal.append(
        Notice(
            text=f"an undo that was killed is given up, because {branch} is at {at or 'no commit'} now; "
            f"the folder before it: git show {undo.saved}"
        )
    )
    await journal.append(WorkUndone(tasks=tuple(gone), folder_too=False))


async def see_lost(workspace: Workspace, journal: RunJournal) -> None:
    """Tasks whose commits somebody took off the branch are pending again: what is not there is not done."""
    state, branch = journal.state, journal.state.start.branch
    tip = await workspace.user.branch_commit(branch)
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
