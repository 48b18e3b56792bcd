"""`undo` and `abandon`: undo commits of a run. Everything undone is kept and can be restored."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from orchestrator.engine.attempt import record_lost
from orchestrator.engine.context import RunRecords, Services
from orchestrator.engine.edits import find_tree_left_by, is_entangled
from orchestrator.engine.recovery import list_open_attempts, other_engine_error, stop_all
from orchestrator.engine.undo import carry_out_undo, finish_undo
from orchestrator.errors import CannotStart, EnvironmentInvalid, UsageError
from orchestrator.preflight.authors import list_edits
from orchestrator.preflight.leftovers import refuse_living_containers
from orchestrator.project.host import Host
from orchestrator.project.project import Project, open_project
from orchestrator.project.records import OpenRecords
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.endings import run_ended_fact
from orchestrator.run.facts import UndoneTask, UndoStarted
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.orphans import AnsweringEngine, find_other_engine
from orchestrator.text import plain
from orchestrator.workspace import history
from orchestrator.workspace.delivery import export_to_user_repository
from orchestrator.workspace.differences import ABSENT, list_differences
from orchestrator.workspace.workspace import Workspace

Say = Callable[[str], None]


def _say_nothing(_line: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoResult:
    """The effect of an undo or abandon, and the commits from which everything can be restored."""

    run: str
    branch: str
    target: str
    saved: tuple[str, ...]
    """Commits with the folder's earlier content: several if an earlier undo was killed."""
    undone: tuple[UndoneTask, ...]
    """The undone tasks, newest first."""
    edits: tuple[str, ...] = ()
    """The commits between them in which the orchestrator had committed the user's changes, newest first."""
    staged: str | None = None
    """The commit with the staged content, where that differed from the folder."""
    uncommitted: tuple[str, ...] = ()
    """Files that were changed back and whose content in the folder had been in no commit of the branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRequest:
    run: str
    """Id, unambiguous prefix or plan."""
    task: str


async def undo(host: Host, request: UndoRequest, *, say: Say = _say_nothing) -> UndoResult:
    """Undo a task's commit and all later ones of the run; these tasks are pending again.

    Each file that will change, and each that is spared, is reported by `say` before the first one changes.
    """
    async with open_project(host) as project:
        state, task = project.find_run_of_folder(request.run), request.task
        if task not in state.tasks:
            raise UsageError(
                f"run {state.run} has no task {task}", hint=f"Its tasks: {', '.join(state.tasks)}"
            )
        with project.folder_lock(state.run) as lock, project.run_lock(state.run):
            await project.remove_scratch(lock)
            return await _undo_commits(project, state.run, task, say)


async def abandon(host: Host, wanted: str, *, say: Say = _say_nothing) -> UndoResult | None:
    """Undo all commits of the run and cancel it. None when the run had not reached its branch.

    `say` as in `undo`.
    """
    async with open_project(host) as project:
        state = project.find_run_of_folder(wanted)
        with project.folder_lock(state.run) as lock, project.run_lock(state.run):
            await project.remove_scratch(lock)
            state = project.catalog.run(state.run)
            if state.branch_ready:
                taken = await _undo_commits(project, state.run, None, say)
            else:
                taken = None
                journal = RunJournal.open(project.journal, state.run)
                await stop_work(project.host, project.records, journal, project.workspace)
            await project.journal.append(state.run, run_ended_fact("cancelled", "abandoned"))
            return taken


async def _undo_commits(project: Project, run: str, task: str | None, say: Say) -> UndoResult:
    """Undo the commits of `task` and later ones, or of all tasks; requires both locks.

    The undo is recorded before the branch moves: after a kill the next command finds it and finishes it.
    """
    journal = RunJournal.open(project.journal, run)
    await refuse_lost(project.host, journal.state)
    async with project.host.connect_engine() as engine:
        await refuse_living_containers(engine, project.folder, run=run)
    untouched = await project.list_untracked_files(journal.state.start.plan, journal.state)
    folder = project.catalog.folder(run)
    # An undo that was killed may have moved branch or files. Until it is finished, the folder is neither the
    # old state nor the new one.
    finished = await finish_undo(project.workspace, journal, folder, untouched)
    if finished is not None and finished.is_cancelled:
        raise UsageError(
            "an earlier undo was killed and the branch has moved since, so that undo was cancelled; "
            "nothing was changed",
            where=str(project.folder),
            hint=f"The folder before that undo: git show {finished.undo.saved}",
        )
    if finished is not None and task in [entry.task for entry in finished.undo.tasks]:
        return _undo_result(journal.state, finished.undo, finished.saved)
    state = journal.state
    head = await _require_own_head(project, state)
    undone = await _find_landed_tasks(project, state, head, task)
    store = project.workspace.store
    target = state.start.base if task is None else await history.parent_of(store, undone[-1].commit)
    if not await history.is_ancestor(store, target, head):
        raise UsageError(
            f"{state.start.branch} does not contain {target[:12]}, the commit from which the run started",
            where=str(project.folder),
            hint=f"There is nothing to undo. To stop the run for good: orchestrator cancel {run}",
        )
    edits = await _list_edits_between(project, target, head, undone)
    await stop_work(project.host, project.records, journal, project.workspace)
    ref = await journal.reserve_ref("undo")
    # Saved before anything moves: an undo must never be the reason why the user's uncommitted work is gone.
    saved = await project.workspace.tree.salvage(
        ref,
        parent=head,
        message=f"Folder before work of run {run} was undone\n",
        ignored_before=folder.list_paths_ignored_before(),
        base=state.start.base,
    )
    staged = await _keep_staged(project, journal, head, saved)
    spared = await _find_spared(project.workspace, journal.state, target, head, saved)
    undo = UndoStarted(
        target=target, expected=head, saved=saved, ref=ref, tasks=undone, spared=tuple(sorted(spared))
    )
    uncommitted = await _list_changes(project.workspace, undo, untouched, say)
    await journal.append(undo)
    await carry_out_undo(project.workspace, journal, undo, untouched)
    earlier = finished.saved if finished is not None else ()
    result = _undo_result(state, undo, (saved, *earlier))
    return replace(result, staged=staged, edits=edits, uncommitted=uncommitted)


async def _find_spared(
    workspace: Workspace, state: RunState, target: str, head: str, saved: str
) -> frozenset[str]:
    """Files with changes that the user made after the run's own work, and that this work did not touch.

    The run's work is what its commits changed, and what the last attempt at an unfinished task left. Where
    that was not stored before a kill, every change may be an attempt's.
    """
    git = workspace.store.git
    touched = {each.path for each in await list_differences(git, target, head)}
    for task in state.tasks.values():
        if task.last is None or task.is_done:
            continue
        left = await find_tree_left_by(workspace, task.last)
        if left is None:
            return frozenset()
        touched |= {each.path for each in await list_differences(git, left.parent, left.tree)}
    work = frozenset(touched)
    changed = [each.path for each in await list_differences(git, head, saved)]
    # A path that is not UTF-8 cannot be written into the journal.
    return frozenset(
        path for path in changed if path not in work and not is_entangled(path, work) and path.isprintable()
    )


async def _list_changes(
    workspace: Workspace, undo: UndoStarted, untouched: frozenset[str], say: Say
) -> tuple[str, ...]:
    """Report the files that change and those that are spared. Returns the former with uncommitted content."""
    git = workspace.store.git
    found = await list_differences(git, undo.saved, undo.target)
    changed = [each for each in found if each.path not in untouched and each.path not in undo.spared]
    if changed:
        say(f"Files that go back to {undo.target[:12]}:")
    for each in changed:
        verb = "remove" if each.mode == ABSENT else "restore" if each.before == ABSENT else "change"
        say(f"  {verb} {plain(each.path)}")
    if undo.spared:
        say("Files that stay as you left them:")
    for path in undo.spared:
        say(f"  {plain(path)}")
    of_folder = await list_differences(git, undo.expected, undo.saved)
    uncommitted = {each.path for each in of_folder if each.mode != ABSENT}
    return tuple(each.path for each in changed if each.path in uncommitted)


async def _keep_staged(project: Project, journal: RunJournal, head: str, saved: str) -> str | None:
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


async def _require_own_head(project: Project, state: RunState) -> str:
    head = await project.workspace.user.head()
    if head.branch != state.start.branch and state.branch_ready:
        raise EnvironmentInvalid(
            f"HEAD is on {head.branch or 'a detached commit'}, not on {state.start.branch}",
            where=str(project.folder),
            hint=f"Switch to it: git switch {state.start.branch}",
        )
    return head.commit


async def _find_landed_tasks(
    project: Project, state: RunState, head: str, task: str | None
) -> tuple[UndoneTask, ...]:
    """The run's tasks that are on the branch, newest first, down to `task`; all of them without one."""
    commits = {
        each.finished.commit: each.entry.id
        for each in state.tasks.values()
        if each.finished is not None and each.finished.status == "completed" and each.finished.commit
    }
    # Earlier commits of a task that was done again belong to the run, too.
    commits |= {commit: each.entry.id for each in state.tasks.values() for commit in each.replaced}
    # A landing that was killed after the branch had moved has its commit there without a finished task.
    commits |= {each.landing.candidate: each.entry.id for each in state.tasks.values() if each.landing}
    between = await history.commits_between(project.workspace.store, state.start.base, head)
    landed = [UndoneTask(task=commits[commit], commit=commit) for commit in between if commit in commits]
    if task is None:
        return tuple(landed)
    ids = [entry.task for entry in landed]
    if task not in ids:
        raise await _explain_nothing_to_undo(project, state, task, ids)
    return tuple(landed[: ids.index(task) + 1])


async def _explain_nothing_to_undo(
    project: Project, state: RunState, task: str, ids: list[str]
) -> UsageError:
    known = state.tasks.get(task)
    imported = known.finished.commit if known is not None and known.finished is not None else None
    for other in await project.runs_of_plan(state.start.plan) if imported else []:
        done = other.tasks.get(task)
        end = done.finished if done is not None else None
        if end is not None and (end.status, end.commit) == ("completed", imported):
            return UsageError(
                f"task {task} was done before run {state.run}, by run {other.run}",
                hint=f"Undo it in that run: orchestrator undo {other.run} {task}",
            )
    return UsageError(
        f"task {task} of run {state.run} has no commit on {state.start.branch}",
        hint=f"Tasks with a commit: {', '.join(ids) or 'none'}",
    )


async def _list_edits_between(
    project: Project, target: str, head: str, undone: tuple[UndoneTask, ...]
) -> tuple[str, ...]:
    """The commits from `target` to `head` in which the orchestrator committed the user's changes.

    Raises UsageError when there are commits that are neither these nor the run's.
    """
    edits, ours = list_edits(project), {entry.commit for entry in undone}
    between = await history.commits_between(project.workspace.store, target, head)
    foreign = [commit for commit in between if commit not in ours | edits]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UsageError(
            f"the branch has commits of others after {target[:12]}: {foreign[0][:12]}{more}",
            where=str(project.folder),
            hint=f"Move them to another branch first; to list them: git log {target[:12]}..",
        )
    return tuple(commit for commit in between if commit in edits - ours)


async def stop_work(
    host: Host,
    records: OpenRecords,
    journal: RunJournal,
    workspace: Workspace | None,
    *,
    lost_engine: bool = False,
) -> None:
    """Stop the run's agents, record their ends as cancelled, and remove the run's containers.

    Without a workspace the changes of these attempts in the code folder are not saved. With `lost_engine`
    the ends of agents that another engine has are recorded without it; else this raises EnvironmentInvalid.
    """
    state = journal.state
    own = RunRecords(
        run=state.run,
        state_id=records.state.id,
        folder=records.catalog.folder(state.run),
        journal=journal,
    )
    lost = await list_lost(host, state)
    if lost and not lost_engine:
        await refuse_lost(host, state)
    for task, attempt in lost:
        driver = host.agent_driver(attempt.agent(state))
        await record_lost(driver, own, workspace, task, attempt)
    try:
        async with host.connect_engine() as engine:
            driver = host.agent_driver(state.options.agent)
            services = Services(
                engine=engine, driver=driver, agent_driver=host.agent_driver, model=None, clock=host.clock
            )
            await stop_all(services, own, workspace, journal.state, "cancelled")
    except CannotStart:
        if not lost_engine:
            raise


async def list_lost(host: Host, state: RunState) -> list[tuple[str, AttemptState]]:
    """Attempts without an end whose container another engine has made than the one that answers now.

    If no engine answers, these are all attempts that have a container.
    """
    at_work = [each for each in list_open_attempts(state) if each[1].created is not None]
    if not at_work:
        return []
    try:
        async with host.connect_engine() as connected:
            info = await connected.info()
    except CannotStart:
        return at_work
    engine = AnsweringEngine(id=info.id, endpoint=info.endpoint)
    return [each for each in at_work if find_other_engine(each[1], engine) is not None]


async def refuse_lost(host: Host, state: RunState) -> None:
    """Raises EnvironmentInvalid if another engine than the one that answers now has an agent of the run."""
    for _, attempt in await list_lost(host, state):
        assert attempt.created is not None
        raise other_engine_error(state.run, attempt, attempt.created)
