"""What each action of a run does to the world: the branch, the folder, containers, the journal."""

from functools import partial
from typing import assert_never

from orchestrator.engine import gating, landing, recovery
from orchestrator.engine.attempt import AttemptPlan, choose_session, run_attempt
from orchestrator.engine.context import RunContext
from orchestrator.engine.edits import refuse_what_others_left, take_edits
from orchestrator.errors import WorkspaceError
from orchestrator.plan.model import Task
from orchestrator.run.facts import (
    Body,
    BranchReady,
    QuestionAsked,
    TaskFinished,
    TaskStarted,
    TreeLookedAt,
)
from orchestrator.run.handoff import handoff_path
from orchestrator.run.prompts import PromptParts
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.decide import (
    Action,
    AskPerson,
    CheckBase,
    CheckEndToEnd,
    CompareFolder,
    FailTask,
    Land,
    MakeBranch,
    MakeCandidate,
    RecoverAttempt,
    RunGates,
    StartAttempt,
    StartTask,
)


class RunActions:
    """The actions of one run on the real folder and container engine."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._items = {item.id: item for item in context.work.items}

    @property
    def state(self) -> RunState:
        return self._context.journal.state

    async def remove_leftovers(self) -> None:
        await recovery.remove_leftover_containers(self._context)

    async def forget_run(self) -> None:
        await self._context.workspace.forget(self._context.run)

    async def carry_out(self, action: Action) -> None:  # noqa: C901 - one flat table
        context = self._context
        match action:
            case CheckBase():
                await gating.check_base(context)
            case MakeBranch():
                await self._make_branch()
            case StartTask(task=task):
                await self._start_task(task)
            case StartAttempt(task=task, number=number, previous=previous):
                await run_attempt(context, await self._attempt_plan(task, number, previous))
            case RecoverAttempt(task=task, attempt=attempt):
                await recovery.close_attempt(context, task, attempt.number)
            case CompareFolder(task=task, attempt=attempt):
                await self._compare_folder(task, attempt)
            case MakeCandidate(task=task, attempt=attempt, by_hand=by_hand):
                await landing.make_candidate(context, self._items[task], attempt, by_hand=by_hand)
            case RunGates(task=task, attempt=attempt):
                await gating.check_candidate(context, self._items[task], attempt)
            case Land(task=task, attempt=attempt):
                await landing.land(context, self._items[task], attempt)
            case FailTask(task=task, reason=reason):
                await self._append(TaskFinished(status="failed", reason=reason), task=task)
            case AskPerson(task=task, attempt=attempt):
                await self._ask(task, attempt)
            case CheckEndToEnd():
                await take_edits(context, None, None)
                await gating.check_end_to_end(context)
            case _ as never:
                assert_never(never)

    async def _make_branch(self) -> None:
        workspace, start = self._context.workspace, self.state.start
        if await workspace.user.branch_commit(start.branch) is None:
            await self._check_head_unmoved()
            await workspace.user.make_branch(start.branch, start.head)
        at = await workspace.user.commit_of_checked_out(start.branch)
        if start.base != start.head and at == start.head:
            # The user's uncommitted changes, on which the run stands, become the branch's first commit.
            staged = partial(self._context.journal.reserve_ref, "staged")
            await workspace.user.set_staged_aside(branch=start.branch, head=at, ref=staged, base=at)
            await workspace.tree.land(start.base, branch=start.branch, expected=at)
            at = start.base
        await self._append(BranchReady(branch=start.branch, commit=at))

    async def _check_head_unmoved(self) -> None:
        """A branch at the old HEAD under files of a newer one would show the newer work as changes."""
        start, head = self.state.start, (await self._context.workspace.user.head()).commit
        if head != start.head:
            raise WorkspaceError(
                f"HEAD has moved from {start.head} to {head} since the run began",
                where=str(self._context.workspace.tree.folder),
                hint=f"Start over from here: orchestrator run --new {start.plan}",
            )

    async def _start_task(self, task: str) -> None:
        await refuse_what_others_left(self._context, task)
        parent = (await take_edits(self._context, task, None)).head
        await self._append(TaskStarted(title=self._plan_task(task).title, parent=parent), task=task)

    async def _compare_folder(self, task: str, attempt: AttemptState) -> None:
        edits = await take_edits(self._context, task, attempt)
        await self._append(
            TreeLookedAt(head=edits.head, edited=edits.paths), task=task, attempt=attempt.number
        )

    async def _attempt_plan(self, task: str, number: int, previous: AttemptState | None) -> AttemptPlan:
        context = self._context
        session = choose_session(context, task, previous)
        parent = (await take_edits(context, task, previous)).head
        attempts = self.state.tasks[task].attempts
        return AttemptPlan(
            task=task,
            number=number,
            session=session,
            previous=previous,
            parent=parent,
            must_change=self._items[task].must_change,
            earlier_calls=sum(
                a.end.tool_calls for a in attempts if a.end is not None and a.start.session == session.id
            ),
            parts=PromptParts(
                plan=context.plan,
                task=self._plan_task(task),
                handoff_path=handoff_path(context.plan.path),
                handoff=await landing.read_handoff(context, parent),
                base=self.state.tasks[task].base,
                previous=previous,
                questions=tuple(q for q in self.state.questions if q.task == task),
                guidance=self.state.options.guidance,
                session_goes_on=session.resumed,
                outcome_in_stream=context.driver.capabilities.structured_outcome == "native",
            ),
        )

    def _plan_task(self, task_id: str) -> Task:
        task = self._context.plan.task(task_id)
        assert task is not None
        return task

    async def _ask(self, task: str, attempt: AttemptState) -> None:
        claim = attempt.end.claim if attempt.end is not None else None
        assert claim is not None and claim.question is not None
        text, options, recommendation = claim.question, claim.options, claim.recommendation

        def asked(state: RunState, _n: int) -> QuestionAsked:
            question = f"q{len(state.questions) + 1}"
            return QuestionAsked(question=question, text=text, options=options, recommendation=recommendation)

        await self._context.journal.append(asked, task=task, attempt=attempt.number)

    async def _append(self, body: Body, *, task: str | None = None, attempt: int | None = None) -> None:
        await self._context.journal.append(body, task=task, attempt=attempt)
