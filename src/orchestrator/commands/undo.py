"""`undo` and `abandon`: take commits of a run off the branch. Neither loses anything."""

from dataclasses import dataclass, replace
from functools import partial

from orchestrator.engine.context import RunRecords, Services
from orchestrator.engine.recovery import stop_all
from orchestrator.engine.undo import FinishedUndo, carry_out_undo, finish_undo
from orchestrator.errors import EnvironmentInvalid, UsageError
from orchestrator.preflight.leftovers import refuse_living_containers
from orchestrator.project.host import Host
from orchestrator.project.project import Project, opened_project
from orchestrator.project.run_folder import RunFolder
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.endings import run_ended
from orchestrator.run.facts import UndoneTask, UndoStarted
from orchestrator.run.state import RunState
from orchestrator.workspace import history
from orchestrator.workspace.delivery import export_to_user_repository
from orchestrator.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoResult:
    """What an undo or abandon did, and how to get everything back."""

    run: str
    branch: str
    target: str
    saved: tuple[str, ...]
    """Commits that hold the folder as it was: several when an undo had been killed."""
    undone: tuple[UndoneTask, ...]
    """What was taken off the branch, newest first."""
    staged: str | None = None
    """The commit that holds what was staged, where the folder had something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRequest:
    run: str
    """Id, unambiguous prefix or plan."""
    task: str


async def undo(host: Host, request: UndoRequest) -> UndoResult:
    """Take a task's commit and all later ones of the run off the branch; the tasks are pending again."""
    async with opened_project(host) as project:
        state, task = project.run_of_this_folder(request.run), request.task
        if task not in state.tasks:
            raise UsageError(f"run {state.run} has no task {task}", hint=f"It has: {', '.join(state.tasks)}")
        with project.folder_lock(state.run), project.run_lock(state.run):
            project.remove_stale_index_lock()
            return await _undo_commits(project, state.run, task)


async def abandon(host: Host, wanted: str) -> UndoResult | None:
    """Bring the branch back to the run's base; the run is cancelled. None: it had not got to its branch."""
    async with opened_project(host) as project:
        state = project.run_of_this_folder(wanted)
        with project.folder_lock(state.run), project.run_lock(state.run):
            project.remove_stale_index_lock()
            state = project.catalog.run(state.run)
            if state.branch_ready:
                taken = await _undo_commits(project, state.run, None)
            else:
                taken = None
                await _stop_work(project, RunJournal.open(project.journal, state.run))
            await project.journal.append(state.run, run_ended("cancelled", "abandoned"))
            return taken


async def _undo_commits(project: Project, run: str, task: str | None) -> UndoResult:
    """With both locks held: announce, bring everything back, and say how to return."""
    async with project.host.connect_engine() as engine:
        await refuse_living_containers(engine, project.folder, run=run)
    journal = RunJournal.open(project.journal, run)
    untouched = await project.untracked(journal.state.start.plan, run=journal.state.run)
    folder = project.catalog.folder(run)
    finished = await finish_undo(project.workspace, journal, folder, untouched)
    if finished is not None and finished.is_cancelled:
        raise _given_up(project, finished)
    if finished is not None and task in [entry.task for entry in finished.undo.tasks]:
        return _undo_result(journal.state, finished.undo, finished.saved)
    state = journal.state
    head = await _head(project, state)
    undone = await _landed(project, state, head, task)
    store = project.workspace.store
    target = state.start.base if task is None else await history.parent_of(store, undone[-1].commit)
    if not await history.is_ancestor(store, target, head):
        raise UsageError(
            f"{state.start.branch} does not hold the commit {target[:12]}, on which the run began",
            where=str(project.folder),
            hint=f"There is nothing to take back. To give the run up: orchestrator cancel {run}",
        )
    await _refuse_foreign(project, target, head, undone)
    await _stop_work(project, journal)
    ref = await journal.reserve_ref("undo")
    saved = await project.workspace.tree.salvage(
        ref,
        parent=head,
        message=f"Folder before work of run {run} was taken back\n",
        ignored_before=folder.ignored_before(),
        base=state.start.base,
    )
    staged = await _kept_staged(project, journal, head, saved)
    undo = UndoStarted(target=target, expected=head, saved=saved, ref=ref, tasks=undone)
    await journal.append(undo)
    await carry_out_undo(project.workspace, journal, undo, untouched)
    earlier = finished.saved if finished is not None else ()
    return replace(_undo_result(state, undo, (saved, *earlier)), staged=staged)


async def _kept_staged(project: Project, journal: RunJournal, head: str, saved: str) -> str | None:
    state, base = journal.state, journal.state.start.base
    ref = partial(journal.reserve_ref, "staged")
    store, user = project.workspace.store, project.workspace.user
    kept = await user.keep_staged(head=head, ref=ref, base=base)
    if kept is None or await history.tree_of(store, kept) == await history.tree_of(store, saved):
        return None
    await export_to_user_repository(user, kept, run=state.run, base=base)
    return kept


def _undo_result(state: RunState, undo: UndoStarted, saved: tuple[str, ...]) -> UndoResult:
    return UndoResult(
        run=state.run,
        branch=state.start.branch,
        target=undo.target,
        saved=saved,
        undone=undo.tasks,
    )


def _given_up(project: Project, finished: FinishedUndo) -> UsageError:
    return UsageError(
        "an earlier undo was killed, and the branch has moved since: it is given up, nothing was changed",
        where=str(project.folder),
        hint=f"The folder before it: git show {finished.undo.saved}",
    )


async def _head(project: Project, state: RunState) -> str:
    head = await project.workspace.user.head()
    if head.branch != state.start.branch and state.branch_ready:
        raise EnvironmentInvalid(
            f"HEAD is on {head.branch or 'a detached commit'}, not on {state.start.branch}",
            where=str(project.folder),
            hint=f"git switch {state.start.branch}",
        )
    return head.commit


async def _landed(project: Project, state: RunState, head: str, task: str | None) -> tuple[UndoneTask, ...]:
    """The run's tasks that are on the branch, newest first, down to `task`; all of them without one."""
    commits = {
        each.finished.commit: each.entry.id
        for each in state.tasks.values()
        if each.finished is not None and each.finished.status == "completed" and each.finished.commit
    }
    # What a task that was done again had brought before is the run's as well.
    commits |= {commit: each.entry.id for each in state.tasks.values() for commit in each.replaced}
    # One whose landing was killed after the branch had moved is there too.
    commits |= {each.landing.candidate: each.entry.id for each in state.tasks.values() if each.landing}
    between = await history.commits_between(project.workspace.store, state.start.base, head)
    landed = [UndoneTask(task=commits[commit], commit=commit) for commit in between if commit in commits]
    if task is None:
        return tuple(landed)
    ids = [entry.task for entry in landed]
    if task not in ids:
        raise await _nothing_to_undo(project, state, task, ids)
    return tuple(landed[: ids.index(task) + 1])


async def _nothing_to_undo(project: Project, state: RunState, task: str, ids: list[str]) -> UsageError:
    known = state.tasks.get(task)
    imported = known.finished.commit if known is not None and known.finished is not None else None
    for other in await project.runs_of_plan(state.start.plan) if imported else []:
        done = other.tasks.get(task)
        end = done.finished if done is not None else None
        if end is not None and (end.status, end.commit) == ("completed", imported):
            return UsageError(
                f"task {task} was done before run {state.run}, by run {other.run}",
                hint=f"orchestrator undo {other.run} {task}",
            )
    return UsageError(
        f"task {task} of run {state.run} has no commit on {state.start.branch}",
        hint=f"These have: {', '.join(ids) or 'none'}",
    )


async def _refuse_foreign(project: Project, target: str, head: str, undone: tuple[UndoneTask, ...]) -> None:
    ours = {entry.commit for entry in undone}
    between = await history.commits_between(project.workspace.store, target, head)
    foreign = [commit for commit in between if commit not in ours]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UsageError(
            f"commits that are not this run's stand above {target[:12]}: {foreign[0][:12]}{more}",
            where=str(project.folder),
            hint=f"Look at them with git log {target[:12]}.. and move them elsewhere first.",
        )


async def stop_work(
    host: Host, journal: RunJournal, *, state_id: str, folder: RunFolder, workspace: Workspace | None
) -> None:
    """Remove the run's containers; attempts that had not ended are recorded as cancelled first.

    Without a workspace what they left in the code folder is not saved.
    """
    state = journal.state
    records = RunRecords(run=state.run, state_id=state_id, folder=folder, journal=journal)
    async with host.connect_engine() as engine:
        driver = host.agent_driver(state.options.agent)
        services = Services(engine=engine, driver=driver, model=None, clock=host.clock)
        await stop_all(services, records, workspace, state, "cancelled")


async def _stop_work(project: Project, journal: RunJournal) -> None:
    folder = project.catalog.folder(journal.state.run)
    await stop_work(
        project.host, journal, state_id=project.state.id, folder=folder, workspace=project.workspace
    )
