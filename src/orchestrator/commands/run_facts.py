"""The first facts of a run, and those with which it goes on."""

from dataclasses import dataclass

from msgspec.structs import replace

from orchestrator.config import LoadedSettings
from orchestrator.engine.undo import finish_undo, see_lost
from orchestrator.errors import EnvironmentInvalid
from orchestrator.plan.model import Plan
from orchestrator.project.project import Project, ReadPlan
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.endings import run_ended
from orchestrator.run.facts import (
    Listener,
    Notice,
    QuestionAnswered,
    RunOptions,
    RunResumed,
    RunStarted,
    TaskFinished,
)
from orchestrator.run.state import PLAN_AT_START, RunState
from orchestrator.supervision.choose_run import NewRun, ResumeRun
from orchestrator.supervision.plan_edits import entries_of
from orchestrator.workspace.tree import TreeRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is settled about a run before anything is touched."""

    run: str
    branch: str
    options: RunOptions
    loaded: LoadedSettings
    untracked: frozenset[str]
    build_context: str
    """What the image was built from."""
    dirty: bool
    """Whether there are changes of the user's to be committed first."""
    notices: tuple[str, ...]


async def record_resume(
    project: Project, choice: ResumeRun, read: ReadPlan, terms: Terms, listeners: tuple[Listener, ...]
) -> RunJournal:
    """Write the fact with which a run goes on, and what has become of it meanwhile."""
    journal = RunJournal.open(project.journal, terms.run, listeners)
    await finish_undo(project.workspace, journal, project.catalog.folder(terms.run), terms.untracked)
    if choice.taken is not None:
        project.catalog.folder(terms.run).stored_plan(choice.taken.stored).write_bytes(read.content)
    await journal.append(RunResumed(options=terms.options))
    if choice.taken is not None:
        await journal.append(choice.taken)
        await _import_ticked_off(journal, read.plan)
    for text in terms.notices:
        await journal.append(Notice(text=text))
    await see_lost(project.workspace, journal)
    await _answer_by_guidance(journal, terms.options.guidance)
    return journal


async def begun(
    project: Project,
    choice: NewRun,
    read: ReadPlan,
    terms: Terms,
    started: RunStarted,
    listeners: tuple[Listener, ...],
) -> RunJournal:
    """Write a new run's first facts."""
    folder = project.catalog.folder(terms.run)
    folder.stored_plan(PLAN_AT_START).write_bytes(read.content)
    folder.configuration.write_bytes(terms.loaded.repository_file or b"")
    folder.build_context.write_text(terms.build_context, "utf-8")
    notices = [Notice(text=text) for text in terms.notices]
    imported = {id: TaskFinished(status="imported", commit=commit) for id, commit in choice.imported.items()}
    skipped = {id: TaskFinished(status="skipped", reason="left out") for id in choice.skipped}
    return await RunJournal.begin(
        project.journal, terms.run, started, notices, {**imported, **skipped}, listeners
    )


async def _import_ticked_off(journal: RunJournal, plan: Plan) -> None:
    """What the person has called done since, and nobody has begun."""
    for task in plan.tasks:
        known = journal.state.tasks[task.id]
        if task.done and known.finished is None and known.last is None and not known.was_redone:
            await journal.append(TaskFinished(status="imported", commit=None), task=task.id)


async def give_up(project: Project, state: RunState) -> None:
    """The unfinished run that `--new` takes the place of is cancelled."""
    with project.run_lock(state.run):
        await project.journal.append(state.run, run_ended("cancelled", "a new run was started instead"))


async def run_started_fact(project: Project, plan: Plan, terms: Terms) -> RunStarted:
    """What a new run starts from. Raises EnvironmentInvalid when the user's changes cannot be committed."""
    head = (await project.workspace.user.head()).commit
    await project.workspace.user.pin_base(terms.run, head)
    base = head
    if terms.dirty:
        base = await _users_commit(project, head, terms)
    return RunStarted(
        plan=plan.path,
        plan_title=plan.title,
        folder=str(project.folder),
        branch=terms.branch,
        base=base,
        head=head,
        tasks=entries_of(plan),
        end_to_end=plan.end_to_end is not None,
        options=replace(terms.options, agent=terms.loaded.settings.agent.name),
    )


async def _users_commit(project: Project, head: str, terms: Terms) -> str:
    """The user's uncommitted changes as a commit in our repository; it lands when the branch is made."""
    try:
        snapshot = await project.workspace.tree.snapshot(
            exclude=terms.untracked, baseline=await project.workspace.tree.baseline()
        )
        made = await project.workspace.tree.build_candidate(
            snapshot,
            parent=head,
            message=f"Changes before run {terms.run}\n",
            overlay={},
            ref=f"refs/ktrdr/edits/{terms.run}/0",
            base=head,
        )
    except TreeRefused as error:
        await project.workspace.forget(terms.run)
        raise EnvironmentInvalid(
            f"what is not committed cannot become a commit: {error.what}",
            where=error.where,
            hint="Remove or rename it, or commit yourself what is to stay.",
        ) from error
    return made.commit


async def _answer_by_guidance(journal: RunJournal, guidance: str | None) -> None:
    """Guidance given to `resume` is the answer when just one question is open."""
    questions = journal.state.open_questions
    if guidance is not None and len(questions) == 1:
        asked = questions[0]
        answer = QuestionAnswered(question=asked.asked.question, by="resume -g", text=guidance)
        await journal.append(answer, task=asked.task, attempt=asked.attempt)
