"""What a person should know about a run before it goes on; nothing here stops it."""

import os
from hashlib import sha256

from orchestrator.config import Settings
from orchestrator.errors import UsageError
from orchestrator.plan_files import read_plan_bytes
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import GoOn, NewRun, is_unfinished
from orchestrator.supervision.plan_edits import left_by_attempts
from orchestrator.wiring.place import Place, ReadPlan

CREDENTIALS_TARGET = "/home/agent/.claude"
"""Where the agent's CLI looks for a login."""


async def notices(
    place: Place, choice: NewRun | GoOn, read: ReadPlan, settings: Settings, untracked: frozenset[str]
) -> tuple[str, ...]:
    found = list(place.workspace.notices)
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
        if not os.path.lexists(place.folder / name)
    ]
    found += [
        f"masked.files: {name} is tracked, so an agent can read what git's history holds of it"
        for name in settings.masked.files
        if await place.workspace.is_tracked(name)
    ]
    if isinstance(choice, GoOn) and _edited(place, read):
        found.append(
            f"{path} is not the plan of this run any more, by an attempt perhaps: the run goes on with its "
            "own. Save a version of yours, and `orchestrator resume` takes it"
        )
    if isinstance(choice, NewRun):
        found += [f"task {task} is left out" for task in choice.skipped]
        found += await _left_by_an_attempt(place, read)
        found += [
            f"HEAD holds work of the finished run {run.run} ({run.start.plan}), on which this one builds"
            for run in await _finished_below(place, path)
        ]
    return tuple(found)


async def _left_by_an_attempt(place: Place, read: ReadPlan) -> list[str]:
    path, digest = read.plan.path, sha256(read.content).hexdigest()
    for record in await place.records_here(path):
        own = place.records.folder(record.run).stored_plan(record.plan_stored)
        if digest in left_by_attempts(record) and own.exists() and own.read_bytes() != read.content:
            return [f"{path} is as an attempt of run {record.run} left it; that run's own is {own}"]
    return []


def _edited(place: Place, read: ReadPlan) -> bool:
    try:
        return read_plan_bytes(place.folder / read.plan.path, read.plan.path) != read.content
    except UsageError:
        return True


async def _finished_below(place: Place, plan: str) -> list[RunState]:
    others = [r for r in place.records.of(place.folder) if r.start.plan != plan and not is_unfinished(r)]
    held = await place.on_branch(others)
    return [
        record
        for record in others
        if any(task.finished is not None and task.finished.commit in held for task in record.tasks.values())
    ]
