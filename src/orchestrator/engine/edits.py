"""What a person changed between attempts: committed as theirs, or named in the task's commit."""

from dataclasses import dataclass
from functools import partial
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
from orchestrator.workspace.tree import TreeRefused
from orchestrator.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    head: str
    """Where the branch stands, the person's edits included."""
    paths: tuple[str, ...]
    """Everything a person changed since the attempt, made fit to be shown."""


class _SplitEdits(NamedTuple):
    edited: frozenset[str]
    """What a person changed since the attempt."""
    own: frozenset[str]
    """What of it the attempt had not touched, and is in no commit yet."""
    mixed: frozenset[str]
    """What of it the attempt had touched too, and is in no commit yet."""


async def take_edits(
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    task: str | None,
    previous: AttemptState | None,
) -> Edits:
    """Compare the folder with what the last attempt left, or with the branch when there was none.

    Paths that the attempt had not touched become a commit of the user's own on the branch; those that it had
    touched become part of the task's commit. Where they cannot be told apart all is the task's, and is saved.
    Without a task the end-to-end scenario comes next.
    """
    head = await workspace.user.commit_of_checked_out(records.start.branch)
    if task is not None and previous is not None:
        baseline, _ = await clear_oddities(records, workspace, task, previous.number)
    else:
        baseline = await workspace.tree.baseline(ignored_before=records.folder.ignored_before())
    try:
        now = await workspace.tree.snapshot(exclude=terms.untracked, baseline=baseline)
    except TreeRefused:
        await _save_folder(records, workspace, head)
        return Edits(head=head, paths=())
    split = await _split_edits(terms, workspace, previous, head, now.tree)
    await _set_staged_aside(records, terms, workspace, task, head, now.tree)
    if split is None:
        await _save_folder(records, workspace, head)
        return Edits(head=head, paths=())
    if split.mixed:
        await _keep_mixed(records, workspace, task, head, now, split.mixed)
    if split.own:
        head = await _commit(records, workspace, task, head, now.tree, tuple(sorted(split.own)))
    return Edits(head=head, paths=tuple(plain(path) for path in sorted(split.edited)))


async def refuse_what_others_left(
    records: RunRecords, terms: RunTerms, workspace: Workspace, state: RunState, task: str
) -> None:
    """Raises WorkspaceError, naming it, when files that an attempt at another task left are in no commit yet.

    They would become this task's work, or pass for the person's; only a person can say what they are.
    """
    others = [
        (other, known.last)
        for other, known in state.tasks.items()
        if other != task and known.last is not None and not known.is_done
    ]
    if not others:
        return
    head = await workspace.user.commit_of_checked_out(records.start.branch)
    baseline = await workspace.tree.baseline(ignored_before=records.folder.ignored_before())
    try:
        now = await workspace.tree.snapshot(exclude=terms.untracked, baseline=baseline)
    except TreeRefused:
        return  # it cannot land either
    uncommitted = await _paths(terms, workspace, head, now.tree)
    for other, attempt in others:
        left = await _tree_left_by(workspace, attempt)
        if left is None:
            continue
        touched = await _paths(terms, workspace, attempt.start.parent, left.tree)
        lying = uncommitted & touched - await _paths(terms, workspace, left.tree, now.tree)
        if lying:
            shown = plain(", ".join(sorted(lying)[:3])) + (" and more" if len(lying) > 3 else "")
            raise WorkspaceError(
                f"{shown}: left by an attempt at task {plain(other)}, and task {plain(task)} comes before it",
                where=str(workspace.tree.folder),
                hint="Commit it as yours, or put it away (git stash -u); then: orchestrator resume",
            )


async def _split_edits(
    terms: RunTerms, workspace: Workspace, previous: AttemptState | None, head: str, now: str
) -> _SplitEdits | None:
    """None: we were killed before what the attempt had left was kept."""
    uncommitted = await _paths(terms, workspace, head, now)
    if previous is None:
        return _SplitEdits(edited=uncommitted, own=uncommitted, mixed=frozenset())
    left = await _tree_left_by(workspace, previous)
    if left is None:
        return None
    edited = await _paths(terms, workspace, left.tree, now)
    touched = await _paths(terms, workspace, previous.start.parent, left.tree)
    if left.wrote_handoff is not None:
        document = {handoff_path(terms.plan.path)}
        edited, touched = edited - document, touched - document
        if not left.wrote_handoff:
            edited |= document & uncommitted
    fresh = edited & uncommitted
    return _SplitEdits(edited=edited, own=fresh - touched, mixed=fresh & touched)


async def _paths(terms: RunTerms, workspace: Workspace, old: str, new: str) -> frozenset[str]:
    changes = await history.changes(workspace.store, old, new)
    return frozenset(change.path for change in changes) - terms.untracked


class _LeftTree(NamedTuple):
    tree: str
    wrote_handoff: bool | None
    """In a candidate the hand-off is as it will be, not as it lay in the folder: whether the attempt wrote
    there. None: the tree says it itself."""


async def _tree_left_by(workspace: Workspace, previous: AttemptState) -> _LeftTree | None:
    """The folder as an attempt left it, as it was kept; None when nothing was."""
    saved, candidate = previous.saved, previous.candidate
    if saved is not None and (candidate is None or previous.refused is not None):
        return _LeftTree(await history.tree_of(workspace.store, saved.commit), None)
    if candidate is not None:
        return _LeftTree(await history.tree_of(workspace.store, candidate.commit), candidate.wrote_handoff)
    return None


async def _set_staged_aside(
    records: RunRecords, terms: RunTerms, workspace: Workspace, task: str | None, head: str, now: str
) -> None:
    """Work lands on an index that is the branch's; what a person had staged is said where it is not the
    folder's too."""
    kept = await workspace.user.set_staged_aside(
        branch=records.start.branch,
        head=head,
        ref=partial(records.journal.reserve_ref, "staged", task=task),
        base=records.start.base,
    )
    if kept is None:
        return
    only_staged = await _paths(terms, workspace, head, kept) & await _paths(terms, workspace, kept, now)
    if only_staged:
        await _say_kept(
            records, workspace, task, kept, only_staged, "what was staged is kept, the folder has newer"
        )


async def _save_folder(records: RunRecords, workspace: Workspace, head: str) -> None:
    await workspace.tree.salvage(
        await records.journal.reserve_ref("edits", suffix="-folder"),
        parent=head,
        message="Folder before another attempt\n",
        ignored_before=records.folder.ignored_before(),
        base=records.start.base,
    )


async def _keep_mixed(
    records: RunRecords,
    workspace: Workspace,
    task: str | None,
    head: str,
    now: Snapshot,
    mixed: frozenset[str],
) -> None:
    """What a person made of an attempt's files is kept before an agent may change them again."""
    kept = await workspace.tree.build_candidate(
        now,
        parent=head,
        message=f"Folder by hand before {_next(task)}\n",
        overlay={},
        ref=await records.journal.reserve_ref("edits", suffix="-folder", task=task),
        base=records.start.base,
    )
    await _say_kept(
        records, workspace, task, kept.commit, mixed, "changes by hand become part of the task's commit"
    )


async def _say_kept(
    records: RunRecords, workspace: Workspace, task: str | None, commit: str, paths: frozenset[str], why: str
) -> None:
    shown = ", ".join(plain(path) for path in sorted(paths)[:5])
    where = workspace.store.git_dir
    text = f"{why} ({shown}); as they are now: git --git-dir={where} show {commit}:FILE"
    await records.journal.append(Notice(text=text), task=task)


async def _commit(
    records: RunRecords, workspace: Workspace, task: str | None, head: str, tree: str, paths: tuple[str, ...]
) -> str:
    commit = await workspace.store.commit_paths(
        tree=tree,
        paths=paths,
        parent=head,
        message=f"Changes by hand before {_next(task)}\n",
        ref=await records.journal.reserve_ref("edits", task=task),
        base=records.start.base,
    )
    await workspace.tree.land(commit, branch=records.start.branch, expected=head)
    await records.journal.append(
        EditsCommitted(commit=commit, paths=tuple(plain(path) for path in paths)), task=task
    )
    return commit


def _next(task: str | None) -> str:
    return "the end-to-end scenario" if task is None else f"task {plain(task)}"
