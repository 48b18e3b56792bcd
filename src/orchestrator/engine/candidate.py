"""From the folder an attempt left to a candidate: a commit that its gates can be asked about."""

import asyncio
from dataclasses import replace

from orchestrator.containers.names import component
from orchestrator.engine.attempt_tree import attempt_folders, clear_oddities, save_tree
from orchestrator.engine.context import RunRecords, RunTerms, Services
from orchestrator.engine.gating import Subject, ask_gates
from orchestrator.gates.gate import Finding, SetupGate, worded
from orchestrator.plan.model import Task
from orchestrator.run.facts import CandidateMade, CandidateRefused
from orchestrator.run.handoff import ChangedFile, HandoffSection, handoff_path, with_section
from orchestrator.run.state import AttemptState, RunState, TaskState
from orchestrator.supervision.decide import WorkItem
from orchestrator.text import one_line, plain
from orchestrator.workspace import history
from orchestrator.workspace.tree import TreeRefused
from orchestrator.workspace.workspace import Workspace

HANDOFF_LIMIT_BYTES = 4_000_000
SUBJECT_CHARACTERS = 72


async def make_candidate(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    state: RunState,
    item: WorkItem,
    attempt: AttemptState,
    *,
    by_hand: bool,
) -> None:
    """Make a commit of the folder as it is, the hand-off section included, before any command gate runs."""
    fact: CandidateMade | CandidateRefused
    try:
        fact = await _build_candidate(records, terms, workspace, state, item, attempt, by_hand=by_hand)
        subject = Subject(commit=fact.commit, task=item.id, attempt=attempt.number)
        gates = (SetupGate(parent=fact.parent),)
        events = ask_gates(services, records, terms, workspace, subject, gates)
        findings = [event async for event in events if isinstance(event, Finding)]
    except TreeRefused as error:
        # Where and what to do are part of it: the next attempt reads them.
        findings = [Finding(rule="tree_refused", path=None, text=str(error))]
    if findings:
        # Later the attempt's changes can be told from the user's only by comparing with this tree.
        await save_tree(records, workspace, item.id, attempt)
        fact = CandidateRefused(reason=worded(findings[0]))
    await records.journal.append(fact, task=item.id, attempt=attempt.number)


async def _build_candidate(
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    state: RunState,
    item: WorkItem,
    attempt: AttemptState,
    *,
    by_hand: bool,
) -> CandidateMade:
    task, known = _task(terms, item.id), state.tasks[item.id]
    folders = attempt_folders(records, item.id, attempt.number)
    baseline, moved_away = await clear_oddities(records, workspace, item.id, attempt.number)
    parent = attempt.parent
    document = handoff_path(terms.plan.path)
    snapshot = await workspace.tree.snapshot(exclude=terms.untracked, baseline=baseline)
    everything = await _changes(workspace, parent, snapshot.tree)
    changes = tuple(change for change in everything if change.path != document)
    section = _section(task, attempt, changes)
    text = with_section(await read_handoff(records, terms, workspace, parent), terms.plan.title, section)
    await asyncio.to_thread(folders.handoff.write_text, text, "utf-8")
    evidence = await records.journal.reserve_evidence(len(terms.work.gates_of(item)), task=item.id)
    candidate = await workspace.tree.build_candidate(
        snapshot,
        parent=parent,
        message=_message(records, task, attempt, evidence, _edited_by_hand(known, changes)),
        overlay={document: text.encode()} if terms.settings.handoff.commit else {},
        ref=f"refs/ktrdr/candidates/{records.run}/{component(item.id)}/{attempt.number}",
        base=records.start.base,
    )
    first_parent = known.parent or parent
    return CandidateMade(
        by_hand=by_hand,
        commit=candidate.commit,
        tree=candidate.tree,
        parent=parent,
        changed=any(c.path != document for c in await _changes(workspace, first_parent, snapshot.tree)),
        evidence=evidence,
        left_out=tuple(plain(path) for path in snapshot.left_out),
        moved_away=moved_away,
        wrote_handoff=len(changes) < len(everything),
    )


async def _changes(workspace: Workspace, old: str, new: str) -> tuple[ChangedFile, ...]:
    changes = await history.changes(workspace.store, old, new)
    return tuple(replace(change, path=plain(change.path)) for change in changes)


def _edited_by_hand(task: TaskState, changes: tuple[ChangedFile, ...]) -> tuple[str, ...]:
    """What of these changes a person had a hand in, since the task was begun."""
    looks = [attempt.looked for attempt in task.current_attempts if attempt.looked is not None]
    edited = {path for look in looks for path in look.edited}
    return tuple(change.path for change in changes if change.path in edited)


async def read_handoff(records: RunRecords, terms: RunTerms, workspace: Workspace, commit: str) -> str:
    """The hand-off document as it stands; empty when there is none yet."""
    if not terms.settings.handoff.commit:
        return records.folder.handoff.read_text("utf-8") if records.folder.handoff.exists() else ""
    path = handoff_path(terms.plan.path)
    blob = await history.read_blob(workspace.store, commit, path, limit=HANDOFF_LIMIT_BYTES)
    return "" if blob is None else blob.decode("utf-8", "replace")


def _task(terms: RunTerms, task_id: str) -> Task:
    task = terms.plan.task(task_id)
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
    records: RunRecords,
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
        f"Orchestrator-Run: {records.run}",
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
