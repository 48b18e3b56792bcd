"""Move the branch to a candidate that passed its gates."""

import asyncio
import json
import posixpath
import shlex
import shutil
from collections.abc import Sequence

from orchestrator.engine.attempt_tree import attempt_folders
from orchestrator.engine.context import RunRecords, RunTerms
from orchestrator.errors import WorkspaceError
from orchestrator.plan.declared_files import list_undeclared
from orchestrator.run.facts import LandingRefused, LandingStarted, TaskFinished
from orchestrator.run.handoff import handoff_path
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.decide import WorkItem, verify_candidate
from orchestrator.text import plain
from orchestrator.workspace import history
from orchestrator.workspace.held_paths import HeldKind, HeldPath, find_held_paths, is_at_or_below
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
    # Asked once only. After `landing_started` the branch may have moved already, and a refusal would then say
    # that work did not land which did.
    if state.tasks[item.id].landing is None:
        held = await _list_held_paths(terms, workspace, item, candidate, expected)
        if held:
            refused = LandingRefused(reason=describe_held(records.run, held, terms.settings.landing.allow))
            await records.journal.append(refused, task=item.id, attempt=attempt.number)
            return
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
    if handoff_path(terms.plan.path) not in workspace.store.documents(candidate):
        # After the delivery, because a task that did not land must not appear in the next agent's hand-off.
        # Before the fact, because a finished task is never landed again: killed between fact and copy, the
        # run would lose this task's section for good.
        handoff = attempt_folders(records, item.id, attempt.number).handoff
        await asyncio.to_thread(shutil.copyfile, handoff, records.folder.handoff)
    verified = verify_candidate(state, state.tasks[item.id], item, attempt)
    await records.journal.append(
        TaskFinished(
            status="completed",
            commit=candidate,
            verification=verified.verification,
            reason=verified.reason,
            evidence=attempt.candidate.evidence,
            undeclared_files=await _list_undeclared(terms, workspace, item, candidate, expected),
        ),
        task=item.id,
        attempt=attempt.number,
    )


async def _list_undeclared(
    terms: RunTerms, workspace: Workspace, item: WorkItem, candidate: str, parent: str
) -> tuple[str, ...]:
    """The files of the commit that the plan does not name for this task, the hand-off document apart."""
    if not (declared := terms.task(item.id).files):
        return ()
    changed = await history.changes(workspace.store, parent, candidate)
    paths = (change.path for change in changed if change.path != handoff_path(terms.plan.path))
    return tuple(plain(path) for path in list_undeclared(paths, declared))


async def _list_held_paths(
    terms: RunTerms, workspace: Workspace, item: WorkItem, candidate: str, parent: str
) -> tuple[HeldPath, ...]:
    """The candidate's credentials and settings of tools that neither the user nor the task allows.

    The user wrote the plan and so asked for the tool settings that the task names: these land. A credential
    lands only if `landing.allow` names it, because a plan that names one has not decided to publish it.
    """
    found = await find_held_paths(workspace.store, parent, candidate, hooks=workspace.user.hooks)
    allowed = terms.settings.landing.allow
    named = terms.task(item.id).files
    return tuple(
        held
        for held in found
        if not _is_covered(held.path, allowed)
        and not (held.kind == "settings" and _is_covered(held.path, named))
    )


def _is_covered(path: str, entries: Sequence[str]) -> bool:
    return any(is_at_or_below(path, posixpath.normpath(entry)) for entry in entries)


def describe_held(run: str, held: Sequence[HeldPath], allowed: Sequence[str]) -> str:
    """Why these paths do not land, and the command that allows them."""
    shown = ", ".join(f"{plain(each.path)} ({_HELD_WORDS[each.kind]})" for each in held[:3])
    more = f" and {len(held) - 3} more" if len(held) > 3 else ""
    # Settings as they are now are part of the list, because `-c` replaces the whole value.
    paths = json.dumps(
        [*allowed, *(plain(each.path) for each in held)], ensure_ascii=False, separators=(",", ":")
    )
    command = f"orchestrator resume {run} -c {shlex.quote(f'landing.allow={paths}')}"
    fix = f"Remove or ignore these files and resume, or allow them: {command}"
    return f"the commit would contain {shown}{more}\n{fix}"


_HELD_WORDS: dict[HeldKind, str] = {
    "credential": "looks like a credential",
    "settings": "settings of a tool on your host",
}


async def _was_built_upon(records: RunRecords, workspace: Workspace, candidate: str, expected: str) -> bool:
    """Whether the branch already holds the candidate below newer commits.

    The delivery was complete up to the branch, then the orchestrator was killed, and the user committed on
    top before the resume. Delivering again would be refused because the branch has moved, and a task that is
    on the branch would never finish.
    """
    at = await workspace.user.find_branch_commit(records.start.branch)
    if at in (None, candidate, expected):
        return False
    return await history.is_ancestor(workspace.store, candidate, at)
