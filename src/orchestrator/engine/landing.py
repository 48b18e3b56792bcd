"""Move the branch to a candidate that passed its gates."""

import asyncio
import shutil

from orchestrator.engine.attempt_tree import attempt_folders
from orchestrator.engine.context import RunRecords, RunTerms
from orchestrator.errors import WorkspaceError
from orchestrator.run.facts import LandingRefused, LandingStarted, TaskFinished
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.decide import WorkItem
from orchestrator.text import plain
from orchestrator.workspace import history
from orchestrator.workspace.workspace import Workspace


async def land(
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    state: RunState,
    item: WorkItem,
    attempt: AttemptState,
) -> None:
    """Move the branch to a candidate that passed. Repeated after a kill, it finishes what was begun."""
    assert attempt.candidate is not None
    candidate, expected = attempt.candidate.commit, attempt.candidate.parent
    branch = records.start.branch
    if state.tasks[item.id].landing is None:
        await records.journal.append(
            LandingStarted(candidate=candidate, branch=branch, expected=expected),
            task=item.id,
            attempt=attempt.number,
        )
    try:
        await _deliver(records, workspace, candidate, expected)
    except WorkspaceError as error:
        refused = LandingRefused(reason=plain(str(error)))
        await records.journal.append(refused, task=item.id, attempt=attempt.number)
        return
    await records.journal.append(
        TaskFinished(
            status="completed",
            commit=candidate,
            verification="verified" if attempt.candidate.evidence else "unverified",
            evidence=attempt.candidate.evidence,
        ),
        task=item.id,
        attempt=attempt.number,
    )
    if not terms.settings.handoff.commit:
        handoff = attempt_folders(records, item.id, attempt.number).handoff
        await asyncio.to_thread(shutil.copyfile, handoff, records.folder.handoff)


async def _deliver(records: RunRecords, workspace: Workspace, candidate: str, expected: str) -> None:
    """Land it, unless it landed before we were killed and somebody has built on it since."""
    branch = records.start.branch
    at = await workspace.user.branch_commit(branch)
    if at not in (None, candidate, expected) and await history.is_ancestor(workspace.store, candidate, at):
        return
    await workspace.tree.land(candidate, branch=branch, expected=expected)
