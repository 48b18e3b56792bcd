"""One attempt in three parts: start the agent's container, follow it to its end, record the end.

The orchestrator can be killed at any moment, and the agent then works on alone. The order of facts and
effects makes every such moment recognisable afterwards:

    attempt_started -> container created -> container_created -> container started -> container_started
    -> stop_begun -> signals -> last reading of the output -> attempt_ended -> container removed
    -> closed at the gateway -> mount points removed

Nothing of a container can exist before `attempt_started`, and no agent can have run before
`container_created`. The end comes before the removal, so the output is still there as long as the end is not
recorded. What comes after `attempt_ended` can be done any number of times: the next owner repeats it. This
also holds after a failure: where no end could be recorded, the container stays. All that following and
recording need is in the journal and in the attempt's folder, so another process can do both later.
"""

import asyncio
import dataclasses
import secrets
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from msgspec import structs

from orchestrator.agents.base import OUTCOME_FILE, AgentDriver, Launch, LaunchRequest, Session
from orchestrator.config import REPOSITORY_FILE, read_repository_file
from orchestrator.config.settings import RunLimits
from orchestrator.containers.base import ContainerSpec
from orchestrator.containers.names import overlay_name
from orchestrator.containers.start import remove_container, start_container
from orchestrator.engine.agent_watch import LiveAttempt, Watch, follow, kill, read_outcome, replay
from orchestrator.engine.attempt_terms import (
    AttemptTerms,
    read_attempt_terms,
    read_boot_id,
    write_attempt_terms,
)
from orchestrator.engine.attempt_tree import attempt_folders, has_changed_files, save_tree
from orchestrator.engine.context import ModelAccess, RunRecords, RunTerms, Services
from orchestrator.engine.heartbeat import heartbeat
from orchestrator.engine.overlays import mask_mounts, remove_overlay_folders
from orchestrator.engine.sessions import carry_session, has_session
from orchestrator.engine.setup import SetupCover, SetupOwner, cover_with_setup, ensure_setup_image
from orchestrator.engine.timetable import UNTIL
from orchestrator.errors import CodingAgentError, ConfigurationError, StorageError, UsageError
from orchestrator.events import InvalidOutcome, Outcome
from orchestrator.gates.setup_image import SetupImage
from orchestrator.gateway.access import AttemptAccess, AttemptKey, credential_kind, hash_token
from orchestrator.gateway.sockets import remove_attempt_folder
from orchestrator.mounts import AnonymousVolume
from orchestrator.project.plan_files import read_plan_bytes
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.project.transcripts import read_stderr_tail
from orchestrator.run.facts import (
    AttemptEnded,
    AttemptStarted,
    ContainerCreated,
    ContainerStarted,
    Notice,
    StopBegun,
    StopWhy,
)
from orchestrator.run.prompts import PromptParts, prompt
from orchestrator.run.state import AttemptState, RunState, TaskState
from orchestrator.supervision.classify import (
    AgentReport,
    AttemptVerdict,
    Cancelled,
    Ended,
    Interrupted,
    Lingered,
    NoOutcome,
    Refused,
    StoppedFromOutside,
    attempt_verdict,
    refusal_by_gateway,
)
from orchestrator.supervision.decide import WorkItem
from orchestrator.text import plain
from orchestrator.workspace.container_git import WORKSPACE, exclude_in
from orchestrator.workspace.workspace import Workspace

_POWER_CUT_EXIT = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPlan:
    """Everything that is decided about an attempt before anything is done."""

    item: WorkItem
    number: int
    session: Session
    previous: AttemptState | None
    parent: str
    """The commit that its candidate will stand on."""
    tree: str | None
    """The files of the folder before it; None where git cannot store them."""
    parts: PromptParts


def choose_session(
    services: Services, records: RunRecords, agent: str, task: TaskState, previous: AttemptState | None
) -> Session:
    """The previous attempt's session if it can be continued, else a new one.

    A session remembers the text of the task, so a task that the user has edited starts a new one. A session
    of another agent cannot be continued, nor one of which the agent says that a part of it is missing or that
    it is full.
    """
    text_is_new = previous is not None and previous.number <= task.attempts_before_edit
    same_agent = previous is not None and previous.agent(records.journal.state) == agent
    can_resume = services.driver.capabilities.resume != "ignored"
    is_lost = previous is not None and previous.end is not None and previous.end.session_lost is not None
    if previous is not None and same_agent and not text_is_new and can_resume and not is_lost:
        home = attempt_folders(records, task.entry.id, previous.number).home
        if has_session(home, services.driver.session_files(previous.start.session)):
            return Session(id=previous.start.session, resumed=True)
    return Session(id=str(uuid.uuid4()), resumed=False)


async def run_attempt(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    state: RunState,
    plan: AttemptPlan,
) -> None:
    """Start the agent, follow it to its end, record the end, then remove the container.

    When this is cancelled, the agent is stopped in order, the folder is saved and the end is recorded before
    CancelledError is raised. If the end cannot be recorded, because the engine does not answer or the disk is
    full, the agent is not stopped: its container and its access to the model stay for the next owner of the
    run, who recovers the attempt.
    """
    task = plan.item.id
    try:
        live = await start(services, records, terms, workspace, plan)
    except BaseException as error:
        last = records.journal.state.tasks[task].last
        if isinstance(error, asyncio.CancelledError) and last is not None and last.number == plan.number:
            await interrupt(
                services, records, workspace, task, last, _explain_cancellation(services, records)
            )
        await clean_up(services, records, workspace, task, plan.number, None)
        raise
    watch = Watch(services=services, journal=records.journal, limits=terms.settings.limits)
    await follow_to_end(watch, records, terms, workspace, state, plan.item, live)


async def follow_to_end(
    watch: Watch,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    state: RunState,
    item: WorkItem,
    live: LiveAttempt,
    *,
    is_taken: bool = False,
) -> None:
    """Follow an attempt whose container was started, record its end, and remove the container.

    `is_taken`: the agent ended while the run had no owner.
    """
    services, task, number = watch.services, live.task, live.state.number
    try:
        if not is_taken and not live.state.has_begun:
            await records.journal.append(ContainerStarted(), task=task, attempt=number)
        ended = await follow(watch, live)
        await record(services, records, terms, workspace, state, item, live, ended, is_taken=is_taken)
        await _announce_changed_terms(records, terms, workspace, state, live)
    except asyncio.CancelledError:
        # The state of this moment, not the one from before the waits: only it says whether the end was
        # recorded before the cancellation arrived.
        last = records.journal.state.tasks[task].last
        if last is not None and last.number == number and last.end is None:
            await interrupt(
                services, records, workspace, task, last, _explain_cancellation(services, records)
            )
        raise
    finally:
        last = records.journal.state.tasks[task].last
        if last is not None and last.number == number and last.end is not None:
            await clean_up(services, records, workspace, task, number, live.container)


def _explain_cancellation(services: Services, records: RunRecords) -> Cancelled:
    if services.time_has_ended.is_set():
        return Cancelled(reason=UNTIL, is_parked=True)
    return Cancelled(reason="the run was stopped", by_request=records.journal.state.cancel_requested)


async def start(
    services: Services, records: RunRecords, terms: RunTerms, workspace: Workspace, plan: AttemptPlan
) -> LiveAttempt:
    """Prepare the attempt's folders, append `attempt_started`, create and start the container.

    Raises CodingAgentError and SetupFailed; no container is left then.
    """
    task = plan.item.id
    folders = attempt_folders(records, task, plan.number)
    # There can be a model for an adopted agent only, and a new attempt's agent that uses none.
    has_model = services.model is not None and services.driver.needs_model
    token = secrets.token_urlsafe(32) if has_model else None
    spec = await _prepare_spec(services, records, terms, workspace, plan, folders, token)
    await records.journal.append(
        AttemptStarted(
            container=spec.name,
            session=plan.session.id,
            resumed=plan.session.resumed,
            parent=plan.parent,
            folder=str(folders.root.relative_to(records.folder.root)),
            agent=terms.settings.agent.name,
            token_hash="" if token is None else hash_token(token),
            limit_seconds=terms.settings.limits.attempt_seconds,
        ),
        task=task,
        attempt=plan.number,
    )
    container = await _start_container(services, records, plan, spec)
    # The state of this moment: the attempt is in it since the fact above.
    attempt = records.journal.state.tasks[task].last
    assert attempt is not None
    return LiveAttempt(task=task, state=attempt, folders=folders, container=container)


async def _start_container(
    services: Services, records: RunRecords, plan: AttemptPlan, spec: ContainerSpec
) -> str:
    """Start the agent's container; while the engine copies setup's folders, show that it does."""
    copies = [each.target for each in spec.mounts if isinstance(each, AnonymousVolume)]

    async def announce(container: str) -> None:
        engine = await services.engine.info()
        created = ContainerCreated(id=container, engine=engine.id, endpoint=engine.endpoint)
        await records.journal.append(created, task=plan.item.id, attempt=plan.number)

    try:
        async with heartbeat(services, records, task=plan.item.id, attempt=plan.number) as beat:
            if copies:
                names = ", ".join(path.removeprefix(f"{WORKSPACE}/") for path in copies)
                beat.begin(f"copying {plain(names)}")
            return await start_container(services.engine, spec, created=announce)
    finally:
        if spec.volumes_from is not None:
            await remove_container(services.engine, spec.volumes_from)


async def record(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    state: RunState,
    item: WorkItem,
    live: LiveAttempt,
    ended: Ended,
    *,
    is_taken: bool = False,
) -> None:
    """Decide how an attempt that was followed to its end has ended, and append it."""
    counts_calls = services.driver.capabilities.tool_events != "ignored" and item.change == "required"
    session, earlier = live.state.start.session, state.tasks[live.task].attempts
    calls = sum(a.end.tool_calls for a in earlier if a.end is not None and a.start.session == session)
    started = read_attempt_terms(live.folders)
    limits = terms.settings.limits if started is None else started.limits
    for text in _list_notices(ended, limits.after_result_seconds):
        await records.journal.append(Notice(text=text), task=live.task, attempt=live.state.number)
    if ended.stopped is None:
        limit = await find_limit(records, live.task, live.state.number, ended.report)
        if limit is not None and limit.cause == "credential_refused":
            limit = await _renew_credential(services, records, live, limit)
        ended = replace(ended, stopped=limit)
    await _store_expiry(services, live, ended.report)
    outcome = await asyncio.to_thread(_read_outcome, services.driver, live, ended)
    if is_taken and _may_be_power_cut(ended, outcome, started):
        ended = replace(ended, stopped=StoppedFromOutside(exit_code=ended.exit_code or 0))
    if isinstance(outcome, NoOutcome) and not services.driver.needs_outcome and ended.exit_code == 0:
        has_worked = await has_changed_files(records, terms, workspace, state, live.task, live.state)
        outcome = replace(outcome, has_worked=has_worked)
    verdict = attempt_verdict(
        ended,
        outcome,
        calls_in_session=ended.report.tool_calls + calls,
        min_tool_calls=started.min_tool_calls if counts_calls and started is not None else 0,
    )
    claim = ended.report.limit if services.driver.needs_model else None
    if claim is not None and verdict.status in ("failed", "unclear"):
        what = ": ".join(part for part in (claim.kind.replace("_", " "), claim.detail) if part)
        text = f"the agent reports a limit ({what}) that the gateway has not seen, so it does not count"
        await records.journal.append(Notice(text=plain(text)), task=live.task, attempt=live.state.number)
    await _append_end(services.driver, records, workspace, live, ended, verdict, is_taken=is_taken)


def _may_be_power_cut(
    ended: Ended, outcome: Outcome | InvalidOutcome | NoOutcome, started: AttemptTerms | None
) -> bool:
    """Whether the machine may have gone down under the agent.

    Engines then report 255, some of them 0. So after a reboot an exit code alone proves neither a failure
    nor a success.
    """
    if ended.stopped is not None or started is None or started.boot in ("", read_boot_id()):
        return False
    return ended.exit_code == _POWER_CUT_EXIT or not isinstance(outcome, Outcome)


def _list_notices(ended: Ended, after_result_seconds: float) -> Iterator[str]:
    """Notes for the user on how an attempt ended, beside its status and its reason."""
    if isinstance(ended.stopped, Lingered):
        seconds = f"{after_result_seconds:g} s"
        why = f"the agent reported its outcome and did not end within {seconds} (limits.after_result_seconds)"
        yield f"{why}, so it was stopped; its outcome counts"
    if ended.report.session_lost is not None:
        why = f"the agent's session cannot be continued: {ended.report.session_lost}"
        yield f"{why}; the next attempt starts a new one"
    unknown = ended.report.unknown
    if unknown:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in unknown.items())
        yield (
            f"the agent printed messages of kinds that this version does not know ({kinds}); "
            "they are only stored in the transcript"
        )


async def interrupt(
    services: Services,
    records: RunRecords,
    workspace: Workspace | None,
    task: str,
    attempt: AttemptState,
    reason: Cancelled | Interrupted,
) -> None:
    """Record the end of an attempt that is not followed any more; `limits.attempts` does not count it.

    Its container, if there is one, is killed first, and removed after its output is read and the end
    recorded. The output is read as that of the agent with which the attempt was started: the run may have
    another one now. Without a workspace, because the code folder is gone, the tree cannot be saved.
    """
    watch = watch_of(services, records, task, attempt)
    live = live_attempt(records, task, attempt)
    why = attempt.stop.why if attempt.stop is not None else _WHY[type(reason)]
    try:
        if attempt.stop is None and await _is_at_work(services, live):
            stop = StopBegun(why=why, seen=reason.reason)
            with suppress(StorageError):
                await records.journal.append(stop, task=task, attempt=attempt.number)
        await _kill_or_remove(services, live)
        # An older version did not record how much of the output its facts cover.
        report = (await follow(watch, live, reports=attempt.start.limit_seconds is not None)).report
    except CodingAgentError:
        # Without the engine, the end is recorded from the output that was stored before.
        report = await asyncio.to_thread(replay, watch.services.driver, live.folders.transcript)
    if isinstance(reason, Interrupted):
        reason = replace(reason, limit=await find_limit(records, task, attempt.number, report))
    ended = Ended(report=report, exit_code=None, stopped=reason)
    verdict = attempt_verdict(ended, NoOutcome(), calls_in_session=0, min_tool_calls=0)
    await _append_end(watch.services.driver, records, workspace, live, ended, verdict)
    await clean_up(services, records, workspace, task, attempt.number, live.container)


async def record_lost(
    driver: AgentDriver, records: RunRecords, workspace: Workspace | None, task: str, attempt: AttemptState
) -> None:
    """Record the end of an attempt whose container engine is gone, from the output that was stored."""
    live = live_attempt(records, task, attempt)
    report = await asyncio.to_thread(replay, driver, live.folders.transcript)
    reason = Cancelled(reason="cancelled, and the engine that had its container is gone", by_request=True)
    ended = Ended(report=report, exit_code=None, stopped=reason)
    verdict = attempt_verdict(ended, NoOutcome(), calls_in_session=0, min_tool_calls=0)
    await _append_end(driver, records, workspace, live, ended, verdict)


_WHY: Mapping[type[Cancelled | Interrupted], StopWhy] = {Cancelled: "cancelled", Interrupted: "orphaned"}


def live_attempt(records: RunRecords, task: str, attempt: AttemptState) -> LiveAttempt:
    """An attempt that another process may have started."""
    return LiveAttempt(
        task=task,
        state=attempt,
        folders=attempt_folders(records, task, attempt.number),
        container=attempt.start.container,
    )


def watch_of(services: Services, records: RunRecords, task: str, attempt: AttemptState) -> Watch:
    """How to follow an attempt that another process has started: with its own agent and limits."""
    driver = services.driver_of(attempt.agent(records.journal.state))
    terms = read_attempt_terms(attempt_folders(records, task, attempt.number))
    limits = RunLimits() if terms is None else terms.limits
    services = dataclasses.replace(services, driver=driver)
    return Watch(services=services, journal=records.journal, limits=limits)


async def _kill_or_remove(services: Services, live: LiveAttempt) -> None:
    """Kill the agent; a container that was never started has no output and is removed."""
    state = await services.engine.inspect(live.container)
    if state is not None and state.status == "created":
        await remove_container(services.engine, live.container)
    else:
        await kill(services.engine, live.container)


async def _is_at_work(services: Services, live: LiveAttempt) -> bool:
    state = await services.engine.inspect(live.container)
    return state is not None and state.exit_code is None and state.status != "created"


async def clean_up(
    services: Services,
    records: RunRecords,
    workspace: Workspace | None,
    task: str,
    number: int,
    container: str | None,
) -> None:
    """Remove what exists only while an attempt is at work; what is gone already is not an error."""
    name = container if container is not None else overlay_name(records.run, task, number)
    if not await remove_container(services.engine, name):
        return  # it may still be at work: it keeps its access to the model
    if services.model is not None:
        await services.model.gateway.close_attempt(records.run, task, number)
    else:
        key = AttemptKey(records.run, task, number)
        await asyncio.to_thread(remove_attempt_folder, records.folder.state, key)
    if workspace is not None:
        folders = attempt_folders(records, task, number)
        await asyncio.to_thread(remove_overlay_folders, workspace.tree.folder, folders)


async def _append_end(
    driver: AgentDriver,
    records: RunRecords,
    workspace: Workspace | None,
    live: LiveAttempt,
    ended: Ended,
    verdict: AttemptVerdict,
    *,
    is_taken: bool = False,
) -> None:
    """Append the end of an attempt, and save its tree if no candidate will be made of it.

    This is the only place that ends attempts. A kill can come between the two steps, so their order depends
    on what must survive. An interrupted attempt has no result that could be lost: its tree is saved first,
    and after a kill both steps are repeated. All others have a result (a question, a limit, their usage) that
    cannot be found out again once the container is removed, so the end comes first; after a kill the tree is
    missing, and the user's changes then count as the task's.
    """
    if workspace is not None:
        if verdict.status == "interrupted":
            await save_tree(records, workspace, live.task, live.state)
        await asyncio.to_thread(_store_changed_configuration, workspace, live.folders)
    plan, session = records.start.plan, live.state.start.session
    hashes = {} if workspace is None else await asyncio.to_thread(_hash_agreed_files, workspace, plan)
    session_files = driver.session_files(session)
    is_kept = ended.report.session_lost is None and await asyncio.to_thread(
        has_session, live.folders.home, session_files
    )
    await records.journal.append(
        AttemptEnded(
            status=verdict.status,
            reason=verdict.reason,
            failure=verdict.failure,
            exit_code=ended.exit_code,
            claim=verdict.claim,
            tool_calls=ended.report.tool_calls,
            session_kept=is_kept,
            session_lost=ended.report.session_lost,
            unknown=ended.report.unknown,
            usage=ended.report.usage,
            until=verdict.until,
            cause=verdict.cause,
            plan_sha256=hashes.get(plan),
            stderr_tail=await asyncio.to_thread(_read_stderr, live, verdict),
            is_taken=is_taken and verdict.status not in ("interrupted", "parked"),
        ),
        task=live.task,
        attempt=live.state.number,
    )
    if workspace is not None and verdict.status in ("needs_human", "parked", "timed_out"):
        await save_tree(records, workspace, live.task, live.state)


async def find_limit(records: RunRecords, task: str, number: int, report: AgentReport) -> Refused | None:
    """The limit that ended the attempt, as the gateway saw it.

    The gateway records a limit before it passes the provider's answer on, so what led to the agent's end is
    in the journal by now.
    """
    await records.journal.refresh()
    attempts = records.journal.state.tasks[task].attempts
    limits = [limit for each in attempts if each.number == number for limit in each.limits]
    refusal = refusal_by_gateway(limits, report)
    confirmed = [each for each in limits if refusal is not None and each.cause == refusal.cause]
    if confirmed and all(each.effect == "end_if_claimed" for each in confirmed):
        # Only now is it known to be a limit, so no event has reported it to other programs.
        seen = structs.replace(confirmed[-1], effect="end")
        await records.journal.append(seen, task=task, attempt=number)
    return refusal


async def _renew_credential(
    services: Services, records: RunRecords, live: LiveAttempt, refusal: Refused
) -> Refused:
    """Ask the source of the refused credential once more: it may have been replaced meanwhile."""
    terms = await asyncio.to_thread(read_attempt_terms, live.folders)
    if services.model is None or terms is None or not await services.model.ask_for_another(terms.account):
        return refusal
    text = (
        f"the credential was refused; {services.model.named} gives another one now, "
        "and the next attempt uses that"
    )
    await records.journal.append(Notice(text=plain(text)), task=live.task, attempt=live.state.number)
    return replace(refusal, renewed=True)


async def _store_expiry(services: Services, live: LiveAttempt, report: AgentReport) -> None:
    """Store when the login ends, for `doctor` and the start of the next run.

    The time comes from the agent, and any of its tools could have forged it. So it decides nothing: it only
    leads to a warning.
    """
    expires = None if report.finished is None else report.finished.credential_expires
    terms = await asyncio.to_thread(read_attempt_terms, live.folders)
    if services.model is not None and terms is not None and expires is not None:
        await services.model.store_expiry(terms.account, expires)


def _read_outcome(
    driver: AgentDriver, live: LiveAttempt, ended: Ended
) -> Outcome | InvalidOutcome | NoOutcome:
    """The agent's structured claim, from wherever its driver reports it."""
    outcome = read_outcome(driver, live.folders, ended.report)
    if outcome is not None:
        return outcome
    is_by_file = driver.capabilities.structured_outcome == "translated"
    return NoOutcome(place=f"a JSON file at $ORCHESTRATOR_OUTCOME ({OUTCOME_FILE})" if is_by_file else "")


def _read_stderr(live: LiveAttempt, verdict: AttemptVerdict) -> str:
    """The end of the agent's standard error where it left no outcome: often the only sign of the cause."""
    if verdict.claim is not None or verdict.status not in ("failed", "unclear", "timed_out"):
        return ""
    return read_stderr_tail(live.folders.transcript)


def _hash_agreed_files(workspace: Workspace, plan: str) -> dict[str, str | None]:
    """The hashes of the plan and the configuration in the folder; None for one that cannot be read.

    The run works with its own copies. An agent that edits these files changes nothing about its own run, and
    a notice says so.
    """
    found: dict[str, str | None] = {}
    for path in (plan, REPOSITORY_FILE):
        try:
            found[path] = sha256(read_plan_bytes(workspace.tree.folder / path, path)).hexdigest()
        except UsageError:
            found[path] = None
    return found


def _read_configuration(workspace: Workspace) -> bytes | None:
    """The configuration file in the folder, empty when there is none; None when it cannot be used."""
    try:
        return read_repository_file(workspace.tree.folder) or b""
    except ConfigurationError:
        return None


def _store_changed_configuration(workspace: Workspace, folders: AttemptFolders) -> None:
    """Keep a copy of a configuration file that is no longer the one from before the attempt.

    A user who resumes the run with the current settings has to know which of them an attempt wrote. After a
    kill, the user may have changed the file before the end is recorded; it counts as the attempt's change.
    """
    before, after = folders.configuration_before, _read_configuration(workspace)
    if after is not None and before.exists() and before.read_bytes() != after:
        folders.configuration_after.write_bytes(after)


async def _announce_changed_terms(
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    state: RunState,
    live: LiveAttempt,
) -> None:
    started = read_attempt_terms(live.folders)
    if started is None:
        return
    copies = {
        terms.plan.path: records.folder.plan_file(state.plan_stored),
        REPOSITORY_FILE: records.folder.terms(state.terms_stored).configuration,
    }
    after = await asyncio.to_thread(_hash_agreed_files, workspace, terms.plan.path)
    for path, digest in after.items():
        if digest != started.agreed.get(path):
            text = f"the attempt changed {path}; the run continues with its stored copy: {copies[path]}"
            await records.journal.append(Notice(text=plain(text)), task=live.task, attempt=live.state.number)


async def _prepare_spec(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    plan: AttemptPlan,
    folders: AttemptFolders,
    token: str | None,
) -> ContainerSpec:
    """Make everything that the container's specification names: folders, inbox, session, setup image, socket.

    In the code folder only empty folders for volumes are made, and the end of the attempt removes them.
    """
    task, tree = plan.item.id, workspace.tree
    # A start of this attempt that was killed may have left some, and its list is in the folder.
    await asyncio.to_thread(remove_overlay_folders, tree.folder, folders)
    await asyncio.to_thread(folders.make, tree.owner)
    await asyncio.to_thread(folders.configuration_before.write_bytes, _read_configuration(workspace) or b"")
    agreed = await asyncio.to_thread(_hash_agreed_files, workspace, terms.plan.path)
    _store_terms(folders, terms, agreed, plan.tree)
    launch = _build_launch(services, records, terms, plan, token)
    await asyncio.to_thread(_fill_inbox, folders, launch, prompt(plan.parts, terms.texts))
    if plan.session.resumed and plan.previous is not None:
        home = attempt_folders(records, task, plan.previous.number).home
        files = services.driver.session_files(plan.session.id)
        await asyncio.to_thread(carry_session, home, folders.home, files, tree.owner)
    known = await asyncio.to_thread(records.folder.list_paths_ignored_before)
    baseline = await tree.baseline(ignored_before=known)
    owner = SetupOwner(task=task, attempt=plan.number)
    setup = await ensure_setup_image(services, records, terms, workspace, plan.parent, owner)
    cover = await _cover_with_setup(services, records, terms, workspace, plan, setup, folders)
    # These folders are treated like files that were ignored before the attempt: none of their content is
    # ever committed, even if the agent removes the line in `.gitignore`.
    ignored = baseline.ignored.union(cover.folders)
    folders.baseline.write_text(dataclasses.replace(baseline, ignored=ignored).to_json(), "utf-8")
    git = await tree.make_git_dir(folders.git, branch=records.start.branch)
    await asyncio.to_thread(exclude_in, folders.git, cover.folders)
    gateway = None
    if services.model is not None and token is not None:
        gateway = await open_at_gateway(
            *(services.model, records, workspace, task, plan.number),
            token_hash=hash_token(token),
        )
    return terms.specs.attempt(
        task=task,
        number=plan.number,
        image=setup.id,
        launch=launch,
        folders=folders,
        git=git,
        gateway=gateway,
        covers=(*mask_mounts(tree.folder, terms.settings.masked.files, folders), *cover.mounts),
        volumes_from=cover.holder,
    )


def _store_terms(
    folders: AttemptFolders, terms: RunTerms, agreed: dict[str, str | None], tree: str | None
) -> None:
    agent = terms.settings.agent
    stored = AttemptTerms(
        limits=terms.settings.limits,
        agreed=agreed,
        min_tool_calls=agent.min_tool_calls,
        tree=tree,
        model=agent.model,
        boot=read_boot_id(),
    )
    write_attempt_terms(folders, stored)


def _build_launch(
    services: Services, records: RunRecords, terms: RunTerms, plan: AttemptPlan, token: str | None
) -> Launch:
    agent = terms.settings.agent
    request = LaunchRequest(
        run=records.run,
        task=plan.item.id,
        attempt=plan.number,
        session=plan.session,
        model=agent.model,
        max_turns=agent.max_turns,
        token=token,
        credential=credential_kind(None if services.model is None else services.model.source),
        command=agent.command,
    )
    return services.driver.launch(request)


async def _cover_with_setup(
    services: Services,
    records: RunRecords,
    terms: RunTerms,
    workspace: Workspace,
    plan: AttemptPlan,
    setup: SetupImage,
    folders: AttemptFolders,
) -> SetupCover:
    """Cover what setup made, and say once in a notice if each attempt gets a copy of it."""
    task, support = plan.item.id, services.overlays
    holder = terms.specs.overlay_holder(image=setup.id, task=task, number=plan.number)
    cover = await cover_with_setup(services.engine, setup, workspace, folders, support, terms.specs, holder)
    if cover.copied and not support.is_announced:
        support.is_announced = True
        text = f"each attempt gets a copy of {', '.join(cover.copied)}, because {cover.reason}"
        await records.journal.append(Notice(text=plain(text)), task=task, attempt=plan.number)
    return cover


def _fill_inbox(folders: AttemptFolders, launch: Launch, text: str) -> None:
    for name, data in {**launch.files, "prompt.md": text.encode()}.items():
        path = folders.inbox / name
        path.write_bytes(data)
        path.chmod(0o644)


async def open_at_gateway(
    model: ModelAccess,
    records: RunRecords,
    workspace: Workspace,
    task: str,
    number: int,
    *,
    token_hash: str,
) -> Path:
    """Let the attempt's agent reach its model, on the attempt's own terms; gives the folder of its socket.

    An attempt that the gateway serves already keeps its socket, and uses the current credential from now on.
    """
    folders, source = attempt_folders(records, task, number), model.source
    terms = await asyncio.to_thread(read_attempt_terms, folders)
    if terms is not None:
        terms = structs.replace(terms, account=await model.identify(source))
        await asyncio.to_thread(write_attempt_terms, folders, terms)
    return await model.gateway.open_attempt(
        AttemptAccess(
            run=records.run,
            task=task,
            attempt=number,
            token_hash=token_hash,
            uid=workspace.tree.owner.uid,
            gid=workspace.tree.owner.gid,
            model=source,
            outage_seconds=(RunLimits() if terms is None else terms.limits).outage_seconds,
            chosen=None if terms is None else terms.model,
        )
    )
