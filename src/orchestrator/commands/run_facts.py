"""The first facts of a run, and those with which it goes on."""

from dataclasses import dataclass

from msgspec.structs import replace

from orchestrator.config import LoadedSettings
from orchestrator.engine.undo import finish_undo, see_lost
from orchestrator.errors import EnvironmentInvalid
from orchestrator.plan.model import Plan
from orchestrator.project.project import Project, ReadPlan
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.facts import (
    Notice,
    QuestionAnswered,
    RunEnded,
    RunOptions,
    RunResumed,
    RunStarted,
    TaskFinished,
)
from orchestrator.run.state import PLAN_AT_START, RunState, begin, fold
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


async def record_resume(project: Project, choice: ResumeRun, read: ReadPlan, terms: Terms) -> RunJournal:
    """Write the fact with which a run goes on, and what has become of it meanwhile."""
    journal = RunJournal(project.journal, fold(project.journal.state_facts(terms.run)))
    await finish_undo(project.workspace, journal, project.catalog.folder(terms.run), terms.untracked)
    if choice.taken is not None:
        project.catalog.folder(terms.run).stored_plan(choice.taken.stored).write_bytes(read.content)
    journal.append(RunResumed(options=terms.options))
    if choice.taken is not None:
        journal.append(choice.taken)
        _import_ticked_off(journal, read.plan)
    for text in terms.notices:
        journal.append(Notice(text=text))
    await see_lost(project.workspace, journal)
    _answer_by_guidance(journal, terms.options.guidance)
    return journal


def begun(project: Project, choice: NewRun, read: ReadPlan, terms: Terms, started: RunStarted) -> RunJournal:
    """Write a new run's first facts."""
    folder = project.catalog.folder(terms.run)
    folder.stored_plan(PLAN_AT_START).write_bytes(read.content)
    folder.configuration.write_bytes(terms.loaded.repository_file or b"")
    folder.build_context.write_text(terms.build_context, "utf-8")
    journal = RunJournal(project.journal, begin(project.journal.append(terms.run, started)))
    for text in terms.notices:
        journal.append(Notice(text=text))
    for task, commit in choice.imported.items():
        journal.append(TaskFinished(status="imported", commit=commit), task=task)
    for task in choice.skipped:
        journal.append(TaskFinished(status="skipped", reason="left out"), task=task)
    return journal


def _import_ticked_off(journal: RunJournal, plan: Plan) -> None:
    """What the person has called done since, and nobody has begun."""
    for task in plan.tasks:
        known = journal.state.tasks[task.id]
        if task.done and known.finished is None and known.last is None and not known.redone:
            journal.append(TaskFinished(status="imported", commit=None), task=task.id)


def give_up(project: Project, state: RunState) -> None:
    """The unfinished run that `--new` takes the place of is cancelled."""
    with project.run_lock(state.run):
        ended = RunEnded(status="cancelled", exit_code=130, reason="a new run was started instead")
        project.journal.append(state.run, ended)


async def run_started_fact(project: Project, plan: Plan, terms: Terms) -> RunStarted:
    """What a new run starts from. Raises EnvironmentInvalid when the user's changes cannot be committed."""
    head = (await project.workspace.head()).commit
    await project.workspace.pin_base(terms.run, head)
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
        snapshot = await project.workspace.snapshot(
            exclude=terms.untracked, baseline=await project.workspace.baseline()
        )
        made = await project.workspace.commit(
            snapshot,
            parent=head,
            message=f"Changes before run {terms.run}\n",
            overlay={},
            ref=f"refs/ktrdr/edits/{terms.run}/0",
        )
    except TreeRefused as error:
        await project.workspace.forget(terms.run)
        raise EnvironmentInvalid(
            f"what is not committed cannot become a commit: {error.what}",
            where=error.where,
            hint="Remove or rename it, or commit yourself what is to stay.",
        ) from error
    return made.commit


def _answer_by_guidance(journal: RunJournal, guidance: str | None) -> None:
    """Guidance given to `resume` is the answer when just one question is open."""
    questions = journal.state.open_questions
    if guidance is not None and len(questions) == 1:
        asked = questions[0]
        answer = QuestionAnswered(question=asked.asked.question, by="resume -g", text=guidance)
        journal.append(answer, task=asked.task, attempt=asked.attempt)
