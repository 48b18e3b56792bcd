"""Marks in a plan that say "done" and that an attempt wrote: they are not the user's word.

An agent can mark any task in the plan's file, and the mark lands with the commit of the task that the agent
works on. In its own run that changes nothing, because the run uses a copy of the plan. A later run reads the
file. It would count the marked task as done although no gate has ever checked it. So a mark counts when the
user has committed it or names the task with `--keep`, and when a commit of that task is on the branch.
"""

from hashlib import sha256

from orchestrator.errors import PlanError, WorkspaceError
from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan
from orchestrator.plan.text import MAX_BYTES
from orchestrator.preflight.authors import list_edits
from orchestrator.project.plan_files import ReadPlan
from orchestrator.project.project import Project
from orchestrator.run.facts import AttemptEnded
from orchestrator.workspace import history


async def find_ticks_of_attempts(project: Project, read: ReadPlan) -> frozenset[str]:
    """Ids of the tasks that count as done in the plan only because of an attempt."""
    done = _list_done(read.plan)
    if not done:
        return done
    found = done & (
        await _find_ticks_in_commits(project, read.plan.path) | await _find_ticks_in_folder(project, read)
    )
    return found - await _find_landed_tasks(project, read.plan.path) if found else found


async def _find_ticks_in_commits(project: Project, path: str) -> frozenset[str]:
    """Tasks that are done in HEAD's plan, and were not in the last version that the user committed."""
    store = project.workspace.store
    head = (await project.workspace.user.head()).commit
    changes = await history.changes_of_path(store, tip=head, path=path)
    edits = list_edits(project)
    own = next((c for c in changes if not (history.names_run(c.message) or c.commit in edits)), None)
    if not changes or own == changes[0]:
        return frozenset()
    before = frozenset[str]() if own is None else await _read_done_at(project, own.commit, path)
    return await _read_done_at(project, head, path) - before


async def _find_ticks_in_folder(project: Project, read: ReadPlan) -> frozenset[str]:
    """Tasks that are done in a file that an attempt has left like this, and not in that run's plan."""
    digest = sha256(read.content).hexdigest()
    records = {record.run: record for record in await project.runs_of_plan(read.plan.path, tasks=())}
    for fact in project.journal.facts_of_kinds(records, [AttemptEnded.kind]):
        if not isinstance(fact.body, AttemptEnded) or fact.body.plan_sha256 != digest:
            continue
        stored = project.catalog.folder(fact.run).plan_file(records[fact.run].plan_stored)
        if stored.exists() and (content := stored.read_bytes()) != read.content:
            return _list_done(read.plan) - _parse_done(content, read.plan.path)
    return frozenset()


async def _find_landed_tasks(project: Project, path: str) -> frozenset[str]:
    """Tasks with a commit on the branch, of a run of this plan or of one that another state folder knows."""
    head = (await project.workspace.user.head()).commit
    others = {record.run for record in project.catalog.outlines(besides=path, tasks=())}
    landed = await history.list_landed_tasks(project.workspace.store, tip=head)
    return frozenset(task for run, task in landed if run not in others)


async def _read_done_at(project: Project, commit: str, path: str) -> frozenset[str]:
    try:
        content = await history.read_blob(project.workspace.store, commit, path, limit=MAX_BYTES)
    except WorkspaceError:
        return frozenset()
    return frozenset() if content is None else _parse_done(content, path)


def _parse_done(content: bytes, path: str) -> frozenset[str]:
    try:
        return _list_done(read_plan(content, path=path))
    except PlanError:
        return frozenset()


def _list_done(plan: Plan) -> frozenset[str]:
    return frozenset(task.id for task in plan.tasks if task.done)
