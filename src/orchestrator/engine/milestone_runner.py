"""The loop of a run: decide, carry out, append facts, and again until the run has ended."""

import asyncio
from typing import assert_never

from orchestrator.engine import gating, landing, recovery
from orchestrator.engine.agent_watch import PATIENCE_SECONDS
from orchestrator.engine.attempt import AttemptPlan, choose_session, run_attempt
from orchestrator.engine.context import RunContext
from orchestrator.engine.edits import refuse_what_others_left, take_edits
from orchestrator.engine.stop_signals import StopSignals, stopped_by
from orchestrator.errors import OrchestratorError, SetupFailed, WorkspaceError, storage_errors
from orchestrator.plan.model import Task
from orchestrator.run.endings import BUG, NOT_BEGUN, run_ended
from orchestrator.run.facts import (
    Body,
    BranchReady,
    Notice,
    QuestionAsked,
    RunEnded,
    RunStatus,
    TaskFinished,
    TaskStarted,
    TreeLookedAt,
)
from orchestrator.run.handoff import handoff_path
from orchestrator.run.phase import Working, phase
from orchestrator.run.prompts import PromptParts
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.decide import (
    Action,
    AskPerson,
    CheckBase,
    CheckEndToEnd,
    EndRun,
    FailTask,
    Land,
    LookAtTree,
    MakeBranch,
    MakeCandidate,
    RecoverAttempt,
    RunGates,
    StartAttempt,
    StartTask,
    decide,
)

CANCELLED = "cancelled"
BY_CALLER = "stopped by its caller"


class MilestoneRunner:
    """Carries out one run; the caller holds the locks of run and folder."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._items = {item.id: item for item in context.work.items}

    @property
    def state(self) -> RunState:
        return self._context.journal.state

    async def carry_out(self) -> RunState:
        """Go on from wherever the facts say the run stands, to its end; gives the state then.

        Failures of engine, workspace and disk park the run, a signal interrupts it; both leave it resumable.
        Raises StorageError when not even its end can be stored, and CancelledError when the caller cancels.
        """
        cancelling = self._cancel_requested()
        with StopSignals(self._say_what_is_cut_off) as stop, stopped_by(cancelling, stop, CANCELLED):
            end = await self._until_ended(stop)
        await self._append(end)
        if end.reason == BY_CALLER:
            raise asyncio.CancelledError(BY_CALLER)
        return self.state

    async def _cancel_requested(self) -> None:
        """Returns once somebody has asked for the run to be cancelled."""
        while not self.state.cancel_requested:
            await self._context.journal.changed()

    async def _until_ended(self, stop: StopSignals) -> RunEnded:
        try:
            with storage_errors():
                await stop.unless_stopped(recovery.remove_leftover_containers(self._context))
                while True:
                    await self._context.journal.refresh()
                    action = decide(self.state, self._context.work)
                    if isinstance(action, EndRun):
                        return run_ended(action.status, action.reason, action.until)
                    await stop.unless_stopped(self._do(action))
        except asyncio.CancelledError:
            status: RunStatus = "cancelled" if stop.reason == CANCELLED else "interrupted"
            return run_ended(status, stop.reason or BY_CALLER)
        except SetupFailed as error:
            return await self._not_set_up(error)
        except OrchestratorError as error:
            return run_ended("parked", str(error))
        except Exception as error:
            bug = f"a bug in the orchestrator: {type(error).__name__}"
            await self._append(RunEnded(status="interrupted", exit_code=BUG, reason=bug))
            raise

    async def _say_what_is_cut_off(self, reason: str) -> None:
        """An agent is asked to end before it is made to, and nobody should wait in silence."""
        at_work = [task for task in self.state.tasks.values() if isinstance(phase(self.state, task), Working)]
        if at_work:
            seconds = f"{2 * PATIENCE_SECONDS:g} s"
            await self._append(Notice(text=f"{reason}: the agent has up to {seconds} to end"))

    async def _not_set_up(self, error: SetupFailed) -> RunEnded:
        """Before there is any work, a run that cannot be set up is over and leaves no trace."""
        if self.state.branch_ready:
            return run_ended("parked", str(error))
        await self._context.workspace.forget(self._context.run)
        return RunEnded(status="failed", exit_code=NOT_BEGUN, reason=str(error))

    async def _do(self, action: Action) -> None:
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
            case LookAtTree(task=task, attempt=attempt):
                await self._look_at_tree(task, attempt)
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
            case EndRun():
                raise AssertionError("the loop ends before this")
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
            staged = f"refs/ktrdr/staged/{self._context.run}/0"
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

    async def _look_at_tree(self, task: str, attempt: AttemptState) -> None:
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
        await self._append(
            QuestionAsked(
                question=f"q{len(self.state.questions) + 1}",
                text=claim.question,
                options=claim.options,
                recommendation=claim.recommendation,
            ),
            task=task,
            attempt=attempt.number,
        )

    async def _append(self, body: Body, *, task: str | None = None, attempt: int | None = None) -> None:
        await self._context.journal.append(body, task=task, attempt=attempt)
