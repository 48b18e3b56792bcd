"""From the folder an attempt left to a commit on the branch: candidate, hand-off, delivery."""

import shutil
from dataclasses import replace

from orchestrator.containers.names import component
from orchestrator.engine.attempt import attempt_folders, clear_oddities, save_tree
from orchestrator.engine.context import RunContext
from orchestrator.engine.setup import For, refuse_what_setup_made
from orchestrator.errors import WorkspaceError
from orchestrator.plan.model import Task
from orchestrator.run.facts import (
    CandidateMade,
    CandidateRefused,
    LandingRefused,
    LandingStarted,
    TaskFinished,
)
from orchestrator.run.handoff import ChangedFile, HandoffSection, handoff_path, with_section
from orchestrator.run.state import AttemptState
from orchestrator.supervision.decide import WorkItem
from orchestrator.text import one_line, plain
from orchestrator.workspace import history
from orchestrator.workspace.tree import TreeRefused

HANDOFF_LIMIT_BYTES = 4_000_000
SUBJECT_CHARACTERS = 72


async def make_candidate(
    context: RunContext, item: WorkItem, attempt: AttemptState, *, by_hand: bool
) -> None:
    """Make a commit of the folder as it is, the hand-off section included, before any gate speaks."""
    whose = For(task=item.id, attempt=attempt.number, is_candidate=True)
    try:
        made = await _made(context, item, attempt, by_hand=by_hand)
        refused = await refuse_what_setup_made(context, made.commit, made.parent, whose)
    except TreeRefused as error:
        refused = str(error)
    if refused is not None:
        # What the attempt left is known by it: without it, the next look would take all of it for a person's.
        await save_tree(context, item.id, attempt.number)
    fact = made if refused is None else CandidateRefused(reason=plain(refused))
    await context.journal.append(fact, task=item.id, attempt=attempt.number)


async def _made(
    context: RunContext, item: WorkItem, attempt: AttemptState, *, by_hand: bool
) -> CandidateMade:
    task = _task(context, item.id)
    workspace = context.workspace
    folders = attempt_folders(context, item.id, attempt.number)
    baseline, moved_away = await clear_oddities(context, item.id, attempt.number)
    parent = attempt.parent
    document = handoff_path(context.plan.path)
    snapshot = await workspace.tree.snapshot(exclude=context.untracked, baseline=baseline)
    everything = await _changes(context, parent, snapshot.tree)
    changes = tuple(change for change in everything if change.path != document)
    section = _section(task, attempt, changes)
    text = with_section(await read_handoff(context, parent), context.plan.title, section)
    folders.handoff.write_text(text, "utf-8")
    evidence = await context.journal.reserve_evidence(len(context.work.gates_of(item)), task=item.id)
    candidate = await workspace.tree.build_candidate(
        snapshot,
        parent=parent,
        message=_message(context, task, attempt, evidence, _by_hand(context, item.id, changes)),
        overlay={document: text.encode()} if context.settings.handoff.commit else {},
        ref=f"refs/ktrdr/candidates/{context.run}/{component(item.id)}/{attempt.number}",
        base=context.journal.state.start.base,
    )
    first_parent = context.journal.state.tasks[item.id].parent or parent
    return CandidateMade(
        by_hand=by_hand,
        commit=candidate.commit,
        tree=candidate.tree,
        parent=parent,
        changed=any(c.path != document for c in await _changes(context, first_parent, snapshot.tree)),
        evidence=evidence,
        left_out=tuple(plain(path) for path in snapshot.left_out),
        moved_away=moved_away,
        wrote_handoff=len(changes) < len(everything),
    )


async def _changes(context: RunContext, old: str, new: str) -> tuple[ChangedFile, ...]:
    changes = await history.changes(context.workspace.store, old, new)
    return tuple(replace(change, path=plain(change.path)) for change in changes)


def _by_hand(context: RunContext, task: str, changes: tuple[ChangedFile, ...]) -> tuple[str, ...]:
    """What of these changes a person had a hand in, since the task was begun."""
    state = context.journal.state.tasks[task]
    looks = [attempt.looked for attempt in state.current_attempts if attempt.looked is not None]
    edited = {path for look in looks for path in look.edited}
    return tuple(change.path for change in changes if change.path in edited)


async def land(context: RunContext, item: WorkItem, attempt: AttemptState) -> None:
    """Move the branch to a candidate that passed. Repeated after a kill, it finishes what was begun."""
    assert attempt.candidate is not None
    candidate, expected = attempt.candidate.commit, attempt.candidate.parent
    branch = context.journal.state.start.branch
    task = context.journal.state.tasks[item.id]
    if task.landing is None:
        await context.journal.append(
            LandingStarted(candidate=candidate, branch=branch, expected=expected),
            task=item.id,
            attempt=attempt.number,
        )
    try:
        await _deliver(context, candidate, expected)
    except WorkspaceError as error:
        refused = LandingRefused(reason=plain(str(error)))
        await context.journal.append(refused, task=item.id, attempt=attempt.number)
        return
    await context.journal.append(
        TaskFinished(
            status="completed",
            commit=candidate,
            verification="verified" if attempt.candidate.evidence else "unverified",
            evidence=attempt.candidate.evidence,
        ),
        task=item.id,
        attempt=attempt.number,
    )
    if not context.settings.handoff.commit:
        shutil.copyfile(attempt_folders(context, item.id, attempt.number).handoff, context.folder.handoff)


async def _deliver(context: RunContext, candidate: str, expected: str) -> None:
    """Land it, unless it landed before we were killed and somebody has built on it since."""
    branch = context.journal.state.start.branch
    workspace = context.workspace
    at = await workspace.user.branch_commit(branch)
    if at not in (None, candidate, expected) and await history.is_ancestor(workspace.store, candidate, at):
        return
    await workspace.tree.land(candidate, branch=branch, expected=expected)


async def read_handoff(context: RunContext, commit: str) -> str:
    """The hand-off document as it stands; empty when there is none yet."""
    if not context.settings.handoff.commit:
        return context.folder.handoff.read_text("utf-8") if context.folder.handoff.exists() else ""
    path = handoff_path(context.plan.path)
    blob = await history.read_blob(context.workspace.store, commit, path, limit=HANDOFF_LIMIT_BYTES)
    return "" if blob is None else blob.decode("utf-8", "replace")


def _task(context: RunContext, task_id: str) -> Task:
    task = context.plan.task(task_id)
    assert task is not None
    return task


def _section(task: Task, attempt: AttemptState, changes: tuple[ChangedFile, ...]) -> HandoffSection:
    claim = attempt.end.claim if attempt.end is not None else None
    return HandoffSection(
        task=task.id,
        title=task.title,
        outcome=claim.summary if claim is not None else "",
        notes=claim.handoff if claim is not None else "",
        changes=changes,
    )


def _message(
    context: RunContext,
    task: Task,
    attempt: AttemptState,
    evidence: tuple[str, ...],
    edited: tuple[str, ...],
) -> str:
    """Subject, the agent's summary, and the trailers by which a commit is found again."""
    claim = attempt.end.claim if attempt.end is not None else None
    summary = _without_trailers(plain(claim.summary).strip()) if claim is not None else ""
    by_hand = one_line(f"With changes by hand to: {', '.join(edited)}", 500) if edited else ""
    trailers = [
        f"Orchestrator-Run: {context.run}",
        f"Orchestrator-Task: {one_line(task.id, 500)}",
        f"Orchestrator-Attempt: {attempt.number}",
        *([f"Orchestrator-Evidence: {','.join(evidence)}"] if evidence else []),
    ]
    subject = one_line(f"{task.id}: {task.title}", SUBJECT_CHARACTERS)
    return "\n\n".join(part for part in (subject, summary, by_hand, "\n".join(trailers)) if part) + "\n"


def _without_trailers(text: str) -> str:
    """An agent's words cannot pass for trailers of ours, nor for a comment line of git's."""
    return "\n".join(
        f" {line}" if line.startswith(("Orchestrator-", "#")) else line for line in text.splitlines()
    )
