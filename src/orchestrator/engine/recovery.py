"""Containers and attempts that a killed owner left, brought in line with the journal before the loop starts.

The caller holds the lock of the run, and the lock dies with its process. So no other process follows these
containers, and the end of an attempt without an end in the journal has not been recorded. The agent of such
an attempt may still be at work: `supervision/orphans.py` decides what becomes of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import assert_never

from orchestrator.agents.base import GATEWAY_FOLDER
from orchestrator.containers.base import (
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_RUN,
    LABEL_STATE,
    LABEL_TASK,
    ContainerState,
)
from orchestrator.containers.names import labels
from orchestrator.containers.start import remove_container
from orchestrator.engine.agent_watch import (
    CHECK_SECONDS,
    ORPHANED,
    REFUSED,
    LiveAttempt,
    Stop,
    Watch,
    begin_stop,
    follow,
    kill,
    replay,
    stop_reason_of,
)
from orchestrator.engine.attempt import (
    clean_up,
    find_limit,
    follow_to_end,
    interrupt,
    live_attempt,
    open_at_gateway,
    record,
    watch_of,
)
from orchestrator.engine.attempt_terms import read_attempt_terms
from orchestrator.engine.context import RunRecords, RunTerms, Services
from orchestrator.errors import CodingAgentError, EnvironmentInvalid
from orchestrator.gateway.sockets import SOCKET_NAME
from orchestrator.run.facts import AttemptAdopted, ContainerCreated
from orchestrator.run.phase import Working, phase
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.classify import Cancelled, Ended, Interrupted, Lingered, refusal_by_agent
from orchestrator.supervision.decide import WorkItem
from orchestrator.supervision.orphans import (
    Adopt,
    AnsweringEngine,
    AskOtherEngine,
    BeginAgain,
    FinishStop,
    Liveness,
    RecordRemoved,
    Remove,
    StartUntouched,
    StopInOrder,
    StopLimited,
    TakeResult,
    choose_recovery,
)
from orchestrator.workspace.tree import Baseline, TreeRefused
from orchestrator.workspace.workspace import Workspace

REMOVED = "another program removed the container while the run had no owner"
EDITED = "the code folder was changed before its agent was started"
PROOF_SECONDS = 30.0
_IS_MISSING = 1
"""The exit code of `test` for a file that does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryContext:
    """Everything that the recovery of an attempt works with."""

    services: Services
    records: RunRecords
    terms: RunTerms
    workspace: Workspace
    begin_again: Callable[[], Awaitable[None]]
    """Carry out the same attempt from its beginning."""


async def remove_leftovers(
    services: Services, records: RunRecords, workspace: Workspace | None, state: RunState
) -> None:
    """Remove this run's containers, except those of attempts without an end in the journal.

    Their agents may be at work, and only the engine knows what they have printed. What belongs to an end that
    is recorded already is removed again: a kill may have come in between.
    """
    open_attempts = {(task, str(attempt.number)) for task, attempt in list_open_attempts(state)}
    for container in await services.engine.list({LABEL_STATE: records.state_id, LABEL_RUN: records.run}):
        about = container.labels
        # The labels were set by us when the container was created; no process inside can change them.
        is_open = (about.get(LABEL_TASK, ""), about.get(LABEL_ATTEMPT, "")) in open_attempts
        if not (about[LABEL_KIND] == "attempt" and is_open):
            await remove_container(services.engine, container.id)
    for task in state.tasks.values():
        last = task.last
        if not task.is_done and last is not None and last.end is not None:
            await clean_up(services, records, workspace, task.entry.id, last.number, last.start.container)


async def recover_attempt(
    context: RecoveryContext, state: RunState, item: WorkItem, attempt: AttemptState
) -> None:
    """Bring an attempt whose owner was killed to its end."""
    services, records, workspace = context.services, context.records, context.workspace
    live = live_attempt(records, item.id, attempt)
    found = await find_container(services, records, live)
    if found is not None:
        live = replace(live, container=found.id)
    match choose_recovery(attempt, _find_liveness(found), await _find_engine(services)):
        case BeginAgain():
            await clean_up(services, records, workspace, item.id, attempt.number, None)
            await context.begin_again()
        case StartUntouched():
            await _start_untouched(context, state, item, live)
        case Adopt():
            await _adopt(context, state, item, live)
        case TakeResult():
            await _follow_to_end(context, state, item, live, is_taken=True)
        case RecordRemoved():
            await interrupt(
                services,
                records,
                workspace,
                item.id,
                attempt,
                Interrupted(reason=REMOVED, failure="container_removed"),
            )
        case FinishStop():
            await _finish_stop(context, state, item, live)
        case StopLimited():
            await begin_stop(_watch(context, live), live, Stop("limit", REFUSED))
            await interrupt(services, records, workspace, item.id, attempt, Interrupted(reason=ORPHANED))
        case StopInOrder():
            await begin_stop(_watch(context, live), live, Stop("orphaned", ORPHANED))
            await interrupt(services, records, workspace, item.id, attempt, Interrupted(reason=ORPHANED))
        case AskOtherEngine(created=created):
            raise other_engine_error(records.run, attempt, created)
        case Remove():
            await clean_up(services, records, workspace, item.id, attempt.number, live.container)
        case _ as never:
            assert_never(never)


async def find_container(services: Services, records: RunRecords, live: LiveAttempt) -> ContainerState | None:
    """The container of an attempt; one of the same name that another program made is not it."""
    created = live.state.created
    found = await services.engine.inspect(live.container if created is None else created.id)
    own = labels(
        kind="attempt", state=records.state_id, run=records.run, task=live.task, attempt=live.state.number
    )
    if found is None or any(found.labels.get(name) != value for name, value in own.items()):
        return None
    return found


def _find_liveness(found: ContainerState | None) -> Liveness:
    if found is None or found.status == "removing":
        return "absent"
    if found.exit_code is not None:
        return "ended"
    return "created" if found.status == "created" else "alive"


async def _find_engine(services: Services) -> AnsweringEngine:
    info = await services.engine.info()
    return AnsweringEngine(id=info.id, endpoint=info.endpoint)


def _watch(context: RecoveryContext, live: LiveAttempt) -> Watch:
    return watch_of(context.services, context.records, live.task, live.state)


async def _follow_to_end(
    context: RecoveryContext,
    state: RunState,
    item: WorkItem,
    live: LiveAttempt,
    *,
    is_taken: bool = False,
    starves: Callable[[], Awaitable[None]] | None = None,
) -> None:
    watch = replace(_watch(context, live), starves=starves)
    records, terms, workspace = context.records, context.terms, context.workspace
    await follow_to_end(watch, records, terms, workspace, state, item, live, is_taken=is_taken)


async def _start_untouched(
    context: RecoveryContext, state: RunState, item: WorkItem, live: LiveAttempt
) -> None:
    services, records, workspace = context.services, context.records, context.workspace
    if live.state.created is None:
        engine = await services.engine.info()
        created = ContainerCreated(id=live.container, engine=engine.id, endpoint=engine.endpoint)
        await records.journal.append(created, task=live.task, attempt=live.state.number)
    reason = EDITED
    if await _is_untouched(context, live):
        await _open_again_at_gateway(context, live)
        try:
            await services.engine.start(live.container)
        except CodingAgentError as error:
            # An engine that is away raises here, too: then nothing has been decided.
            found = await services.engine.inspect(live.container)
            if found is None or found.status != "created":
                raise
            reason = f"its container could not be started: {error.what}"
        else:
            await _follow_to_end(context, state, item, live)
            return
    await interrupt(services, records, workspace, live.task, live.state, Interrupted(reason=reason))


async def _is_untouched(context: RecoveryContext, live: LiveAttempt) -> bool:
    """Whether branch and files are as they were when the attempt was prepared."""
    workspace, records = context.workspace, context.records
    started = await asyncio.to_thread(read_attempt_terms, live.folders)
    if started is None or started.tree is None or not live.folders.baseline.exists():
        return False
    if await workspace.user.find_branch_commit(records.start.branch) != live.state.start.parent:
        return False
    baseline = Baseline.from_json(live.folders.baseline.read_text("utf-8"))
    try:
        snapshot = await workspace.tree.snapshot(exclude=context.terms.untracked, baseline=baseline)
    except TreeRefused:
        return False
    return snapshot.tree == started.tree


async def _adopt(context: RecoveryContext, state: RunState, item: WorkItem, live: LiveAttempt) -> None:
    await _open_again_at_gateway(context, live)
    await context.records.journal.append(
        AttemptAdopted(container=live.state.start.container), task=live.task, attempt=live.state.number
    )

    async def wait_until_it_starves() -> None:
        await _wait_until_socket_is_missing(context.services, live.container)

    await _follow_to_end(
        context, state, item, live, starves=wait_until_it_starves if _has_model(context, live) else None
    )


def _has_model(context: RecoveryContext, live: LiveAttempt) -> bool:
    return bool(live.state.start.token_hash) and context.services.model is not None


async def _open_again_at_gateway(context: RecoveryContext, live: LiveAttempt) -> None:
    """Open the attempt at the gateway, which may be another process by now, if its agent has a model."""
    if context.services.model is None or not _has_model(context, live):
        return
    await open_at_gateway(
        context.services.model,
        context.records,
        context.workspace,
        live.task,
        live.state.number,
        token_hash=live.state.start.token_hash,
    )


async def _wait_until_socket_is_missing(services: Services, container: str) -> None:
    """Returns if the agent does not see the gateway's socket: the folder that it has mounted is another one.

    A paused container takes no command, so it is asked once it continues. A container that has ended is not
    asked: its end is read.
    """
    argv = ("sh", "-c", 'test -S "$1"', "sh", f"{GATEWAY_FOLDER}/{SOCKET_NAME}")
    while True:
        state = await services.engine.inspect(container)
        if state is not None and state.status == "running":
            try:
                done = await services.engine.exec(container, argv, timeout=PROOF_SECONDS)
            except CodingAgentError:
                pass  # it was paused, or has ended
            else:
                if done.exit_code == _IS_MISSING:
                    return
                await asyncio.Event().wait()
        await services.clock.sleep(CHECK_SECONDS)


async def _finish_stop(context: RecoveryContext, state: RunState, item: WorkItem, live: LiveAttempt) -> None:
    """Kill what is left of an agent that was being stopped, and record why it was."""
    services, records, workspace = context.services, context.records, context.workspace
    stop = live.state.stop
    assert stop is not None
    reason = stop_reason_of(stop.why)
    if isinstance(reason, Cancelled | Interrupted):
        await interrupt(services, records, workspace, live.task, live.state, reason)
        return
    watch = _watch(context, live)
    await kill(services.engine, live.container)
    ended = await follow(watch, live)
    report = ended.report
    if isinstance(reason, Lingered):
        # What it printed afterwards may be only a reaction to the signals.
        transcript, until = live.folders.transcript, stop.stdout_bytes
        report = await asyncio.to_thread(replay, watch.services.driver, transcript, until=until)
    if reason is None:
        limit = await find_limit(records, live.task, live.state.number, report)
        claimed = None if report.limit is None else refusal_by_agent(report.limit)
        reason = limit or claimed or Interrupted(reason=ORPHANED)
    exit_code = 0 if ended.exit_code is None else ended.exit_code
    ended = Ended(report=report, exit_code=exit_code, stopped=reason)
    await record(watch.services, records, context.terms, workspace, state, item, live, ended, is_taken=True)
    await clean_up(services, records, workspace, live.task, live.state.number, live.container)


async def stop_all(
    services: Services, records: RunRecords, workspace: Workspace | None, state: RunState, reason: str
) -> None:
    """Stop every agent of the run in order, record the ends, and remove every container."""
    for task, attempt in list_open_attempts(state):
        live = live_attempt(records, task, attempt)
        if await find_container(services, records, live) is not None:
            watch = watch_of(services, records, task, attempt)
            await begin_stop(watch, live, Stop("cancelled", "the run is cancelled"))
        await interrupt(
            services, records, workspace, task, attempt, Cancelled(reason=reason, by_request=True)
        )
    await remove_leftovers(services, records, workspace, records.journal.state)


def other_engine_error(run: str, attempt: AttemptState, created: ContainerCreated) -> EnvironmentInvalid:
    """Why nothing may be done about a run while another engine than its own answers."""
    name = attempt.start.container
    return EnvironmentInvalid(
        f"the agent of run {run} may still be at work in the container {name} of another engine",
        where=created.endpoint,
        hint=f"Use that engine: DOCKER_HOST={created.endpoint}. If it does not exist any more: "
        f"orchestrator cancel {run} --lost-engine",
    )


def list_open_attempts(state: RunState) -> list[tuple[str, AttemptState]]:
    """The attempts without an end, with their tasks."""
    phases = [(task, phase(state, known)) for task, known in state.tasks.items()]
    return [(task, found.attempt) for task, found in phases if isinstance(found, Working)]
