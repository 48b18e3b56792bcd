"""Carry out the actions of a run: what each one does to branch, folder, containers and journal."""

from dataclasses import replace
from functools import partial
from typing import assert_never

from orchestrator.agents.base import Session
from orchestrator.engine import gating, recovery
from orchestrator.engine.attempt import AttemptPlan, choose_session, run_attempt
from orchestrator.engine.base_run import check_base
from orchestrator.engine.candidate import make_candidate, read_handoff
from orchestrator.engine.context import RunRecords, RunTerms, Services
from orchestrator.engine.cross_checks import check_fail_to_pass
from orchestrator.engine.edits import commit_user_edits, refuse_work_of_other_tasks
from orchestrator.engine.landing import land
from orchestrator.engine.set_aside import describe_set_aside, lay_back, set_aside
from orchestrator.errors import WorkspaceError
from orchestrator.run.facts import (
    BaseMoved,
    Body,
    BranchReady,
    QuestionAsked,
    RunStarted,
    TaskFinished,
    TaskStarted,
    TreeCompared,
)
from orchestrator.run.handoff import handoff_path
from orchestrator.run.prompts import PromptParts
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.decide import (
    Action,
    AskUser,
    CheckBase,
    CheckEndToEnd,
    CompareFolder,
    FailTask,
    Land,
    LayBack,
    MakeBranch,
    MakeCandidate,
    RecoverAttempt,
    RunGates,
    SetAside,
    StartAttempt,
    StartTask,
    WorkItem,
    list_left_out,
    reason_unproved,
)
from orchestrator.workspace import history
from orchestrator.workspace.workspace import Workspace


class RunActions:
    """The actions of one run on the real folder and container engine."""

    def __init__(
        self, services: Services, records: RunRecords, terms: RunTerms, workspace: Workspace
    ) -> None:
        self._services, self._records, self._terms = services, records, terms
        self._workspace = workspace
        self._context = gating.GateContext(
            services=services, records=records, terms=terms, workspace=workspace
        )
        self._items = {item.id: item for item in terms.work.items}

    async def remove_leftovers(self, state: RunState) -> None:
        await recovery.remove_leftovers(self._services, self._records, self._workspace, state)

    def park_attempts(self) -> None:
        self._services.time_has_ended.set()

    def stop_waiting(self) -> None:
        self._services.hurry.set()

    async def forget_run(self) -> None:
        await self._workspace.forget(self._records.run)

    async def carry_out(self, action: Action, state: RunState) -> None:
        if isinstance(action, StartAttempt | RecoverAttempt | RunGates | CheckBase | CheckEndToEnd):
            async with self._services.keep_awake():
                await self._carry_out(action, state)
        else:
            await self._carry_out(action, state)

    async def _carry_out(self, action: Action, state: RunState) -> None:  # noqa: C901 - one flat table
        services, records, terms, workspace = self._services, self._records, self._terms, self._workspace
        match action:
            case CheckBase():
                await check_base(self._context, state)
            case MakeBranch():
                await self._make_branch(state)
            case StartTask(task=task):
                await refuse_work_of_other_tasks(records, terms, workspace, state, task)
                edits = await commit_user_edits(records, terms, workspace, task, None)
                started = TaskStarted(title=self._terms.task(task).title, parent=edits.head)
                await self._append(started, task=task)
            case StartAttempt(task=task, number=number, previous=previous):
                plan = await self._attempt_plan(state, self._items[task], number, previous)
                await run_attempt(services, records, terms, workspace, state, plan)
            case RecoverAttempt(task=task, attempt=attempt):
                await self._recover(state, self._items[task], attempt)
            case CompareFolder(task=task, attempt=attempt):
                edits = await commit_user_edits(records, terms, workspace, task, attempt)
                compared = TreeCompared(head=edits.head, edited=edits.paths)
                await self._append(compared, task=task, attempt=attempt.number)
            case MakeCandidate(task=task, attempt=attempt, by_hand=by_hand):
                item = self._items[task]
                await make_candidate(
                    services, records, terms, workspace, state, item, attempt, by_hand=by_hand
                )
            case RunGates(task=task, attempt=attempt):
                parent = state.tasks[task].parent
                assert parent is not None
                await gating.check_candidate(self._context, self._items[task], attempt, parent)
                await check_fail_to_pass(self._context, self._items[task])
            case Land(task=task, attempt=attempt):
                await land(records, terms, workspace, state, self._items[task], attempt)
            case FailTask(task=task, reason=reason):
                await self._append(TaskFinished(status="failed", reason=reason), task=task)
            case AskUser(task=task, attempt=attempt):
                await self._ask(task, attempt)
            case SetAside(task=task, attempt=attempt):
                await set_aside(records, terms, workspace, task, attempt)
            case LayBack(task=task, attempt=attempt):
                await lay_back(records, terms, workspace, task, attempt)
            case CheckEndToEnd():
                await commit_user_edits(records, terms, workspace, None, None)
                await gating.check_end_to_end(self._context)
            case _ as never:
                assert_never(never)

    async def _recover(self, state: RunState, item: WorkItem, attempt: AttemptState) -> None:
        services, records, terms, workspace = self._services, self._records, self._terms, self._workspace

        async def begin_again() -> None:
            before = state.tasks[item.id].current_attempts[:-1]
            plan = await self._attempt_plan(state, item, attempt.number, before[-1] if before else None)
            if attempt.agent(state) == terms.settings.agent.name:
                session = Session(id=attempt.start.session, resumed=attempt.start.resumed)
                plan = replace(plan, session=session)
            await run_attempt(services, records, terms, workspace, state, plan)

        context = recovery.RecoveryContext(
            services=services, records=records, terms=terms, workspace=workspace, begin_again=begin_again
        )
        await recovery.recover_attempt(context, state, item, attempt)

    async def _make_branch(self, state: RunState) -> None:
        workspace, start = self._workspace, state.start
        if await workspace.user.find_branch_commit(start.branch) is None:
            if (moved := await self._find_moved_head(start)) is not None:
                await workspace.user.pin_base(state.run, moved)
                await self._append(BaseMoved(base=moved))
                return
            await workspace.user.make_branch(start.branch, start.head)
        at = await workspace.user.find_checked_out_commit(start.branch)
        if start.base != start.head and at == start.head:
            # The base was made of the user's uncommitted changes (`--allow-dirty`): it is the branch's first
            # commit.
            staged = partial(self._records.journal.reserve_ref, "staged")
            await workspace.user.set_staged_aside(branch=start.branch, head=at, ref=staged, base=at)
            await workspace.tree.land(start.base, branch=start.branch, expected=at)
            at = start.base
        await self._append(BranchReady(branch=start.branch, commit=at))

    async def _find_moved_head(self, start: RunStarted) -> str | None:
        """The commit of HEAD if it is a later one than when the run started, as it may be after `--at`.

        The branch begins at HEAD. If the files were those of a newer commit than the branch, the newer
        commits would look like uncommitted changes of the user's, and the run would commit them a second
        time. Raises WorkspaceError when HEAD has moved elsewhere, or the run has committed changes on the
        old commit.
        """
        head = (await self._workspace.user.head()).commit
        if head == start.head:
            return None
        is_later = await history.is_ancestor(self._workspace.store, start.head, head)
        if not is_later or start.base != start.head:
            raise WorkspaceError(
                f"HEAD has moved from {start.head} to {head} since the run started",
                where=str(self._workspace.tree.folder),
                hint=f"Start a new run from the current HEAD: orchestrator run --new {start.plan}",
            )
        return head

    async def _attempt_plan(
        self, state: RunState, item: WorkItem, number: int, previous: AttemptState | None
    ) -> AttemptPlan:
        records, terms, workspace = self._records, self._terms, self._workspace
        task = state.tasks[item.id]
        session = choose_session(self._services, records, terms.settings.agent.name, task, previous)
        # Nothing of an attempt that starts over is in the folder: what is there now is the user's.
        left = None if previous is not None and previous.has_lost_its_files else previous
        edits = await commit_user_edits(records, terms, workspace, item.id, left)
        parent = edits.head
        return AttemptPlan(
            item=item,
            number=number,
            session=session,
            previous=previous,
            parent=parent,
            tree=edits.tree,
            parts=PromptParts(
                plan=terms.plan,
                task=terms.task(item.id),
                handoff_path=handoff_path(terms.plan.path),
                handoff=await read_handoff(records, terms, workspace, parent),
                base=state.find_base_checks(
                    gate.command for gate in terms.work.gates_of(item, list_left_out(state))
                ),
                previous=previous,
                unproved=_explain_unproved(terms, state, item, previous),
                set_aside=await describe_set_aside(workspace, previous),
                uncommitted=state.uncommitted,
                questions=tuple(q for q in state.questions if q.task == item.id),
                guidance=state.options.guidance,
                session_resumed=session.resumed,
                outcome_in_stream=self._services.driver.capabilities.structured_outcome == "native",
            ),
        )

    async def _ask(self, task: str, attempt: AttemptState) -> None:
        claim = attempt.claim
        assert claim is not None and claim.question is not None
        text, options, recommendation = claim.question, claim.options, claim.recommendation

        def number_question(state: RunState, _n: int) -> QuestionAsked:
            question = f"q{len(state.questions) + 1}"
            return QuestionAsked(question=question, text=text, options=options, recommendation=recommendation)

        await self._records.journal.append(number_question, task=task, attempt=attempt.number)

    async def _append(self, body: Body, *, task: str | None = None, attempt: int | None = None) -> None:
        await self._records.journal.append(body, task=task, attempt=attempt)


def _explain_unproved(
    terms: RunTerms, state: RunState, item: WorkItem, previous: AttemptState | None
) -> str | None:
    """Why `verify.strict` has not accepted the last attempt; None if something else was wrong with it."""
    if not terms.work.strict or previous is None or not previous.gates:
        return None
    if previous.failed_gates or previous.owed_evidence:
        return None
    return reason_unproved(state, state.tasks[item.id], item, previous)
