"""Separate the user's changes from an attempt's: commit them, or name them in the task's commit.

The user may edit files at any time, in the folder in which attempts work. Nothing in a file says who wrote
it. So trees are compared: the folder was saved as a commit when the attempt ended, and everything that
differs from that commit now was changed by the user. A changed file that is not committed yet is then one of
three cases:

- The attempt had not touched it. The change is the user's alone and becomes the user's commit on the branch.
- The attempt had touched it too. The two parts of the change cannot be separated. The whole becomes part of
  the task's commit, whose message names the file, and the folder is saved first. The same holds for the new
  name of a file that the attempt had touched and the user renamed, and for a file where the attempt had
  touched a folder, or the reverse: one of the two cannot be committed without the other.
- The tree of the attempt was not saved, because the orchestrator was killed before it could. All changes then
  count as the task's, and the folder is saved first.

A doubt is always decided in favour of the task, because its commit has to pass the gates: the opposite choice
would put work of an agent on the branch as the user's, and no gate would have seen it.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

from orchestrator.engine.attempt_tree import clear_oddities
from orchestrator.engine.context import RunRecords, RunTerms
from orchestrator.errors import WorkspaceError
from orchestrator.run.facts import EditsCommitted, Notice
from orchestrator.run.handoff import handoff_path
from orchestrator.run.state import AttemptState, RunState
from orchestrator.text import plain
from orchestrator.workspace import history
from orchestrator.workspace.candidate import Snapshot
from orchestrator.workspace.git import stash_command
from orchestrator.workspace.tree import TreeRefused
from orchestrator.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    head: str
    """The branch's commit, with the user's edits."""
    paths: tuple[str, ...] = ()
    """Everything the user changed since the attempt, safe to show."""
    tree: str | None = None
    """The files of the folder; None where git cannot store them."""


class _SplitEdits(NamedTuple):
    edited: frozenset[str]
    """Paths that the user changed since the attempt."""
    own: frozenset[str]
    """Those of them that are not committed yet and that the attempt had not touched."""
    mixed: frozenset[str]
    """Those of them that are not committed yet and that the attempt had touched too."""


async def commit_user_edits(
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    task: str | None,
    previous: AttemptState | None,
) -> Edits:
    """Compare the folder with the tree that the last attempt left, or with the branch when there was none.

    What is the user's alone is committed; the rest is left to the task's commit. Without a task the
    end-to-end scenario comes next. Raises WorkspaceError when the branch is not checked out or has moved
    meanwhile.
    """
    head = await workspace.user.find_checked_out_commit(records.start.branch)
    if task is not None and previous is not None:
        baseline, _ = await clear_oddities(records, workspace, task, previous.number)
    else:
        before = await asyncio.to_thread(records.folder.list_paths_ignored_before)
        baseline = await workspace.tree.baseline(ignored_before=before)
    try:
        now = await workspace.tree.snapshot(exclude=terms.untracked, baseline=baseline)
    except TreeRefused:
        await _save_folder(records, workspace, head)
        return Edits(head=head)
    split = await _split_edits(terms, workspace, previous, head, now.tree)
    await _set_staged_aside(records, terms, workspace, task, head, now.tree)
    if split is None:
        await _save_folder(records, workspace, head)
        return Edits(head=head, tree=now.tree)
    if split.mixed:
        await _save_mixed_edits(records, workspace, task, head, now, split.mixed)
    if split.own:
        head = await _commit_paths(records, workspace, task, head, now.tree, tuple(sorted(split.own)))
    paths = tuple(plain(path) for path in sorted(split.edited))
    return Edits(head=head, paths=paths, tree=now.tree)


async def refuse_work_of_other_tasks(
    records: RunRecords, terms: RunTerms, workspace: Workspace, state: RunState, task: str
) -> None:
    """Raises WorkspaceError when files that an attempt at another task left are not committed.

    Otherwise this task's commit would take them in, or they would pass for the user's. Only the user can say
    whose they are. It happens after a resume with an edited plan, in which another task comes first.
    """
    others = [
        (other, known.last)
        for other, known in state.tasks.items()
        if other != task and known.last is not None and not known.is_done
    ]
    if not others:
        return
    head = await workspace.user.find_checked_out_commit(records.start.branch)
    before = await asyncio.to_thread(records.folder.list_paths_ignored_before)
    baseline = await workspace.tree.baseline(ignored_before=before)
    try:
        now = await workspace.tree.snapshot(exclude=terms.untracked, baseline=baseline)
    except TreeRefused:
        return  # a tree that git refuses cannot land with this task's commit either
    uncommitted = await _list_changed_paths(terms, workspace, head, now.tree)
    for other, attempt in others:
        left = await find_tree_left_by(workspace, attempt)
        if left is None:
            continue
        touched = await _list_changed_paths(terms, workspace, left.parent, left.tree)
        as_left = uncommitted & touched - await _list_changed_paths(terms, workspace, left.tree, now.tree)
        if as_left:
            shown = plain(", ".join(sorted(as_left)[:3])) + (" and more" if len(as_left) > 3 else "")
            raise WorkspaceError(
                f"{shown}: changed by an attempt at task {plain(other)} and not committed, "
                f"but task {plain(task)} now runs first",
                where=str(workspace.tree.folder),
                hint=f"Commit them yourself or set them aside ({stash_command(terms.untracked)}), "
                "then: orchestrator resume",
            )


async def _split_edits(
    terms: RunTerms, workspace: Workspace, previous: AttemptState | None, head: str, now: str
) -> _SplitEdits | None:
    """None when the tree that the attempt left was not saved: then its changes look like the user's."""
    uncommitted = await _list_changed_paths(terms, workspace, head, now)
    if previous is None:
        return _SplitEdits(edited=uncommitted, own=uncommitted, mixed=frozenset())
    left = await find_tree_left_by(workspace, previous)
    if left is None:
        return None
    edited = await _list_changed_paths(terms, workspace, left.tree, now)
    touched = await _list_changed_paths(terms, workspace, left.parent, left.tree)
    if left.wrote_handoff is not None:
        # A candidate holds the hand-off document that landing would write, not the one in the folder, so a
        # difference there says nothing about the user. Only if the attempt had not written it is a change
        # theirs.
        document = {handoff_path(terms.plan.path)}
        edited, touched = edited - document, touched - document
        if not left.wrote_handoff:
            edited |= document & uncommitted
    names = await history.renames(workspace.store, left.tree, now)
    touched |= {name for name, earlier in names.items() if earlier in touched}
    fresh = edited & uncommitted
    mixed = {path for path in fresh if path in touched or is_entangled(path, touched)}
    return _SplitEdits(edited=edited, own=fresh - mixed, mixed=frozenset(mixed))


def is_entangled(path: str, touched: frozenset[str]) -> bool:
    """Whether a touched path needs a folder where this one is a file, or is a file where it needs one."""
    parents = {str(parent) for parent in PurePosixPath(path).parents}
    return not parents.isdisjoint(touched) or any(other.startswith(f"{path}/") for other in touched)


async def _list_changed_paths(terms: RunTerms, workspace: Workspace, old: str, new: str) -> frozenset[str]:
    changes = await history.changes(workspace.store, old, new)
    return frozenset(change.path for change in changes) - terms.untracked


class LeftTree(NamedTuple):
    tree: str
    parent: str
    """The commit whose files the attempt had changed."""
    wrote_handoff: bool | None
    """Of a candidate: whether the attempt wrote the hand-off document. None for the folder as saved."""


async def find_tree_left_by(workspace: Workspace, previous: AttemptState) -> LeftTree | None:
    """The saved folder of an attempt, else its candidate; None when neither was stored before a kill.

    A refused candidate does not count: its tree was saved after the refusal and is the newer one. What was
    set aside and laid over the branch again is newer than both.
    """
    parent = previous.start.parent
    if previous.back is not None and previous.back.commit is not None:
        tree = await history.tree_of(workspace.store, previous.back.commit)
        return LeftTree(tree, previous.back.parent, None)
    saved, candidate = previous.saved, previous.candidate
    if saved is not None and (candidate is None or previous.refused is not None):
        return LeftTree(await history.tree_of(workspace.store, saved.commit), parent, None)
    if candidate is not None:
        tree = await history.tree_of(workspace.store, candidate.commit)
        return LeftTree(tree, parent, candidate.wrote_handoff)
    return None


async def _set_staged_aside(
    records: RunRecords, terms: RunTerms, workspace: Workspace, task: str | None, head: str, now: str
) -> None:
    """Make the index that of the branch, and save what the user had staged.

    A landing replaces the index, so something staged would be lost there. A notice says where the saved
    content is if the folder does not hold it any more.
    """
    kept = await workspace.user.set_staged_aside(
        branch=records.start.branch,
        head=head,
        ref=partial(records.journal.reserve_ref, "staged", task=task),
        base=records.start.base,
    )
    if kept is None:
        return
    staged = await _list_changed_paths(terms, workspace, head, kept)
    only_staged = staged & await _list_changed_paths(terms, workspace, kept, now)
    if only_staged:
        why = "your staged changes are kept in a commit, because the folder has newer versions of these files"
        await _announce_saved_folder(records, workspace, task, kept, only_staged, why)


async def _save_folder(records: RunRecords, workspace: Workspace, head: str) -> None:
    await workspace.tree.salvage(
        await records.journal.reserve_ref("edits", suffix="-folder"),
        parent=head,
        message="Folder before another attempt\n",
        ignored_before=await asyncio.to_thread(records.folder.list_paths_ignored_before),
        base=records.start.base,
    )


async def _save_mixed_edits(
    records: RunRecords,
    workspace: Workspace,
    task: str | None,
    head: str,
    now: Snapshot,
    mixed: frozenset[str],
) -> None:
    """Save the folder: the next attempt may change these files again and so lose the user's version."""
    kept = await workspace.tree.build_candidate(
        now,
        parent=head,
        message=f"Folder by hand before {_name_next_work(task)}\n",
        overlay={},
        ref=await records.journal.reserve_ref("edits", suffix="-folder", task=task),
        base=records.start.base,
    )
    why = "you and an attempt changed the same files, so your changes become part of the task's commit"
    await _announce_saved_folder(records, workspace, task, kept.commit, mixed, why)


async def _announce_saved_folder(
    records: RunRecords, workspace: Workspace, task: str | None, commit: str, paths: frozenset[str], why: str
) -> None:
    shown = ", ".join(plain(path) for path in sorted(paths)[:5])
    where = workspace.store.git_dir
    text = f"{why} ({shown}). To see them: git --git-dir={where} show {commit}:FILE"
    await records.journal.append(Notice(text=text), task=task)


async def _commit_paths(
    records: RunRecords, workspace: Workspace, task: str | None, head: str, tree: str, paths: tuple[str, ...]
) -> str:
    commit = await workspace.store.commit_paths(
        tree=tree,
        paths=paths,
        parent=head,
        message=f"Changes by hand before {_name_next_work(task)}\n",
        ref=await records.journal.reserve_ref("edits", task=task),
        base=records.start.base,
    )
    await workspace.tree.land(commit, branch=records.start.branch, expected=head)
    await records.journal.append(
        EditsCommitted(commit=commit, paths=tuple(plain(path) for path in paths)), task=task
    )
    return commit


def _name_next_work(task: str | None) -> str:
    return "the end-to-end scenario" if task is None else f"task {plain(task)}"
