"""The code folder after an attempt: cleared of what git cannot store, and saved as a commit."""

import asyncio

from orchestrator.containers.names import component
from orchestrator.engine.context import RunRecords, RunTerms
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.run.facts import Notice, TreeSaved
from orchestrator.run.handoff import handoff_path
from orchestrator.run.state import AttemptState, RunState
from orchestrator.text import plain
from orchestrator.workspace import history
from orchestrator.workspace.tree import Baseline, TreeRefused
from orchestrator.workspace.workspace import Workspace


def attempt_folders(records: RunRecords, task: str, number: int) -> AttemptFolders:
    return records.folder.attempt(component(task), number)


async def clear_oddities(
    records: RunRecords, workspace: Workspace, task: str, number: int
) -> tuple[Baseline, tuple[str, ...]]:
    """Move what git cannot store, and was not there before the attempt, into the attempt's folder.

    Gives what was there before, and the paths that were moved. Call it before any git command reads a folder
    in which an agent has worked: a pipe called `.gitignore` would block that command forever.
    """
    folders = attempt_folders(records, task, number)
    baseline = Baseline.from_json(folders.baseline.read_text("utf-8"))
    moved = await workspace.tree.clear_oddities(baseline, folders.moved_away)
    return baseline, tuple(plain(oddity.path) for oddity in moved)


async def save_tree(records: RunRecords, workspace: Workspace, task: str, attempt: AttemptState) -> None:
    """Save the present folder as a commit in our repository.

    The commit keeps the agent's work. It is also the only way to distinguish that work from the user's later:
    a later difference from it is the user's (see `edits`). So it is made before the user gets their prompt
    back.
    """
    await clear_oddities(records, workspace, task, attempt.number)
    ref = f"refs/ktrdr/trees/{records.run}/{component(task)}/{attempt.number}"
    commit = await workspace.tree.salvage(
        ref,
        parent=attempt.start.parent,
        message=f"Tree of attempt {task}/{attempt.number}",
        ignored_before=await asyncio.to_thread(records.folder.list_paths_ignored_before),
        base=records.start.base,
    )
    await records.journal.append(TreeSaved(ref=ref, commit=commit), task=task, attempt=attempt.number)


async def has_changed_files(
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    state: RunState,
    task: str,
    attempt: AttemptState,
) -> bool:
    """Whether the folder differs, apart from the hand-off, from the commit that the task started from.

    A tree that cannot be committed counts as changed: making its candidate reports what is wrong with it.
    """
    folders = attempt_folders(records, task, attempt.number)
    baseline, moved_away = await clear_oddities(records, workspace, task, attempt.number)
    for path in moved_away:
        # The candidate, which otherwise lists these paths, is made later and does not find them any more.
        text = f"git cannot commit {path}, so it was moved out of the folder, to {folders.moved_away}"
        await records.journal.append(Notice(text=text), task=task, attempt=attempt.number)
    try:
        snapshot = await workspace.tree.snapshot(exclude=terms.untracked, baseline=baseline)
    except TreeRefused:
        return True
    first = state.tasks[task].parent or attempt.parent
    changes = await history.changes(workspace.store, first, snapshot.tree)
    return any(change.path != handoff_path(terms.plan.path) for change in changes)
