"""What a person changed between attempts: committed as theirs, or named in the task's commit."""

from dataclasses import dataclass

from orchestrator.engine.attempt import clear_oddities
from orchestrator.engine.context import RunContext
from orchestrator.events import plain
from orchestrator.run.facts import EditsCommitted
from orchestrator.run.handoff import handoff_path
from orchestrator.run.state import AttemptState
from orchestrator.workspace.tree import TreeRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    head: str
    """Where the branch stands, the person's edits included."""
    paths: tuple[str, ...]
    """Everything a person changed since the attempt."""


async def take_edits(context: RunContext, task: str, previous: AttemptState | None) -> Edits:
    """Compare the folder with what the last attempt left, or with the branch when there was none.

    Paths that the attempt had not touched become a commit of the user's own on the branch; those that it had
    touched become part of the task's commit. A folder that cannot be read as a tree is left to the attempt.
    """
    head = await context.workspace.commit_of_checked_out(context.journal.state.start.branch)
    left = await _left_by(context, previous)
    if previous is not None:
        baseline, _ = await clear_oddities(context, task, previous.number)
    else:
        baseline = await context.workspace.baseline()
    try:
        now = await context.workspace.snapshot(exclude=context.untracked, baseline=baseline)
    except TreeRefused:
        return Edits(head=head, paths=())
    apart = context.untracked | {handoff_path(context.plan.path)}
    edited = [c.path for c in await context.workspace.changes(left or head, now.tree) if c.path not in apart]
    touched: set[str] = set()
    if left is not None and previous is not None:
        touched = {change.path for change in await context.workspace.changes(previous.start.parent, left)}
    own = tuple(path for path in edited if path not in touched)
    if own:
        head = await _commit(context, task, head, now.tree, own)
    return Edits(head=head, paths=tuple(plain(path) for path in edited))


async def _left_by(context: RunContext, previous: AttemptState | None) -> str | None:
    """The tree that an attempt left, as it was kept; None when there was no attempt or nothing was kept."""
    if previous is None:
        return None
    if previous.candidate is not None:
        return await context.workspace.tree_of(previous.candidate.commit)
    if previous.saved is not None:
        return await context.workspace.tree_of(previous.saved.commit)
    return None


async def _commit(context: RunContext, task: str, head: str, tree: str, paths: tuple[str, ...]) -> str:
    branch = context.journal.state.start.branch
    number = context.journal.state.last_n
    commit = await context.workspace.commit_edits(
        tree=tree,
        paths=paths,
        parent=head,
        message=f"Changes by hand before task {plain(task)}\n",
        ref=f"refs/ktrdr/edits/{context.run}/{number}",
    )
    staged = f"refs/ktrdr/staged/{context.run}/{number}"
    await context.workspace.deliver_edits(commit, branch=branch, expected=head, ref=staged)
    context.journal.append(
        EditsCommitted(commit=commit, paths=tuple(plain(path) for path in paths)), task=task
    )
    return commit
