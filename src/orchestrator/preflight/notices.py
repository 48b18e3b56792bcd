"""What a person should know about a run before it goes on; nothing here stops it."""

import os
from hashlib import sha256

from orchestrator.config import Settings
from orchestrator.errors import UsageError
from orchestrator.project.plan_files import read_plan_bytes
from orchestrator.project.project import Project, ReadPlan
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import NewRun, ResumeRun, is_unfinished
from orchestrator.supervision.plan_edits import left_by_attempts

CREDENTIALS_TARGET = "/home/agent/.claude"
"""Where the agent's CLI looks for a login."""


async def notices(
    project: Project,
    choice: NewRun | ResumeRun,
    read: ReadPlan,
    settings: Settings,
    untracked: frozenset[str],
) -> tuple[str, ...]:
    found = list(project.workspace.user.notices)
    path = read.plan.path
    if path in untracked:
        found.append(f"{path} is not tracked by git: it stays so, and gates do not see it")
    found += [
        f"the login volume {mount.source} is mounted into the agent's container, because your settings say so"
        for mount in settings.mounts
        if mount.target.startswith(CREDENTIALS_TARGET)
    ]
    found += [
        f"masked.files: {name} masks nothing, there is no such file (patterns are not read)"
        for name in settings.masked.files
        if not os.path.lexists(project.folder / name)
    ]
    found += [
        f"masked.files: {name} is tracked, so an agent can read what git's history holds of it"
        for name in settings.masked.files
        if await project.workspace.user.is_tracked(name)
    ]
    if isinstance(choice, ResumeRun) and _edited(project, read):
        found.append(
            f"{path} is not the plan of this run any more, by an attempt perhaps: the run goes on with its "
            "own. Save a version of yours, and `orchestrator resume` takes it"
        )
    if isinstance(choice, NewRun):
        found += [f"task {task} is left out" for task in choice.skipped]
        found += await _left_by_an_attempt(project, read)
        found += [
            f"HEAD holds work of the finished run {run.run} ({run.start.plan}), on which this one builds"
            for run in await _finished_below(project, path)
        ]
    return tuple(found)


async def _left_by_an_attempt(project: Project, read: ReadPlan) -> list[str]:
    path, digest = read.plan.path, sha256(read.content).hexdigest()
    for record in await project.runs_of_plan(path):
        own = project.catalog.folder(record.run).stored_plan(record.plan_stored)
        if digest in left_by_attempts(record) and own.exists() and own.read_bytes() != read.content:
            return [f"{path} is as an attempt of run {record.run} left it; that run's own is {own}"]
    return []


def _edited(project: Project, read: ReadPlan) -> bool:
    try:
        return read_plan_bytes(project.folder / read.plan.path, read.plan.path) != read.content
    except UsageError:
        return True


async def _finished_below(project: Project, plan: str) -> list[RunState]:
    others = [r for r in project.catalog.of(project.folder) if r.start.plan != plan and not is_unfinished(r)]
    held = await project.on_branch(others)
    return [
        record
        for record in others
        if any(task.finished is not None and task.finished.commit in held for task in record.tasks.values())
    ]
