"""Checks of the code folder and its repository."""

import os
from collections.abc import Sequence

from orchestrator.errors import EnvironmentInvalid, WorkspaceError
from orchestrator.preflight.site import Finding, PlannedRun, Site, report_passed, report_warning
from orchestrator.project.catalog import RunCatalog, list_finished_commits
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import is_unfinished
from orchestrator.workspace.differences import list_differences
from orchestrator.workspace.git import stash_command
from orchestrator.workspace.workspace import Workspace


async def check_repository(site: Site) -> Finding:
    await site.inspected()
    return report_passed(str(site.host.folder))


async def check_owner(site: Site) -> Finding:
    return owner_finding((await site.inspected()).owner.uid)


def owner_finding(uid: int) -> Finding:
    """The agent runs as the owner of the code folder."""
    if uid != 0:
        return report_passed(f"agent and gates run as user {uid}, who owns the folder")
    detail = "root owns the folder, so agent and gates run as root in their containers (with IS_SANDBOX=1)"
    return report_warning(detail, "Give the folder to another user: chown -R USER .")


async def check_signing(site: Site) -> Finding:
    return signing_finding(signs=(await site.inspected()).signs_commits)


def signing_finding(*, signs: bool) -> Finding:
    if not signs:
        return report_passed("your git does not sign commits")
    detail = "your git signs commits (commit.gpgSign), but the commits of a run are not signed"
    return report_warning(detail, "Sign the merge: git merge --no-ff -S BRANCH")


async def check_git_settings(site: Site) -> Finding:
    return git_settings_finding((await site.inspected()).notices)


def git_settings_finding(pointing: Sequence[str]) -> Finding:
    """Settings of the user's git that name a file which an agent can write."""
    if not pointing:
        return report_passed("no git setting names a file in the code folder")
    detail = f"git settings name files in the code folder, where an agent can write: {'; '.join(pointing)}"
    return report_warning(
        detail, "Remove each (git config --unset NAME), or let it name a file outside the folder."
    )


async def check_branch(site: Site) -> Finding:
    """Whether the run can work on its branch; without a plan, the branch of HEAD."""
    workspace = await site.workspace()
    if site.planned is None:
        return report_passed(f"HEAD is on {(await workspace.user.head()).branch or 'a detached commit'}")
    if site.planned.earlier is None:
        await _check_branch_is_own(workspace, await site.catalog(), site.planned)
    return await _check_planned_branch(workspace, site.planned)


async def _check_branch_is_own(workspace: Workspace, catalog: RunCatalog, planned: PlannedRun) -> None:
    """A branch named after the plan must not be that of another plan with the same name.

    A plan may have been moved to another folder, so only a plan that is still there counts. A plan that says
    the name of its branch shares it because the user says so; the run's notices name what is on it.
    """
    if planned.names_branch or await workspace.user.find_branch_commit(planned.branch) is None:
        return
    folder = workspace.tree.folder
    for record in catalog.outlines(folder, besides=planned.plan, tasks=()):
        if record.start.branch == planned.branch and os.path.lexists(folder / record.start.plan):
            raise EnvironmentInvalid(
                f"{planned.branch} is the branch of another plan, {record.start.plan} (run {record.run})",
                where=planned.plan,
                hint="Give this plan a branch of its own, in a line **Branch:** `NAME` above its first task.",
            )


async def _check_planned_branch(workspace: Workspace, planned: PlannedRun) -> Finding:
    to_be_made = await workspace.user.check_branch(planned.branch)
    if to_be_made and planned.earlier is not None and planned.earlier.branch_ready:
        raise EnvironmentInvalid(
            f"the branch {planned.branch} of run {planned.run} no longer exists",
            where=str(workspace.tree.folder),
            hint=f"Create it again at its last commit, or start over: orchestrator run --new {planned.plan}",
        )
    return report_passed(planned.branch)


async def check_foreign_work(site: Site) -> Finding:
    """HEAD must not contain task commits of another plan's unfinished run: that run may still undo them."""
    workspace = await site.workspace()
    plan = None if site.planned is None else site.planned.plan
    catalog = await site.catalog()
    others = catalog.outlines(workspace.tree.folder, besides=plan, tasks=())
    unfinished = [catalog.run(record.run) for record in others if is_unfinished(record)]
    for record in await find_runs_below_head(workspace, unfinished):
        raise EnvironmentInvalid(
            f"HEAD contains commits of run {record.run} ({record.start.plan}), which is not finished",
            where=str(workspace.tree.folder),
            hint=f"Finish it: orchestrator resume {record.run}, or stop it: orchestrator cancel {record.run}",
        )
    return report_passed("HEAD contains no commits of an unfinished run")


async def find_runs_below_head(workspace: Workspace, records: Sequence[RunState]) -> list[RunState]:
    """Those of these runs with a finished task whose commit HEAD contains."""
    held = await workspace.filter_landed(frozenset[str]().union(*map(list_finished_commits, records)))
    return [record for record in records if held & list_finished_commits(record)]


async def check_changes(site: Site) -> Finding:
    """Git can commit the files, and nothing is uncommitted unless that is allowed.

    Once a run has its branch, changes made since are committed as the user's, so they are not refused.
    """
    workspace, planned = await site.workspace(), site.planned
    if planned is not None and planned.earlier is not None and planned.earlier.branch_ready:
        return report_passed("changes made since the last attempt will be committed in your name")
    await workspace.user.check_refs()
    await workspace.user.check_files()
    if site.allow_dirty or (planned is not None and commits_changes_first(planned)):
        return report_passed("uncommitted changes will be committed first, in your name")
    kept = planned.untracked if planned is not None else frozenset[str]()
    dirty = await workspace.user.list_dirty_paths(kept)
    if dirty:
        more = f" and {len(dirty) - 3} more" if len(dirty) > 3 else ""
        run = await _find_run_that_left(site, workspace, frozenset(dirty))
        ways = (
            f"Commit or stash them ({stash_command(kept)}), or let the run commit them first: --allow-dirty"
        )
        if run is not None:
            ways = (
                f"A failed attempt of run {run} left files there. Continue it: orchestrator resume {run}, "
                f"or remove them: orchestrator abandon {run}\n{ways}"
            )
        raise EnvironmentInvalid(
            f"there are uncommitted changes: {', '.join(dirty[:3])}{more}",
            where=str(workspace.tree.folder),
            hint=ways,
        )
    return report_passed("everything is committed")


async def _find_run_that_left(site: Site, workspace: Workspace, dirty: frozenset[str]) -> str | None:
    """The unfinished run with an attempt that changed one of these files, and whose task is not done."""
    catalog = await site.catalog()
    for outline in catalog.outlines(workspace.tree.folder, tasks=()):
        if not is_unfinished(outline):
            continue
        for task in catalog.run(outline.run).tasks.values():
            kept = None if task.last is None or task.is_done else task.last.saved or task.last.candidate
            if kept is None or task.last is None:
                continue
            try:
                changed = await list_differences(workspace.store.git, task.last.start.parent, kept.commit)
            except WorkspaceError:  # one of the two commits is gone
                continue
            if dirty.intersection(each.path for each in changed):
                return outline.run
    return None


def commits_changes_first(planned: PlannedRun) -> bool:
    """Whether uncommitted changes are allowed: by an option now, or when the run was started."""
    earlier = planned.earlier
    return planned.allow_dirty or (earlier is not None and earlier.start.base != earlier.start.head)
