"""Saves the files of an unfinished attempt, clears them for another task, and restores them at `resume`.

All tasks work in the user's one folder. Before a task begins that does not depend on one that failed or
asked, the files of that one are saved as a commit in our own repository, and the folder returns to the state
of the branch. Ignored files, and files that no candidate would hold, stay where they are.

When the first task is tried again, its files are laid over the branch as it is then. They are laid over it as
a whole or not at all: half of an agent's work beside another version of the rest would be a tree that no
attempt has made. So if a landed task or the user has changed one of the files since, nothing is laid over the
branch, and the next attempt reads in its prompt what had been changed.

**A kill.** Each of the two is an intent, then the files, then the result. With an intent and without a
result the folder may be half of each. It is then saved as it is and returned to the branch's state first, so
that the rest can be done from a known state.
"""

from functools import partial

from orchestrator.engine.attempt_tree import clear_oddities
from orchestrator.engine.context import RunRecords, RunTerms
from orchestrator.engine.edits import commit_user_edits, is_entangled
from orchestrator.errors import WorkspaceError
from orchestrator.run.facts import LayBackStarted, Notice, SetAsideStarted, TreeLaidBack, TreeSetAside
from orchestrator.run.handoff import handoff_path
from orchestrator.run.state import AttemptState
from orchestrator.text import plain
from orchestrator.workspace import history
from orchestrator.workspace.delivery import export_to_user_repository
from orchestrator.workspace.restoration import lay_over, undo_to
from orchestrator.workspace.tree import TreeRefused
from orchestrator.workspace.workspace import Workspace

SHOWN_PATHS = 5
DIFF_LIMIT_BYTES = 60_000
"""Of what was set aside, in the prompt of the next attempt."""


async def set_aside(
    records: RunRecords, terms: RunTerms, workspace: Workspace, task: str, attempt: AttemptState
) -> None:
    """Save what the attempt left, and return the folder to the branch's state.

    What the user has changed since, and the attempt had not touched, is committed as theirs first. Raises
    WorkspaceError when git cannot store the folder.
    """
    if attempt.is_partly_set_aside:
        assert attempt.aside is not None
        saved = attempt.aside.commit
        await _return_to_branch(records, terms, workspace, task, attempt)
    else:
        await commit_user_edits(records, terms, workspace, task, attempt)
        ref = await records.journal.reserve_ref("aside", task=task)
        head, saved = await _save(records, terms, workspace, task, attempt, ref)
        started = SetAsideStarted(commit=saved, parent=head, ref=ref)
        await records.journal.append(started, task=task, attempt=attempt.number)
        await _clear(records, terms, workspace, head, saved)
    await export_to_user_repository(workspace.user, saved, run=records.run, base=records.start.base)
    await records.journal.append(TreeSetAside(), task=task, attempt=attempt.number)
    text = (
        f"the files of attempt {task}/{attempt.number} are set aside until `resume`; "
        f"to see them: git show {saved}"
    )
    await records.journal.append(Notice(text=text), task=task)


async def lay_back(
    records: RunRecords, terms: RunTerms, workspace: Workspace, task: str, attempt: AttemptState
) -> None:
    """Lay what was set aside over the branch, unless one of its files was changed there since."""
    aside = attempt.aside
    assert aside is not None
    if attempt.lay_back is not None:
        await _return_to_branch(records, terms, workspace, task, attempt)
    else:
        await commit_user_edits(records, terms, workspace, task, None)
    head = await workspace.user.find_checked_out_commit(records.start.branch)
    document = {handoff_path(terms.plan.path)}  # each landing changes it; the next one writes ours again
    touched = await _list_changed(terms, workspace, aside.parent, aside.commit) - document
    since = await _list_changed(terms, workspace, aside.parent, head) - document
    clashes = tuple(sorted(path for path in touched if path in since or is_entangled(path, since)))
    append = partial(records.journal.append, task=task, attempt=attempt.number)
    if clashes:
        await append(TreeLaidBack(commit=None, parent=head, clashes=tuple(map(plain, clashes))))
        shown = ", ".join(plain(path) for path in clashes[:SHOWN_PATHS])
        text = (
            f"the files of attempt {task}/{attempt.number} stay set aside, because some of them were "
            f"changed since ({shown}); the next attempt starts from the branch. "
            f"To see them: git show {aside.commit}"
        )
        await records.journal.append(Notice(text=text), task=task)
        return
    commit = await workspace.store.commit_paths(
        tree=aside.commit,
        paths=tuple(sorted(touched)),
        parent=head,
        message=f"What attempt {task}/{attempt.number} left, on the branch as it is now\n",
        ref=await records.journal.reserve_ref("aside", suffix="-back", task=task),
        base=records.start.base,
    )
    await append(LayBackStarted(commit=commit, parent=head))
    await lay_over(workspace.user, commit, onto=head, branch=records.start.branch, untouched=terms.untracked)
    await append(TreeLaidBack(commit=commit, parent=head))
    text = f"the files of attempt {task}/{attempt.number} are in the folder again"
    await records.journal.append(Notice(text=text), task=task)


async def describe_set_aside(workspace: Workspace, attempt: AttemptState | None) -> str:
    """The diff of what could not be laid back; empty when there is nothing of that kind."""
    if attempt is None or attempt.aside is None or not attempt.has_lost_its_files:
        return ""
    aside = attempt.aside
    return await history.read_diff(workspace.store, aside.parent, aside.commit, limit=DIFF_LIMIT_BYTES)


async def _save(
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    task: str,
    attempt: AttemptState,
    ref: str,
) -> tuple[str, str]:
    """The branch's commit, and a commit on it with the files of the folder, kept under `ref`."""
    head = await workspace.user.find_checked_out_commit(records.start.branch)
    baseline, _ = await clear_oddities(records, workspace, task, attempt.number)
    try:
        snapshot = await workspace.tree.snapshot(exclude=terms.untracked, baseline=baseline)
        made = await workspace.tree.build_candidate(
            snapshot,
            parent=head,
            message=f"What attempt {task}/{attempt.number} left\n",
            overlay={},
            ref=ref,
            base=records.start.base,
        )
    except TreeRefused as error:
        raise WorkspaceError(
            f"the files of attempt {plain(task)}/{attempt.number} cannot be set aside for the next task: "
            f"{error.what}",
            where=error.where,
            hint="Remove or rename it, then: orchestrator resume",
        ) from error
    return head, made.commit


async def _clear(records: RunRecords, terms: RunTerms, workspace: Workspace, head: str, saved: str) -> None:
    await undo_to(
        workspace.user,
        head,
        branch=records.start.branch,
        expected=head,
        saved=saved,
        untouched=terms.untracked,
    )


async def _return_to_branch(
    records: RunRecords, terms: RunTerms, workspace: Workspace, task: str, attempt: AttemptState
) -> None:
    """After a kill: save the folder, which may be half of each, and return it to the branch's state."""
    ref = await records.journal.reserve_ref("aside", suffix="-folder", task=task)
    head, saved = await _save(records, terms, workspace, task, attempt, ref)
    await _clear(records, terms, workspace, head, saved)
    if await history.tree_of(workspace.store, head) != await history.tree_of(workspace.store, saved):
        await export_to_user_repository(workspace.user, saved, run=records.run, base=records.start.base)
        text = f"the run was killed while it cleared the folder; the folder at that time: git show {saved}"
        await records.journal.append(Notice(text=text), task=task)


async def _list_changed(terms: RunTerms, workspace: Workspace, old: str, new: str) -> frozenset[str]:
    changes = await history.changes(workspace.store, old, new)
    return frozenset(change.path for change in changes) - terms.untracked
