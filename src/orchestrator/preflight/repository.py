"""Checks of the code folder and of what git says about it."""

from collections.abc import Sequence

from orchestrator.errors import EnvironmentInvalid
from orchestrator.preflight.site import Finding, PlannedRun, Site, passed, warned
from orchestrator.project.catalog import finished_commits
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import is_unfinished
from orchestrator.workspace.workspace import Workspace


async def look_at_repository(site: Site) -> Finding:
    await site.inspected()
    return passed(str(site.host.folder))


async def look_at_owner(site: Site) -> Finding:
    return owner_check((await site.inspected()).owner.uid)


def owner_check(uid: int) -> Finding:
    """The agent works as whoever owns the code folder."""
    if uid != 0:
        return passed(f"agent and gates run as user {uid}, who owns the folder")
    detail = "root owns the folder, so agent and gates run as root in their containers (with IS_SANDBOX=1)"
    return warned(detail, "chown -R USER . (for a user other than root)")


async def look_at_signing(site: Site) -> Finding:
    return signing_check(signs=(await site.inspected()).signs_commits)


def signing_check(*, signs: bool) -> Finding:
    if not signs:
        return passed("your git does not sign commits")
    detail = "your git signs commits (commit.gpgSign); those of the orchestrator are not signed"
    return warned(detail, "sign what you merge: git merge --no-ff -S BRANCH")


async def look_at_git_settings(site: Site) -> Finding:
    return git_settings_check((await site.inspected()).notices)


def git_settings_check(pointing: Sequence[str]) -> Finding:
    """Settings of the user's git that name a file an agent could write."""
    if not pointing:
        return passed("none of them leads into the code folder")
    detail = f"they lead into the code folder, where an agent could write: {'; '.join(pointing)}"
    return warned(detail, "git config --unset NAME, or let it name a file outside")


async def look_at_branch(site: Site) -> Finding:
    """Whether the run can work on its branch; without a plan, what HEAD is on."""
    workspace = await site.workspace()
    if site.planned is None:
        return passed(f"HEAD is on {(await workspace.user.head()).branch or 'a detached commit'}")
    return await _look_at_planned_branch(workspace, site.planned)


async def _look_at_planned_branch(workspace: Workspace, planned: PlannedRun) -> Finding:
    to_be_made = await workspace.user.check_branch(planned.branch)
    if to_be_made and planned.earlier is not None and planned.earlier.branch_ready:
        raise EnvironmentInvalid(
            f"the branch {planned.branch} of run {planned.run} is not there any more",
            where=str(workspace.tree.folder),
            hint=f"Make it again where it was, or start over: orchestrator run --new {planned.plan}",
        )
    return passed(planned.branch)


async def look_for_foreign_work(site: Site) -> Finding:
    """HEAD with task commits of another plan's unfinished run is not ours to build on."""
    workspace = await site.workspace()
    plan = None if site.planned is None else site.planned.plan
    catalog = await site.catalog()
    others = catalog.outlines(workspace.tree.folder, besides=plan, tasks=())
    unfinished = [catalog.run(record.run) for record in others if is_unfinished(record)]
    for record in await runs_below_head(workspace, unfinished):
        raise EnvironmentInvalid(
            f"HEAD holds work of run {record.run} ({record.start.plan}), which is not finished",
            where=str(workspace.tree.folder),
            hint=f"orchestrator resume {record.run}, or orchestrator cancel {record.run}",
        )
    return passed("HEAD holds no work of an unfinished run")


async def runs_below_head(workspace: Workspace, records: Sequence[RunState]) -> list[RunState]:
    """Those of these runs of which HEAD holds a finished task."""
    held = await workspace.filter_landed(frozenset[str]().union(*map(finished_commits, records)))
    return [record for record in records if held & finished_commits(record)]


async def look_for_changes(site: Site) -> Finding:
    """Files are fit for a run, and nothing is uncommitted unless that is allowed.

    A run that has its branch takes what a person changed since as theirs, so nothing is refused then.
    """
    workspace, planned = await site.workspace(), site.planned
    if planned is not None and planned.earlier is not None and planned.earlier.branch_ready:
        return passed("what was changed since is committed as yours")
    await workspace.user.check_files()
    if planned is not None and takes_changes(planned):
        return passed("what is not committed is committed first, as yours")
    dirty = await workspace.user.dirty_paths(planned.untracked if planned is not None else frozenset())
    if dirty:
        more = f" and {len(dirty) - 3} more" if len(dirty) > 3 else ""
        raise EnvironmentInvalid(
            f"there are changes that are not committed: {', '.join(dirty[:3])}{more}",
            where=str(workspace.tree.folder),
            hint="Commit or stash them (git stash -u), or let the run commit them first: --allow-dirty",
        )
    return passed("everything is committed")


def takes_changes(planned: PlannedRun) -> bool:
    """Whether uncommitted changes are allowed: by an option now, or when the run was started."""
    earlier = planned.earlier
    return planned.allow_dirty or (earlier is not None and earlier.start.base != earlier.start.head)
