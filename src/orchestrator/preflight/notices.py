"""Notices for the user when a run starts or is resumed. No notice stops the run."""

import asyncio
import os
from hashlib import sha256

from orchestrator.agents.registry import LOGIN_FOLDERS
from orchestrator.config import Settings
from orchestrator.containers.machine import describe_withheld_proxies
from orchestrator.gates.uninstalled import describe_uninstalled
from orchestrator.plan.model import Plan
from orchestrator.preflight.repository import find_runs_below_head
from orchestrator.project.manifest_files import find_project
from orchestrator.project.plan_files import ReadPlan
from orchestrator.project.project import Project
from orchestrator.run.facts import AttemptEnded
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import NewRun, ResumeRun, is_unfinished
from orchestrator.workspace import history


async def collect_notices(
    project: Project,
    choice: NewRun | ResumeRun,
    read: ReadPlan,
    settings: Settings,
    untracked: frozenset[str],
) -> tuple[str, ...]:
    found = list(project.workspace.user.notices)
    path = read.plan.path
    if path in untracked:
        found.append(f"{path} is not tracked by git: the run does not commit it, and gates do not see it")
    found += describe_withheld_proxies(project.host.environ, dict(settings.environment.variables))
    found += [
        f"the login volume {mount.source} is mounted into the agent's container, because your settings say so"
        for mount in settings.mounts
        if mount.target.startswith(LOGIN_FOLDERS)
    ]
    found += [
        f"masked.files: {name} does not exist, so nothing is masked (patterns are not supported)"
        for name in settings.masked.files
        if not os.path.lexists(project.folder / name)
    ]
    found += [
        f"masked.files: {name} is tracked by git, so an agent can read it in the history"
        for name in settings.masked.files
        if await project.workspace.user.is_tracked(name)
    ]
    if isinstance(choice, ResumeRun) and read.differs:
        found.append(
            f"{path} differs from this run's plan (an attempt may have changed it). The run continues with "
            "its stored copy; save your version and run `orchestrator resume` to use it."
        )
    if isinstance(choice, NewRun):
        found += await _list_uninstalled(project, settings)
        found += _describe_marks(choice, read.plan)
        found += [f"task {task} is left out" for task in choice.skipped]
        found += await _notice_plan_of_attempt(project, read)
        found += [
            f"this run builds on commits of the finished run {run.run} ({run.start.plan})"
            for run in await _find_finished_runs_below(project, path)
        ]
    return tuple(found)


async def _list_uninstalled(project: Project, settings: Settings) -> tuple[str, ...]:
    """Dependencies that the run will not install; empty when the user has decided about them."""
    if settings.setup.commands or not settings.setup.discover:
        return ()
    head = await project.workspace.user.head()
    files = await history.files(project.workspace.store, head.commit)
    found = await asyncio.to_thread(find_project, project.folder)
    return describe_uninstalled(found, files, settings.setup.folders)


def _describe_marks(choice: NewRun, plan: Plan) -> list[str]:
    """Lists tasks that the run does not carry out because of marks in the plan, and marks that it ignores."""
    done = [id for id, commit in choice.imported.items() if commit is None]
    found = []
    if done:
        count = f"{len(done)} of {len(plan.tasks)} tasks count as done in {plan.path} and are not carried out"
        found.append(f"{count}: {', '.join(done[:20])}{' …' if len(done) > 20 else ''}")
    out = [entry.message for entry in plan.diagnostics if entry.code == "left-out-task"]
    found += [*out[:20], *([f"and {len(out) - 20} more are left out"] if len(out) > 20 else [])]
    found += [
        f"task {id} is marked as done in {plan.path}, but an attempt wrote the mark: the task is carried "
        f"out. If it is done, commit the mark yourself, or: orchestrator run {plan.path} --keep {id}"
        for id in choice.unconfirmed
    ]
    return found


async def _notice_plan_of_attempt(project: Project, read: ReadPlan) -> list[str]:
    path, digest = read.plan.path, sha256(read.content).hexdigest()
    records = {record.run: record for record in await project.runs_of_plan(path, tasks=())}
    ends = project.journal.facts_of_kinds(records, [AttemptEnded.kind])
    leaving = [each.run for each in ends if getattr(each.body, "plan_sha256", None) == digest]
    for run in dict.fromkeys(leaving):
        record = records[run]
        own = project.catalog.folder(run).plan_file(record.plan_stored)
        if own.exists() and own.read_bytes() != read.content:
            return [f"{path} was last changed by an attempt of run {record.run}; that run's plan is {own}"]
    return []


async def _find_finished_runs_below(project: Project, plan: str) -> list[RunState]:
    others = project.catalog.outlines(project.folder, besides=plan)
    return await find_runs_below_head(project.workspace, [each for each in others if not is_unfinished(each)])
