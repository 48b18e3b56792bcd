"""One attempt: a container with the agent as its main process, followed to its end."""

import asyncio
import secrets
import uuid
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from orchestrator.agents.base import (
    OUTCOME_FILE,
    Launch,
    LaunchRequest,
    Parser,
    Session,
)
from orchestrator.agents.outcomes import read_outcome_file
from orchestrator.containers.base import ContainerSpec
from orchestrator.containers.logs import LINE_MAX, STDOUT_FILE
from orchestrator.containers.names import component
from orchestrator.containers.start import remove_container, start_container
from orchestrator.engine.agent_output import AgentOutputRecorder
from orchestrator.engine.agent_watch import Watched, watch
from orchestrator.engine.context import RunContext
from orchestrator.engine.overlays import masks, remove_made
from orchestrator.engine.sessions import carry_session, session_exists
from orchestrator.engine.setup import For, setup_image, volumes_of
from orchestrator.errors import UsageError
from orchestrator.events import InvalidOutcome, Outcome
from orchestrator.gateway.access import AttemptAccess, credential_kind
from orchestrator.project.plan_files import read_plan_bytes
from orchestrator.project.run_folder import AttemptFolders
from orchestrator.run.facts import AttemptEnded, AttemptStarted, Notice, TreeSaved
from orchestrator.run.prompts import PromptParts, prompt
from orchestrator.run.state import AttemptState
from orchestrator.supervision.classify import AgentReport, attempt_verdict
from orchestrator.text import plain
from orchestrator.workspace.tree import Baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPlan:
    """What is decided about an attempt before anything is done."""

    task: str
    number: int
    session: Session
    previous: AttemptState | None
    parent: str
    """The commit its candidate will stand on."""
    must_change: bool
    earlier_calls: int
    """Tool calls that the session has made in earlier attempts."""
    parts: PromptParts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    folders: AttemptFolders
    spec: ContainerSpec


def choose_session(context: RunContext, task: str, previous: AttemptState | None) -> Session:
    """The previous attempt's session when it can be continued, else a new one.

    What was told to a session is the task as it was written then, so an edited one begins anew.
    """
    before_edit = context.journal.state.tasks[task].attempts_before_edit
    text_is_new = previous is not None and previous.number <= before_edit
    if previous is not None and not text_is_new and context.driver.capabilities.resume != "ignored":
        session = Session(id=previous.start.session, resumed=True)
        files = context.driver.session_files(session.id)
        if session_exists(attempt_folders(context, task, previous.number).home, files):
            return session
    return Session(id=str(uuid.uuid4()), resumed=False)


def attempt_folders(context: RunContext, task: str, number: int) -> AttemptFolders:
    return context.folder.attempt(component(task), number)


async def run_attempt(context: RunContext, attempt: AttemptPlan) -> None:
    """Start the agent, follow it to its end, and write down what came of it.

    The intent is in the journal before a container can exist, and no container is left behind. When the run
    is cancelled the agent is stopped in order, the tree saved and the attempt recorded as interrupted first.
    """
    before = _in_force(context)
    try:
        prepared = await _prepare(context, attempt)
        await _announce(context, attempt, prepared)
        watched = await _carry_out(context, attempt, prepared)
        await _record_end(context, attempt, prepared, watched)
        await _say_what_is_not_in_force(context, attempt, before)
    except asyncio.CancelledError:
        await record_interrupted(context, attempt.task, attempt.number, "stopped by a signal")
        raise
    finally:
        remove_made(context.workspace.tree.folder, attempt_folders(context, attempt.task, attempt.number))
        if context.gateway is not None:
            await context.gateway.close_attempt(context.run, attempt.task, attempt.number)
    last = context.journal.state.tasks[attempt.task].last
    if (
        last is not None
        and last.end is not None
        and last.end.status not in ("completed", "failed", "unclear")
    ):
        await save_tree(context, attempt.task, attempt.number)


async def record_interrupted(context: RunContext, task: str, number: int, reason: str) -> None:
    """Close an attempt that was cut off: its tree saved first, nobody charged."""
    last = context.journal.state.tasks[task].last
    if last is None or last.number != number or last.end is not None:
        return
    folders = attempt_folders(context, task, number)
    remove_made(context.workspace.tree.folder, folders)
    await save_tree(context, task, number)
    heard = _heard(context.driver.parser(), folders.transcript)
    await context.journal.append(
        AttemptEnded(
            status="interrupted",
            reason=reason,
            exit_code=None,
            tool_calls=heard.tool_calls,
            session_kept=session_exists(folders.home, context.driver.session_files(last.start.session)),
            usage=heard.usage,
            plan_sha256=_in_force(context)[context.plan.path],
        ),
        task=task,
        attempt=number,
    )


def _in_force(context: RunContext) -> dict[str, str | None]:
    """Hashes of the folder's plan and configuration, which the run has copies of; None for one not there."""
    found: dict[str, str | None] = {}
    for path in (context.plan.path, "orchestrator.toml"):
        try:
            found[path] = sha256(read_plan_bytes(context.workspace.tree.folder / path, path)).hexdigest()
        except UsageError:
            found[path] = None
    return found


async def _say_what_is_not_in_force(
    context: RunContext, attempt: AttemptPlan, before: dict[str, str | None]
) -> None:
    copies = {
        context.plan.path: context.folder.stored_plan(context.journal.state.plan_stored),
        "orchestrator.toml": context.folder.configuration,
    }
    for path, digest in _in_force(context).items():
        if digest != before[path]:
            text = (
                f"the attempt changed {path}; the run goes on with it as it was at its start: {copies[path]}"
            )
            await context.journal.append(Notice(text=plain(text)), task=attempt.task, attempt=attempt.number)


def _heard(parser: Parser, transcript: Path) -> AgentReport:
    """What an agent did until it was cut off: its session, which may go on, holds the same."""
    report = AgentReport()
    try:
        with (transcript / STDOUT_FILE).open("rb") as stream:
            while line := stream.readline(LINE_MAX):
                for event in parser.feed(line.rstrip(b"\n")):
                    report = report.after(event)
    except FileNotFoundError:
        pass  # cut off before it could say anything
    return report


async def clear_oddities(context: RunContext, task: str, number: int) -> tuple[Baseline, tuple[str, ...]]:
    """Move what git cannot take, and was not there before the attempt, into the attempt's folder.

    Gives what was there before, and the paths that were moved. It comes before any other look at a tree that
    an agent left: a pipe called `.gitignore` blocks every git command that reads it.
    """
    folders = attempt_folders(context, task, number)
    baseline = Baseline.from_json(folders.baseline.read_text("utf-8"))
    moved = await context.workspace.tree.clear_oddities(baseline, folders.moved_away)
    return baseline, tuple(plain(oddity.path) for oddity in moved)


async def save_tree(context: RunContext, task: str, number: int) -> None:
    """Keep the folder as it is as a commit in our own repository."""
    last = context.journal.state.tasks[task].last
    assert last is not None
    await clear_oddities(context, task, number)
    ref = f"refs/ktrdr/trees/{context.run}/{component(task)}/{number}"
    commit = await context.workspace.tree.salvage(
        ref,
        parent=last.start.parent,
        message=f"Tree of attempt {task}/{number}",
        ignored_before=context.folder.ignored_before(),
        base=context.journal.state.start.base,
    )
    await context.journal.append(TreeSaved(ref=ref, commit=commit), task=task, attempt=number)


def _request(
    context: RunContext, task: str, number: int, session: Session, token: str | None
) -> LaunchRequest:
    return LaunchRequest(
        run=context.run,
        task=task,
        attempt=number,
        session=session,
        model=context.settings.agent.model,
        max_turns=context.settings.agent.max_turns,
        token=token,
        credential=credential_kind(context.model_source),
        command=context.settings.agent.command,
    )


async def _prepare(context: RunContext, attempt: AttemptPlan) -> _Prepared:
    """Make folders, inbox, session and socket; nothing here is seen outside the state folder."""
    owner = context.workspace.tree.owner
    folders = attempt_folders(context, attempt.task, attempt.number)
    folders.make(owner)
    token = secrets.token_urlsafe(32) if context.gateway is not None else None
    launch = context.driver.launch(_request(context, attempt.task, attempt.number, attempt.session, token))
    _fill_inbox(folders, launch, prompt(attempt.parts, context.texts))
    if attempt.session.resumed and attempt.previous is not None:
        home = attempt_folders(context, attempt.task, attempt.previous.number).home
        carry_session(home, folders.home, context.driver.session_files(attempt.session.id), owner)
    baseline = await context.workspace.tree.baseline(ignored_before=context.folder.ignored_before())
    folders.baseline.write_text(baseline.to_json(), "utf-8")
    setup = await setup_image(context, attempt.parent, For(task=attempt.task, attempt=attempt.number))
    spec = context.specs.attempt(
        task=attempt.task,
        number=attempt.number,
        image=setup.id,
        launch=launch,
        folders=folders,
        git=await context.workspace.tree.make_git_dir(folders.git, branch=context.journal.state.start.branch),
        gateway=await _open_at_gateway(context, attempt, token),
        covers=(
            *masks(context.workspace.tree.folder, context.settings.masked.files, folders),
            *await volumes_of(setup, context.workspace, folders),
        ),
    )
    return _Prepared(folders=folders, spec=spec)


def _fill_inbox(folders: AttemptFolders, launch: Launch, text: str) -> None:
    for name, data in {**launch.files, "prompt.md": text.encode()}.items():
        path = folders.inbox / name
        path.write_bytes(data)
        path.chmod(0o644)


async def _open_at_gateway(context: RunContext, attempt: AttemptPlan, token: str | None) -> Path | None:
    """The folder of the attempt's socket; None for an agent without a model."""
    if context.gateway is None or token is None or context.model_source is None:
        return None
    return await context.gateway.open_attempt(
        AttemptAccess(
            run=context.run,
            task=attempt.task,
            attempt=attempt.number,
            token=token,
            uid=context.workspace.tree.owner.uid,
            gid=context.workspace.tree.owner.gid,
            model=context.model_source,
        )
    )


async def _announce(context: RunContext, attempt: AttemptPlan, prepared: _Prepared) -> None:
    await context.journal.append(
        AttemptStarted(
            container=prepared.spec.name,
            session=attempt.session.id,
            resumed=attempt.session.resumed,
            parent=attempt.parent,
            folder=str(prepared.folders.root.relative_to(context.folder.root)),
        ),
        task=attempt.task,
        attempt=attempt.number,
    )


async def _carry_out(context: RunContext, attempt: AttemptPlan, prepared: _Prepared) -> Watched:
    limits = context.settings.limits
    chatter = AgentOutputRecorder(
        lambda body: context.journal.append(body, task=attempt.task, attempt=attempt.number)
    )
    container = await start_container(context.engine, prepared.spec)
    try:
        return await watch(
            context.engine,
            container,
            transcript=prepared.folders.transcript,
            parser=context.driver.parser(),
            chatter=chatter,
            output_bytes=int(limits.output_bytes),
            limit_seconds=limits.attempt_seconds,
        )
    finally:
        try:
            await chatter.flush()
        finally:
            await remove_container(context.engine, container)


async def _record_end(
    context: RunContext, attempt: AttemptPlan, prepared: _Prepared, watched: Watched
) -> None:
    capabilities = context.driver.capabilities
    session_files = context.driver.session_files(attempt.session.id)
    counts_calls = capabilities.tool_events != "ignored" and attempt.must_change
    verdict = attempt_verdict(
        report=watched.report,
        ending=watched.ending,
        outcome=_outcome(context, prepared, watched),
        calls_in_session=attempt.earlier_calls + watched.report.tool_calls,
        min_tool_calls=context.settings.agent.min_tool_calls if counts_calls else 0,
    )
    await context.journal.append(
        AttemptEnded(
            status=verdict.status,
            reason=verdict.reason,
            exit_code=watched.ending.exit_code,
            claim=verdict.claim,
            tool_calls=watched.report.tool_calls,
            session_kept=session_exists(prepared.folders.home, session_files),
            usage=watched.report.usage,
            until=verdict.until,
            plan_sha256=_in_force(context)[context.plan.path],
        ),
        task=attempt.task,
        attempt=attempt.number,
    )


def _outcome(context: RunContext, prepared: _Prepared, watched: Watched) -> Outcome | InvalidOutcome | None:
    """The agent's structured claim, from where its driver reports it."""
    match context.driver.capabilities.structured_outcome:
        case "native":
            finished = watched.report.finished
            return None if finished is None else finished.outcome
        case "translated":
            return read_outcome_file(prepared.folders.outbox / OUTCOME_FILE.rpartition("/")[2])
        case "ignored":
            return None
