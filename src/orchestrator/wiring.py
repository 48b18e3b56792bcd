"""Puts the parts together: from a command's options to a run that is carried out.

Everything that can be refused is refused here, in an order in which nothing has been changed and no
container started when it is.
"""

import os
import re
import secrets
import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from orchestrator.agents.base import AgentDriver
from orchestrator.agents.registry import agent_driver
from orchestrator.config import LoadedSettings, Override, Settings, load_settings
from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.containers.engine import connect_engine
from orchestrator.containers.names import labels
from orchestrator.engine.context import RunContext, limits_of
from orchestrator.engine.environment import check_agent_program, check_required_files, validate_environment
from orchestrator.engine.milestone_runner import MilestoneRunner
from orchestrator.engine.run_folder import RunFolder
from orchestrator.engine.run_journal import RunJournal
from orchestrator.engine.run_records import RunRecords
from orchestrator.errors import EnvironmentInvalid, FolderBusy, UsageError
from orchestrator.gateway.access import PROVIDER_URL, ModelSource, Provider, Scripted, credential_from
from orchestrator.gateway.client import GatewayClient
from orchestrator.gateway.script import load_script
from orchestrator.journal.journal import Journal, Listener
from orchestrator.plan.graph import ordered
from orchestrator.plan.model import Plan, Task
from orchestrator.plan.reader import read_plan
from orchestrator.plan_files import read_plan_file, require_runnable
from orchestrator.run.facts import (
    QuestionAnswered,
    RunOptions,
    RunResumed,
    RunStarted,
    TaskEntry,
    TaskFinished,
)
from orchestrator.run.prompts import TEXTS
from orchestrator.run.report import RunReport, report_of
from orchestrator.run.state import RunState, begin, fold
from orchestrator.state_folder import StateFolder, open_state_folder
from orchestrator.supervision.choose_run import (
    Choice,
    DoneAlready,
    GoOn,
    NewRun,
    choose_run,
    earlier_commit,
    is_unfinished,
)
from orchestrator.supervision.decide import Work, WorkItem
from orchestrator.workspace.locks import FolderLock, RunLock
from orchestrator.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What a person asked for; None: not given."""

    agent: str | None = None
    agent_command: str | None = None
    model: str | None = None
    guidance: str | None = None
    config: tuple[str, ...] = ()
    """SECTION.KEY=VALUE, later wins."""
    only: tuple[str, ...] = ()
    """Ids of the tasks to carry out; empty: all."""
    listeners: tuple[Listener, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A code folder and the state folder that remembers its runs."""

    folder: Path
    state: StateFolder
    journal: Journal
    workspace: Workspace

    @property
    def records(self) -> RunRecords:
        return RunRecords(state=self.state.path, journal=self.journal)


async def run_milestone(plan: str | Path, **options: object) -> RunReport:
    """Carry out a plan in the code folder we stand in, or go on with its unfinished run.

    `options` are the fields of RunRequest. Raises OrchestratorError when plan, configuration or environment
    are not fit, before anything is started; what happens later is in the report.
    """
    code_folder = validate_environment()
    request = RunRequest(**options)  # type: ignore[arg-type]
    async with _place(code_folder) as place:
        choice, read = await _choose(place, plan_path(code_folder, plan), request)
        if isinstance(choice, DoneAlready):
            return report_of(choice.state)
        async with _run(place, choice, read, request) as context:
            return report_of(await MilestoneRunner(context).carry_out())


async def resume_run(wanted: str | None, **options: object) -> RunReport:
    """Go on with an unfinished run: named by id, unambiguous prefix or plan, else the only one here."""
    code_folder = validate_environment()
    request = RunRequest(**options)  # type: ignore[arg-type]
    async with _place(code_folder) as place:
        state = _unfinished(place, wanted)
        async with _run(place, GoOn(state=state), _stored_plan(place, state), request) as context:
            return report_of(await MilestoneRunner(context).carry_out())


def plan_path(folder: Path, plan: str | Path) -> str:
    """The plan's path relative to the code folder; raises UsageError when it lies outside."""
    absolute = Path(os.path.normpath(folder / plan))
    if not absolute.is_relative_to(folder):
        raise UsageError(
            "the plan lies outside the code folder", where=str(plan), hint=f"Put it somewhere in {folder}."
        )
    return absolute.relative_to(folder).as_posix()


@asynccontextmanager
async def _place(folder: Path) -> AsyncIterator[Place]:
    state = open_state_folder(os.environ)
    workspace = await Workspace.open(folder, repositories=state.path / "repositories")
    journal = Journal.open(state.path / "journal.sqlite")
    try:
        yield Place(folder=folder, state=state, journal=journal, workspace=workspace)
    finally:
        journal.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadPlan:
    plan: Plan
    content: bytes


async def _choose(place: Place, path: str, request: RunRequest) -> tuple[Choice, _ReadPlan]:
    """The plan and what to do about it; a run that goes on keeps the plan it was started with."""
    plan, content = read_plan_file(place.folder / path, shown_as=path)
    require_runnable(plan)
    for wanted in request.only:
        if plan.task(wanted) is None:
            known = ", ".join(task.id for task in plan.tasks)
            raise UsageError(f"there is no task {wanted}", where=path, hint=f"The plan's tasks: {known}")
    records = await _records_here(place, path)
    choice = choose_run(records, plan, only=request.only, on_branch=await _on_branch(place, records))
    if isinstance(choice, GoOn):
        return choice, _stored_plan(place, choice.state)
    return choice, _ReadPlan(plan=plan, content=content)


async def _records_here(place: Place, plan: str) -> list[RunState]:
    """Runs of this plan in this very repository; one that stood here before is another story."""
    records = place.records.of(place.folder, plan)
    return [record for record in records if await place.workspace.has_commit(record.start.base)]


async def _on_branch(place: Place, records: list[RunState]) -> frozenset[str]:
    """Which of these runs' commits HEAD holds."""
    commits = {
        task.finished.commit
        for record in records
        for task in record.tasks.values()
        if task.finished is not None and task.finished.commit is not None
    }
    head = (await place.workspace.head()).commit
    return frozenset([commit for commit in commits if await place.workspace.is_ancestor(commit, head)])


def _stored_plan(place: Place, state: RunState) -> _ReadPlan:
    content = place.records.folder(state.run).plan.read_bytes()
    return _ReadPlan(plan=read_plan(content, path=state.start.plan), content=content)


def _unfinished(place: Place, wanted: str | None) -> RunState:
    """The run that `resume` means. Raises UsageError when there is none, or several."""
    if wanted is not None:
        state = place.records.named(wanted)
        if not is_unfinished(state):
            raise UsageError(f"run {state.run} is over: {report_of(state).status}")
        if state.start.folder != str(place.folder):
            raise UsageError(f"run {state.run} belongs to another folder", hint=f"cd {state.start.folder}")
        return state
    latest: dict[str, RunState] = {}
    for record in place.records.of(place.folder):
        latest.setdefault(record.start.plan, record)
    candidates = [record for record in latest.values() if is_unfinished(record)]
    if len(candidates) == 1:
        return candidates[0]
    what = "several unfinished runs" if candidates else "no unfinished run"
    listed = "".join(f"\n  {record.run}  {record.start.plan}" for record in candidates[:5])
    raise UsageError(
        f"there is {what} in {place.folder}{listed}", hint="`orchestrator status` lists all runs."
    )


@asynccontextmanager
async def _run(
    place: Place, choice: NewRun | GoOn, read: _ReadPlan, request: RunRequest
) -> AsyncIterator[RunContext]:
    """Check everything, take the locks, write the run's first or next fact, and give its context."""
    options = _options(choice, request)
    loaded = _settings(place, choice, options)
    settings = loaded.settings
    check_required_files(place.folder, settings.environment.required_files)
    driver = agent_driver(settings.agent.name)
    model = _model_source(driver, settings)
    run = choice.state.run if isinstance(choice, GoOn) else _new_run_id(read.plan)
    folder = place.records.folder(run)
    async with AsyncExitStack() as stack:
        stack.enter_context(_folder_lock(place, run))
        untracked = await _untracked(place, read.plan.path)
        branch = choice.state.start.branch if isinstance(choice, GoOn) else branch_of(read.plan)
        await place.workspace.check_branch(branch)
        await _check_clean(place, choice, untracked)
        engine = await connect_engine()
        stack.push_async_callback(engine.close)
        image = await _image(engine, settings)
        await check_agent_program(
            engine, place.workspace, driver, settings, _probe(place, settings, image, run)
        )
        folder.root.mkdir(parents=True, mode=0o700, exist_ok=True)
        _take_run_lock(stack, folder, run)
        for listener in request.listeners:
            place.journal.listen(listener)
        journal = await _begin(place, choice, read, options, loaded, run=run, branch=branch)
        gateway = None
        if driver.needs_model:
            gateway = await stack.enter_async_context(GatewayClient.connect(place.state.path, place.state.id))
        yield RunContext(
            run=run,
            state_id=place.state.id,
            folder=folder,
            journal=journal,
            plan=read.plan,
            work=await _work(place, read.plan, settings, journal.state),
            settings=settings,
            driver=driver,
            engine=engine,
            workspace=place.workspace,
            image=image,
            gateway=gateway,
            model_source=model,
            texts=prompt_texts(),
            untracked=untracked,
        )


def prompt_texts() -> dict[str, str]:
    """The texts prompts are made of, by name."""
    folder = resources.files("orchestrator.run") / "prompt_texts"
    return {name: (folder / f"{name}.md").read_text("utf-8") for name in TEXTS}


def branch_of(plan: Plan) -> str:
    """The plan's own branch, else one named after its file."""
    stem = plan.path.rpartition("/")[2].rpartition(".")[0] or plan.path.rpartition("/")[2]
    return plan.branch or f"milestone/{stem}"


def _options(choice: NewRun | GoOn, request: RunRequest) -> RunOptions:
    """How the run is to go on: as it was started, unless something else is asked for now."""
    before = choice.state.options if isinstance(choice, GoOn) else RunOptions(agent="")
    if request.agent_command is not None and request.agent not in (None, "command"):
        raise UsageError(
            f"--agent-command is for the agent `command`, not for {request.agent}",
            hint="Leave out one of the two.",
        )
    command = before.command
    agent = request.agent or before.agent
    if request.agent_command is not None:
        command, agent = _split(request.agent_command), "command"
    return replace(
        before,
        agent=agent,
        command=command,
        model=request.model or before.model,
        guidance=request.guidance or before.guidance,
        overrides=(*before.overrides, *request.config),
        only=request.only or before.only,
    )


def _split(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"--agent-command cannot be split into words: {error}") from None
    if not words:
        raise UsageError("--agent-command is empty")
    return words


def _settings(place: Place, choice: NewRun | GoOn, options: RunOptions) -> LoadedSettings:
    """The settings in force; a run that goes on keeps the repository's file it was started with."""
    overrides: list[str | Override] = list(options.overrides)
    if options.agent:
        overrides.append(Override(key="agent.name", value=options.agent, flag="--agent"))
    if options.command:
        overrides.append(Override(key="agent.command", value=list(options.command), flag="--agent-command"))
    if options.model is not None:
        overrides.append(Override(key="agent.model", value=options.model, flag="--model"))
    stored = None
    if isinstance(choice, GoOn):
        stored = place.records.folder(choice.state.run).configuration.read_bytes()
    return load_settings(place.folder, environ=os.environ, overrides=overrides, repository_file=stored)


def _model_source(driver: AgentDriver, settings: Settings) -> ModelSource | None:
    """Where the agent's model is; raises EnvironmentInvalid when there is no credential for it."""
    if not driver.needs_model:
        return None
    if settings.gateway.scripted is not None:
        load_script(settings.gateway.scripted)
        return Scripted(path=settings.gateway.scripted)
    credential = credential_from(os.environ)
    if credential is None:
        raise EnvironmentInvalid(
            f"no credential for the agent {driver.name}",
            hint="export ANTHROPIC_API_KEY=…, or try without a model: -c gateway.scripted=FILE",
        )
    upstream = settings.gateway.upstream or os.environ.get("ANTHROPIC_BASE_URL") or PROVIDER_URL
    return Provider(upstream=upstream, credential=credential)


def _new_run_id(plan: Plan) -> str:
    """At most 40 lower-case letters, digits and hyphens: the plan's name and six random digits."""
    stem = plan.path.rpartition("/")[2].rpartition(".")[0]
    words = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:32].strip("-") or "run"
    return f"{words}-{secrets.token_hex(3)}"


def _folder_lock(place: Place, run: str) -> FolderLock:
    holders = place.state.path / "holders"
    holders.mkdir(mode=0o700, exist_ok=True)
    return FolderLock.take(place.workspace.git_dir, holders / place.workspace.own.git_dir.name, run=run)


def _take_run_lock(stack: AsyncExitStack, folder: RunFolder, run: str) -> None:
    lock = RunLock.take(folder.lock)
    if lock is None:
        holder = RunLock.holder(folder.lock)
        pid = "an unknown process" if holder is None else f"process {holder.pid}"
        raise FolderBusy(f"run {run} is being carried out by {pid}", hint="Wait for it, or stop it with ^C.")
    stack.callback(lock.release)


async def _untracked(place: Place, plan: str) -> frozenset[str]:
    """The plan and the configuration, where git does not track them: theirs, not the work's."""
    paths = [path for path in (plan, "orchestrator.toml") if not await place.workspace.is_tracked(path)]
    return frozenset(paths)


async def _check_clean(place: Place, choice: NewRun | GoOn, untracked: frozenset[str]) -> None:
    """Only a tree that an attempt of this run left behind may differ from its commit."""
    if isinstance(choice, GoOn) and _has_open_attempt(choice.state):
        return
    dirty = await place.workspace.dirty_paths(untracked)
    if dirty:
        more = f" and {len(dirty) - 3} more" if len(dirty) > 3 else ""
        raise EnvironmentInvalid(
            f"there are changes that are not committed: {', '.join(dirty[:3])}{more}",
            where=str(place.folder),
            hint="Commit or stash them first: git add -A && git commit, or git stash -u",
        )


def _has_open_attempt(state: RunState) -> bool:
    """Whether the folder holds what an attempt left and did not land."""
    return any(task.attempts and not task.met for task in state.tasks.values())


def _probe(place: Place, settings: Settings, image: str, run: str) -> ContainerSpec:
    """A container that only looks something up in the image."""
    owner = place.workspace.owner
    return ContainerSpec(
        name=f"ktrdr-probe-{run}",
        image=image,
        uid=owner.uid,
        gid=owner.gid,
        limits=limits_of(settings),
        labels=labels(kind="probe", state=place.state.id),
        working_dir="/",
        network="none",
    )


async def _image(engine: ContainerEngine, settings: Settings) -> str:
    digest = await engine.image_digest(settings.image.name)
    if digest is None:
        raise EnvironmentInvalid(
            f"there is no image {settings.image.name}", hint="Build it: orchestrator image build"
        )
    return digest


async def _begin(
    place: Place,
    choice: NewRun | GoOn,
    read: _ReadPlan,
    options: RunOptions,
    loaded: LoadedSettings,
    *,
    run: str,
    branch: str,
) -> RunJournal:
    """Write the run's first fact, or the one with which it goes on."""
    if isinstance(choice, GoOn):
        journal = RunJournal(place.journal, fold(place.journal.state_facts(run)))
        journal.append(RunResumed(options=options))
        _answer_by_guidance(journal, options.guidance)
        return journal
    folder = place.records.folder(run)
    folder.plan.write_bytes(read.content)
    folder.configuration.write_bytes(loaded.repository_file or b"")
    base = (await place.workspace.head()).commit
    await place.workspace.pin_base(run, base)
    started = RunStarted(
        plan=read.plan.path,
        plan_title=read.plan.title,
        folder=str(place.folder),
        branch=branch,
        base=base,
        tasks=tuple(
            TaskEntry(id=task.id, title=task.title, type=task.type, hash=task.hash)
            for task in read.plan.tasks
        ),
        end_to_end=read.plan.end_to_end is not None,
        options=replace(options, agent=loaded.settings.agent.name),
    )
    journal = RunJournal(place.journal, begin(place.journal.append(run, started)))
    for task, commit in choice.imported.items():
        journal.append(TaskFinished(status="imported", commit=commit), task=task)
    for task in choice.skipped:
        journal.append(TaskFinished(status="skipped", reason="left out"), task=task)
    return journal


def _answer_by_guidance(journal: RunJournal, guidance: str | None) -> None:
    """Guidance given to `resume` is the answer when just one question is open."""
    questions = journal.state.open_questions
    if guidance is not None and len(questions) == 1:
        asked = questions[0]
        answer = QuestionAnswered(question=asked.asked.question, by="resume -g", text=guidance)
        journal.append(answer, task=asked.task, attempt=asked.attempt)


async def _work(place: Place, plan: Plan, settings: Settings, state: RunState) -> Work:
    """The plan as the policy sees it: the tasks to carry out, in order, with their gates."""
    records = [record for record in await _records_here(place, plan.path) if record.run != state.run]
    on_branch = await _on_branch(place, records)
    items = []
    for task in ordered(plan):
        finished = state.tasks[task.id].finished
        if finished is not None and finished.status in ("imported", "skipped"):
            continue
        commands = commands_of(task, settings)
        landed = earlier_commit(records, task.id, None, on_branch) is not None
        must_change = (task.writes_code or (task.type is None and not commands)) and not landed
        items.append(
            WorkItem(id=task.id, depends_on=task.depends_on, commands=commands, must_change=must_change)
        )
    scenario: tuple[str, ...] = ()
    if not state.options.only:
        own = plan.end_to_end.commands if plan.end_to_end is not None else ()
        scenario = (*own, *settings.verify.milestone)
    return Work(items=tuple(items), end_to_end=scenario, attempts=settings.limits.attempts)


def commands_of(task: Task, settings: Settings) -> tuple[str, ...]:
    """The gates of a task: its own, its smoke tests where they count, and those of every task."""
    smoke = task.smoke_tests if settings.verify.smoke_tests else ()
    return (*task.verify, *smoke, *settings.verify.task)
