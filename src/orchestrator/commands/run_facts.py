"""The first facts of a run, and those with which it is resumed."""

from dataclasses import dataclass
from typing import assert_never

from msgspec.structs import replace

from orchestrator.commands.image import RunImage
from orchestrator.config import LoadedSettings, settings_to_store
from orchestrator.engine.undo import finish_undo, reopen_lost_tasks
from orchestrator.errors import EnvironmentInvalid
from orchestrator.plan.model import Plan
from orchestrator.preflight.site import PlannedRun
from orchestrator.preflight.ticks import find_ticks_of_attempts
from orchestrator.project.plan_files import ReadPlan
from orchestrator.project.project import Project
from orchestrator.project.run_folder import TermsFolder
from orchestrator.project.run_journal import RunJournal, RunTransaction
from orchestrator.project.stored_terms import StoredTerms, write_terms
from orchestrator.run.endings import run_ended_fact
from orchestrator.run.facts import (
    Billing,
    Listener,
    Notice,
    QuestionAnswered,
    RunOptions,
    RunResumed,
    RunStarted,
    SettingsTaken,
    TaskAccepted,
    TaskFinished,
)
from orchestrator.run.state import PLAN_AT_START
from orchestrator.supervision.choose_run import NewRun, ResumeRun
from orchestrator.supervision.plan_edits import entries_of, find_ticked_off
from orchestrator.workspace.tree import TreeRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledRun:
    """All decisions about a run that are made before its first or next facts are written."""

    planned: PlannedRun
    options: RunOptions
    loaded: LoadedSettings
    image: RunImage
    changes: tuple[str, ...] = ()
    """How the current settings and image differ from those that a resumed run has stored."""
    take_config: bool = False
    """Whether the current ones are used from now on."""
    notices: tuple[str, ...]
    billing: Billing


async def record_start_or_resume(
    project: Project,
    choice: NewRun | ResumeRun,
    read: ReadPlan,
    settled: SettledRun,
    listeners: tuple[Listener, ...],
) -> RunJournal:
    """Write the facts with which a run starts or is resumed; listeners receive them and all later ones.

    Everything that can be refused comes before an unfinished run is cancelled in favour of a new one.
    """
    match choice:
        case NewRun():
            # It can still be refused. An unfinished run that is replaced is cancelled only after that.
            started = await run_started_fact(project, read.plan, settled, only_base=choice.only_base)
            if choice.replaces is not None:
                await cancel_superseded_run(project, choice.replaces.run)
            return await record_new_run(project, choice, read, settled, started, listeners)
        case ResumeRun():
            return await record_resume(project, choice, read, settled, listeners)
        case _ as never:
            assert_never(never)


async def record_resume(
    project: Project, choice: ResumeRun, read: ReadPlan, settled: SettledRun, listeners: tuple[Listener, ...]
) -> RunJournal:
    """Write the facts with which a run is resumed, and those about what changed while it did not run."""
    folder = project.catalog.folder(settled.planned.run)
    folder.starting.unlink(missing_ok=True)  # a kill may have come between the first fact and its removal
    journal = RunJournal.open(project.journal, settled.planned.run, listeners)
    if not journal.state.branch_ready:
        await project.workspace.user.pin_base(settled.planned.run, journal.state.start.head)
    await finish_undo(project.workspace, journal, folder, settled.planned.untracked)
    if choice.taken is not None:
        # Before the fact: after a kill in between, a copy that no fact names is harmless, and a fact without
        # its copy would make the run unusable.
        folder.plan_file(choice.taken.stored).write_bytes(read.content)
    unconfirmed = (
        await find_ticks_of_attempts(project, read) if choice.taken is not None else frozenset[str]()
    )
    taken = None
    if settled.take_config and settled.changes:
        taken = SettingsTaken(changes=settled.changes, stored=f"terms-{journal.state.epoch + 1}")
        _write_terms(folder.terms(taken.stored), settled)

    def write(run: RunTransaction) -> None:
        # A resume that was killed after `plan_taken` alone would carry out tasks that the user has ticked
        # off.
        run.append(RunResumed(options=settled.options, billing=settled.billing))
        if taken is not None:
            run.append(taken)
        elif settled.changes:
            run.append(Notice(text=_describe_changes(settled)))
        if choice.taken is not None:
            run.append(choice.taken)
            for task_id, imported in find_ticked_off(run.state, read.plan, unconfirmed=unconfirmed).items():
                run.append(imported, task=task_id)
        for task_id in dict.fromkeys(choice.accepted):
            run.append(TaskAccepted(by="resume --accept"), task=task_id)
        for text in settled.notices:
            run.append(Notice(text=text))

    await journal.transact(write)
    await reopen_lost_tasks(project.workspace, journal)
    await _answer_by_guidance(journal, settled.options.guidance)
    return journal


def _describe_changes(settled: SettledRun) -> str:
    again = f"orchestrator resume {settled.planned.run} --take-config"
    first = f"the run continues with its stored settings; to use the current ones: {again}"
    return "\n".join((first, *settled.changes))


def _write_terms(folder: TermsFolder, settled: SettledRun) -> None:
    write_terms(
        folder,
        StoredTerms(settings=settings_to_store(settled.loaded.rows), image=settled.image.stored),
        configuration=settled.loaded.repository_file or b"",
        context=settled.image.context,
    )


async def record_new_run(
    project: Project,
    choice: NewRun,
    read: ReadPlan,
    settled: SettledRun,
    started: RunStarted,
    listeners: tuple[Listener, ...],
) -> RunJournal:
    """Write a new run's first facts.

    A kill can come between any two lines. Before the facts there is only the run's folder, which the next
    start removes (`leftovers.remove_unrecorded`); the user's repository has no trace of the run yet. After
    them the run is known and can be resumed, which pins its base again.
    """
    folder = project.catalog.folder(settled.planned.run)
    folder.plan_file(PLAN_AT_START).write_bytes(read.content)
    _write_terms(folder.terms(""), settled)
    notices = [Notice(text=text) for text in settled.notices]
    imported = {id: TaskFinished(status="imported", commit=commit) for id, commit in choice.imported.items()}
    skipped = {id: TaskFinished(status="skipped", reason="left out") for id in choice.skipped}
    journal = await RunJournal.begin(
        project.journal, settled.planned.run, started, notices, {**imported, **skipped}, listeners
    )
    # From here on the folder belongs to a run that the journal knows, and is never removed as a leftover.
    folder.starting.unlink()
    await project.workspace.user.pin_base(settled.planned.run, started.head)
    return journal


async def cancel_superseded_run(project: Project, run: str) -> None:
    """Cancel the unfinished run that `--new` replaces; the new run's listeners do not receive that fact."""
    with project.run_lock(run):
        await project.journal.append(run, run_ended_fact("cancelled", "a new run was started instead"))


async def run_started_fact(
    project: Project, plan: Plan, settled: SettledRun, *, only_base: bool
) -> RunStarted:
    """The first fact of a new run. Raises EnvironmentInvalid when the user's changes cannot be committed."""
    base = head = (await project.workspace.user.head()).commit
    if settled.planned.allow_dirty and await project.workspace.user.list_dirty_paths(
        settled.planned.untracked
    ):
        base = await _commit_users_changes(project, head, settled)
    return RunStarted(
        plan=plan.path,
        plan_title=plan.title,
        folder=str(project.folder),
        branch=settled.planned.branch,
        base=base,
        head=head,
        tasks=entries_of(plan),
        end_to_end=plan.end_to_end is not None,
        options=replace(settled.options, agent=settled.loaded.settings.agent.name),
        only_base=only_base,
        billing=settled.billing,
        branch_has_namesake=await project.workspace.user.has_namesake(settled.planned.branch),
    )


async def _commit_users_changes(project: Project, head: str, settled: SettledRun) -> str:
    """The user's uncommitted changes as a commit in our repository; it lands when the branch is made."""
    try:
        snapshot = await project.workspace.tree.snapshot(
            exclude=settled.planned.untracked, baseline=await project.workspace.tree.baseline()
        )
        made = await project.workspace.tree.build_candidate(
            snapshot,
            parent=head,
            message=f"Changes before run {settled.planned.run}\n",
            overlay={},
            ref=f"refs/ktrdr/edits/{settled.planned.run}/0",
            base=head,
        )
    except TreeRefused as error:
        await project.workspace.forget(settled.planned.run)
        raise EnvironmentInvalid(
            f"your uncommitted changes cannot be committed: {error.what}",
            where=error.where,
            hint="Remove or rename it, or commit what you want to keep.",
        ) from error
    return made.commit


async def _answer_by_guidance(journal: RunJournal, guidance: str | None) -> None:
    """Guidance given to `resume` answers the open question when there is exactly one."""
    questions = journal.state.open_questions
    if guidance is not None and len(questions) == 1:
        asked = questions[0]
        answer = QuestionAnswered(question=asked.asked.question, by="resume -g", text=guidance)
        await journal.append(answer, task=asked.task, attempt=asked.attempt)
