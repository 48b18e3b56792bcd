"""Move the branch to a candidate that passed its gates."""

import asyncio
import shutil

from orchestrator.engine.attempt_tree import attempt_folders
from orchestrator.engine.context import RunRecords, RunTerms
from orchestrator.errors import WorkspaceError
from orchestrator.run.facts import LandingRefused, LandingStarted, TaskFinished
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.decide import WorkItem, verify_candidate
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
    """Deliver exactly the commit that passed, and finish the task; a refusal is recorded and moves nothing.

    `landing_started` comes before the delivery. If the orchestrator is killed after it, the branch may or may
    not have moved, and the same action runs again on resume: it delivers what is missing.
    """
    assert attempt.candidate is not None
    candidate, expected = attempt.candidate.commit, attempt.candidate.parent
    if state.tasks[item.id].landing is None:
        await records.journal.append(
            LandingStarted(candidate=candidate, branch=records.start.branch, expected=expected),
            task=item.id,
            attempt=attempt.number,
        )
    try:
        if not await _was_built_upon(records, workspace, candidate, expected):
            await workspace.tree.land(candidate, branch=records.start.branch, expected=expected)
    except WorkspaceError as error:
        refused = LandingRefused(reason=plain(str(error)))
        await records.journal.append(refused, task=item.id, attempt=attempt.number)
        return
    if not terms.settings.handoff.commit:
        # After the delivery, because a task that did not land must not appear in the next agent's hand-off.
        # Before the fact, because a finished task is never landed again: killed between fact and copy, the
        # run would lose this task's section for good.
        handoff = attempt_folders(records, item.id, attempt.number).handoff
        await asyncio.to_thread(shutil.copyfile, handoff, records.folder.handoff)
    verified = verify_candidate(state.tasks[item.id], item, attempt)
    await records.journal.append(
        TaskFinished(
            status="completed",
            commit=candidate,
            verification=verified.verification,
            reason=verified.reason,
            evidence=attempt.candidate.evidence,
        ),
        task=item.id,
        attempt=attempt.number,
    )


async def _was_built_upon(records: RunRecords, workspace: Workspace, candidate: str, expected: str) -> bool:
    """Whether the branch already holds the candidate below newer commits.

    The delivery was complete up to the branch, then the orchestrator was killed, and the user committed on
    top before the resume. Delivering again would be refused because the branch has moved, and a task that is
    on the branch would never finish.
    """
    at = await workspace.user.branch_commit(records.start.branch)
    if at in (None, candidate, expected):
        return False
    return await history.is_ancestor(workspace.store, candidate, at)
