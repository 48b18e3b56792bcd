"""From the folder that an attempt left to a candidate: the commit on which its gates run, and which lands.

The commit is made once, before any gate, and never rewritten. Gates therefore judge exactly what lands: the
files as git stores them, with the message, and not a folder that a process of the agent, or the user, could
still change meanwhile. Only the hand-off document, which the orchestrator adds, is hidden from them.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from orchestrator.containers.names import component
from orchestrator.engine.attempt_tree import attempt_folders, clear_oddities, save_tree
from orchestrator.engine.context import RunRecords, RunTerms, Services
from orchestrator.engine.cross_checks import filter_check_files
from orchestrator.engine.edits import find_tree_left_by
from orchestrator.engine.gating import CheckedCommit
from orchestrator.engine.setup import check_setup
from orchestrator.gates.check_files import find_called
from orchestrator.gates.gate import Finding, SetupGate, word_finding
from orchestrator.plan.model import Task
from orchestrator.run.facts import CandidateMade, CandidateRefused
from orchestrator.run.handoff import (
    HANDOFF_LIMIT_BYTES,
    ChangedFile,
    HandoffSection,
    handoff_path,
    with_section,
)
from orchestrator.run.state import AttemptState, RunState, TaskState
from orchestrator.supervision.decide import Gate, WorkItem, list_candidate_gates
from orchestrator.text import one_line, plain
from orchestrator.workspace import history
from orchestrator.workspace.tree import Baseline, TreeRefused
from orchestrator.workspace.workspace import Workspace

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
    """Make a candidate of the present folder, or record why none can be made of it.

    Reasons against it are a tree that git cannot store, and tracked files that setup would overwrite. The
    next attempt reads them, so the fact has the whole text: what is wrong, where, and what to do.
    """
    fact: CandidateMade | CandidateRefused
    try:
        fact = await _build_candidate(records, terms, workspace, state, item, attempt, by_hand=by_hand)
        checked = CheckedCommit(commit=fact.commit, task=item.id, attempt=attempt.number)
        gate, owner = SetupGate(parent=fact.parent), checked.setup_owner
        findings = list(await check_setup(services, records, terms, workspace, gate, fact.commit, owner))
    except TreeRefused as error:
        findings = [Finding(rule="tree_refused", path=None, text=str(error))]
    if findings:
        # A refused candidate is not what the folder held when the attempt ended. That tree is needed later:
        # only a comparison with it separates the attempt's changes from the user's.
        await save_tree(records, workspace, item.id, attempt)
        fact = CandidateRefused(reason=word_finding(findings[0]))
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
    task, known = terms.task(item.id), state.tasks[item.id]
    folders = attempt_folders(records, item.id, attempt.number)
    baseline, moved_away = await clear_oddities(records, workspace, item.id, attempt.number)
    parent = attempt.parent
    start, document = known.parent or parent, handoff_path(terms.plan.path)
    snapshot = await workspace.tree.snapshot(exclude=terms.untracked, baseline=baseline)
    everything = await _list_changes(workspace, parent, snapshot.tree)
    changes = tuple(change for change in everything if change.path != document)
    since_start = everything if start == parent else await _list_changes(workspace, start, snapshot.tree)
    changed = any(change.path != document for change in since_start)
    no_change = None if changed else _explain_no_change(known, attempt)
    section = _describe_work(task, attempt, no_change, changes)
    text = with_section(await read_handoff(records, terms, workspace, parent), terms.plan.title, section)
    await asyncio.to_thread(folders.handoff.write_text, text, "utf-8")
    edited = await _name_edited_by_user(workspace, known, attempt, changes)
    overlay = {document: text.encode()} if await _commits_handoff(terms, workspace, baseline) else {}
    gates = list_candidate_gates(terms.work, item, state, attempt, by_hand=by_hand)
    earlier = attempt.candidate
    if earlier is not None and earlier.parent == parent and _has_evidence_of(attempt, gates):
        message = _write_message(records, terms, task, attempt, earlier.evidence, (no_change, edited))
        if await _is_same(workspace, earlier.commit, snapshot.tree, message, document, overlay):
            return structs.replace(earlier, by_hand=by_hand)
    evidence = await records.journal.reserve_evidence(len(gates), task=item.id)
    candidate = await workspace.tree.build_candidate(
        snapshot,
        parent=parent,
        message=_write_message(records, terms, task, attempt, evidence, (no_change, edited)),
        overlay=overlay,
        ref=f"refs/ktrdr/candidates/{records.run}/{component(item.id)}/{attempt.number}",
        base=records.start.base,
    )
    return CandidateMade(
        by_hand=by_hand,
        commit=candidate.commit,
        tree=candidate.tree,
        parent=parent,
        changed=changed,
        evidence=evidence,
        check_files=_name_check_files(terms, task, gates, since_start),
        calls_own_work=_name_own_callers(gates, since_start),
        left_out=tuple(plain(path) for path in snapshot.left_out),
        scratch=tuple(plain(path) for path in snapshot.scratch),
        moved_away=moved_away,
        wrote_handoff=len(changes) < len(everything),
    )


def _describe_work(
    task: Task, attempt: AttemptState, no_change: str | None, changes: tuple[ChangedFile, ...]
) -> HandoffSection:
    summary, notes = ("", "") if attempt.claim is None else (attempt.claim.summary, attempt.claim.handoff)
    return HandoffSection(
        task=task.id,
        title=task.title,
        outcome="\n\n".join(part for part in (summary, no_change) if part),
        notes=notes,
        changes=changes,
    )


def _name_check_files(
    terms: RunTerms, task: Task, gates: tuple[Gate, ...], changes: tuple[ChangedFile, ...]
) -> tuple[str, ...] | None:
    """The check files that were added or changed, safe to show; None if it does not matter which."""
    if not terms.settings.verify.red_to_green:
        return None
    paths = [change.path for change in changes if change.status != "deleted"]
    return filter_check_files(task, terms.plan.path, [gate.command for gate in gates], paths)


def _name_own_callers(gates: tuple[Gate, ...], changes: tuple[ChangedFile, ...]) -> tuple[str, ...]:
    """The agent's commands that call a file which the work has added or changed."""
    changed = {change.path for change in changes if change.status != "deleted"}
    agents = [gate for gate in gates if gate.check.source == "agent"]
    return tuple(gate.name for gate in agents if not changed.isdisjoint(find_called(gate.command)))


async def _commits_handoff(terms: RunTerms, workspace: Workspace, baseline: Baseline) -> bool:
    if not terms.settings.handoff.commit:
        return False
    return not await workspace.tree.is_ignored(handoff_path(terms.plan.path), baseline)


def _has_evidence_of(attempt: AttemptState, gates: tuple[Gate, ...]) -> bool:
    """Whether the evidence ids of the attempt's candidate are those of these gates, command by command."""
    assert attempt.candidate is not None
    ids = attempt.candidate.evidence
    if len(ids) != len(gates):
        return False
    commands = dict(zip(ids, (gate.command for gate in gates), strict=True))
    return all(commands.get(ended.given) == ended.command for ended in attempt.gates)


async def _is_same(
    workspace: Workspace, commit: str, tree: str, message: str, document: str, overlay: Mapping[str, bytes]
) -> bool:
    """Whether a candidate of this tree and message would be this commit, apart from its time."""
    differing = {change.path for change in await history.changes(workspace.store, commit, tree)}
    if differing - overlay.keys() - {document}:
        return False
    for path, content in overlay.items():
        if await history.read_blob(workspace.store, commit, path, limit=HANDOFF_LIMIT_BYTES) != content:
            return False
    return (await history.message_of(workspace.store, commit)).strip() == message.strip()


async def _list_changes(workspace: Workspace, old: str, new: str) -> tuple[ChangedFile, ...]:
    changes = await history.changes(workspace.store, old, new)
    return tuple(replace(change, path=plain(change.path)) for change in changes)


def _explain_no_change(task: TaskState, attempt: AttemptState) -> str | None:
    """Why the task is done although no file was changed, as a sentence; None if there is no explanation."""
    if task.accepted is not None:
        return f"No file was changed; the user accepted the task as done ({task.accepted.by})."
    if attempt.claim is None or attempt.claim.no_change is None:
        return None
    return f"No file was changed: {one_line(attempt.claim.no_change, 500)}"


async def _name_edited_by_user(
    workspace: Workspace, task: TaskState, attempt: AttemptState, changes: tuple[ChangedFile, ...]
) -> str | None:
    """The sentence that names the paths of the task that the user, too, changed since it was started.

    A file that the attempt made and the user removed is not among the changes any more, and is named too.
    """
    compared = [each.compared for each in task.current_attempts if each.compared is not None]
    edited = {path for comparison in compared for path in comparison.edited}
    paths = {change.path for change in changes}
    left = await find_tree_left_by(workspace, attempt) if edited - paths else None
    if left is not None:
        paths |= {change.path for change in await _list_changes(workspace, left.parent, left.tree)}
    shown = ", ".join(sorted(paths & edited))
    return one_line(f"With changes by hand to: {shown}", 500) if shown else None


async def read_handoff(records: RunRecords, terms: RunTerms, workspace: Workspace, commit: str) -> str:
    """The hand-off document at a commit, or the run's own copy where it is not committed; empty at first."""
    path, blob = handoff_path(terms.plan.path), None
    if terms.settings.handoff.commit:
        blob = await history.read_blob(workspace.store, commit, path, limit=HANDOFF_LIMIT_BYTES)
    if blob is None:
        return await asyncio.to_thread(_read_own_copy, records.folder.handoff)
    return blob.decode("utf-8", "replace")


def _read_own_copy(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def word_subject(template: str, task: str, title: str) -> str:
    """The first line of a task's commit. A title that starts with `#` would make it a comment for git."""
    words = {"{task}": task, "{title}": title}
    line = re.sub(r"\{task\}|\{title\}", lambda found: words[found[0]], template)
    return one_line(line, SUBJECT_CHARACTERS).lstrip("# ") or one_line(task, SUBJECT_CHARACTERS)


def _write_message(
    records: RunRecords,
    terms: RunTerms,
    task: Task,
    attempt: AttemptState,
    evidence: tuple[str, ...],
    notes: tuple[str | None, ...],
) -> str:
    """Subject, the agent's summary, notes of one line each, and the orchestrator's trailers.

    The trailers say which run and task a commit belongs to. They are how a task is found finished after the
    user has rebased the branch, so an agent must not be able to write one: an `Orchestrator-` line of the
    summary is indented, which makes it text for git. A line that starts with `#` is indented because git
    takes it for a comment when the user rewrites the message in an editor.
    """
    summary = plain(attempt.claim.summary).strip() if attempt.claim is not None else ""
    ours = ("Orchestrator-", "#")
    summary = "\n".join(f" {line}" if line.startswith(ours) else line for line in summary.splitlines())
    trailers = [
        f"Orchestrator-Run: {records.run}",
        f"Orchestrator-Task: {one_line(task.id, 500)}",
        f"Orchestrator-Attempt: {attempt.number}",
        *([f"Orchestrator-Evidence: {','.join(evidence)}"] if evidence else []),
    ]
    subject = word_subject(terms.settings.commit.subject, task.id, task.title)
    return "\n\n".join(part for part in (subject, summary, *notes, "\n".join(trailers)) if part) + "\n"
