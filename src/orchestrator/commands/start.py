"""From a chosen run to everything it works with.

Everything that can be refused is refused here, in an order in which nothing has been changed and no
container started when it is.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import resources

from orchestrator.agents.base import AgentDriver
from orchestrator.commands.image import run_image
from orchestrator.commands.plan_for_resume import plan_for_resume
from orchestrator.commands.request import RunRequest, model_for, options_for, settings_for
from orchestrator.commands.run_facts import Terms, begun, give_up, record_resume, run_started_fact
from orchestrator.commands.work import work_of
from orchestrator.containers.base import ContainerEngine
from orchestrator.containers.machine import machine_of
from orchestrator.engine.container_specs import ContainerSpecs
from orchestrator.engine.context import RunContext
from orchestrator.errors import EnvironmentInvalid, UsageError
from orchestrator.gateway.client import GatewayClient
from orchestrator.plan.model import Plan
from orchestrator.preflight import leftovers
from orchestrator.preflight.environment import (
    check_agent_program,
    check_disk,
    check_mounts,
    check_required_files,
    run_checks,
)
from orchestrator.preflight.notices import notices
from orchestrator.project.plan_files import read_plan_file, require_runnable
from orchestrator.project.project import Project, ReadPlan, check_living_containers
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.endings import run_ended
from orchestrator.run.facts import Listener
from orchestrator.run.prompts import TEXTS
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import (
    Choice,
    NewRun,
    ResumeRun,
    Selection,
    choose_run,
    is_unfinished,
)


async def choose(project: Project, path: str, request: RunRequest) -> tuple[Choice, ReadPlan]:
    """The plan and what to do about it; a run that goes on keeps the plan it was started with."""
    plan, content = read_plan_file(project.folder / path, shown_as=path)
    require_runnable(plan)
    for wanted in (*request.only, *([request.first] if request.first is not None else [])):
        if plan.task(wanted) is None:
            known = ", ".join(task.id for task in plan.tasks)
            raise UsageError(f"there is no task {wanted}", where=path, hint=f"The plan's tasks: {known}")
    records = await project.runs_of_plan(path)
    selection = Selection(only=request.only, first=request.first, anew=request.new)
    choice = choose_run(records, plan, selection, on_branch=await project.on_branch(records))
    if isinstance(choice, ResumeRun):
        return plan_for_resume(project, choice.state, request)
    return choice, ReadPlan(plan=plan, content=content)


@asynccontextmanager
async def prepared(
    project: Project, choice: NewRun | ResumeRun, read: ReadPlan, request: RunRequest
) -> AsyncIterator[RunContext]:
    """Check everything, take the locks, write the run's first or next fact, and give its context."""
    options = options_for(choice, request)
    loaded = settings_for(project, choice, options)
    settings = loaded.settings
    check_required_files(project.folder, settings.environment.required_files)
    check_disk(project.state.path, project.folder)
    check_mounts(settings)
    await run_checks(project.folder, settings.environment.checks)
    driver = project.host.agent_driver(settings.agent.name)
    model = model_for(project, driver, settings)
    run = choice.state.run if isinstance(choice, ResumeRun) else _new_run_id(read.plan)
    async with AsyncExitStack() as stack:
        stack.enter_context(project.folder_lock(run))
        branch = await _branch_for(project, choice, read.plan)
        await _check_foreign_work(project, read.plan.path)
        engine = await stack.enter_async_context(project.host.connect_engine())
        # Before the folder is judged: what is not committed may be an agent's that is at work.
        await _check_containers(engine, project, run)
        begun_before = choice.state.run if isinstance(choice, ResumeRun) else None
        untracked = await project.untracked(read.plan.path, run=begun_before)
        dirty = await _dirty(project, choice, untracked, allow=request.allow_dirty)
        image = await run_image(
            engine,
            project.folder,
            settings,
            earlier_context=_earlier_context(project, choice),
            environ=project.host.environ,
            on_line=request.progress,
        )
        specs = ContainerSpecs(
            folder=project.folder,
            owner=project.workspace.tree.owner,
            state_id=project.state.id,
            run=run,
            settings=settings,
            machine=machine_of(project.host.environ),
        )
        # Named after the folder, whose lock is ours.
        probe = specs.probe(name=f"ktrdr-probe-{project.workspace.store.name}", image=image.id)
        await check_agent_program(engine, project.workspace, driver, settings, probe)
        stack.enter_context(project.run_lock(run))
        gateway = await _gateway(stack, project, driver)
        terms = Terms(
            run=run,
            branch=branch,
            options=options,
            loaded=loaded,
            untracked=untracked,
            dirty=dirty,
            build_context=image.context,
            notices=await notices(project, choice, read, settings, untracked),
        )
        async with _ended_when_cancelled(project, run, request.listeners):
            journal = await _begin(project, choice, read, terms, request.listeners)
            work = await work_of(project, read.plan, settings, journal.state)
        yield RunContext(
            run=run,
            folder=project.catalog.folder(run),
            journal=journal,
            plan=read.plan,
            work=work,
            settings=settings,
            driver=driver,
            engine=engine,
            workspace=project.workspace,
            image=image.id,
            gateway=gateway,
            model_source=model,
            specs=specs,
            texts=prompt_texts(),
            untracked=untracked,
        )


async def _begin(
    project: Project,
    choice: NewRun | ResumeRun,
    read: ReadPlan,
    terms: Terms,
    listeners: tuple[Listener, ...],
) -> RunJournal:
    """Everything that can fail comes before an unfinished run is given up for a new one."""
    started = await run_started_fact(project, read.plan, terms) if isinstance(choice, NewRun) else None
    if isinstance(choice, NewRun) and choice.replaces is not None:
        await give_up(project, choice.replaces)  # no event of the run that is heard
    if isinstance(choice, ResumeRun):
        return await record_resume(project, choice, read, terms, listeners)
    assert started is not None
    return await begun(project, choice, read, terms, started, listeners)


@asynccontextmanager
async def _ended_when_cancelled(
    project: Project, run: str, listeners: tuple[Listener, ...]
) -> AsyncIterator[None]:
    """A run that has begun ends by a fact, even before its loop."""
    try:
        yield
    except asyncio.CancelledError:
        if project.journal.facts(run):
            journal = RunJournal.open(project.journal, run, listeners)
            if journal.state.end is None:
                await journal.append(run_ended("interrupted", "stopped before it got to work"))
        raise


def prompt_texts() -> dict[str, str]:
    """The texts prompts are made of, by name."""
    folder = resources.files("orchestrator.run") / "prompt_texts"
    return {name: (folder / f"{name}.md").read_text("utf-8") for name in TEXTS}


def branch_of(plan: Plan) -> str:
    """The plan's own branch, else one named after its file."""
    stem = plan.path.rpartition("/")[2].rpartition(".")[0] or plan.path.rpartition("/")[2]
    return plan.branch or f"milestone/{stem}"


def _new_run_id(plan: Plan) -> str:
    """At most 40 lower-case letters, digits and hyphens: the plan's name and six random digits."""
    stem = plan.path.rpartition("/")[2].rpartition(".")[0]
    words = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:32].strip("-") or "run"
    return f"{words}-{secrets.token_hex(3)}"


async def _branch_for(project: Project, choice: NewRun | ResumeRun, plan: Plan) -> str:
    """The run's branch; raises EnvironmentInvalid when a run cannot work on it."""
    if isinstance(choice, NewRun):
        branch = branch_of(plan)
        await project.workspace.user.check_branch(branch)
        return branch
    to_be_made = await project.workspace.user.check_branch(choice.state.start.branch)
    if to_be_made and choice.state.branch_ready:
        raise _branch_gone(project, choice.state)
    return choice.state.start.branch


async def _check_containers(engine: ContainerEngine, project: Project, run: str) -> None:
    """Remove those that are over; raises EnvironmentInvalid when another is at work in the folder."""
    containers = await leftovers.look(engine, project.state.id, project.catalog)
    await leftovers.remove(engine, containers.over)
    await check_living_containers(engine, project, run)


async def _gateway(stack: AsyncExitStack, project: Project, driver: AgentDriver) -> GatewayClient | None:
    if not driver.needs_model:
        return None
    return await stack.enter_async_context(
        GatewayClient.connect(project.state.path, project.state.id, project.host.environ, project.host.clock)
    )


async def _dirty(
    project: Project, choice: NewRun | ResumeRun, untracked: frozenset[str], *, allow: bool
) -> bool:
    """Whether the user has changes that are not committed; refused unless they are allowed.

    A run that goes on takes what a person changed since as theirs, so nothing is refused then.
    """
    if isinstance(choice, ResumeRun) and choice.state.branch_ready:
        return False
    await project.workspace.user.check_files()
    if isinstance(choice, ResumeRun) and choice.state.start.base != choice.state.start.head:
        return True  # they were allowed when it began
    dirty = await project.workspace.user.dirty_paths(untracked)
    if dirty and not allow:
        more = f" and {len(dirty) - 3} more" if len(dirty) > 3 else ""
        raise EnvironmentInvalid(
            f"there are changes that are not committed: {', '.join(dirty[:3])}{more}",
            where=str(project.folder),
            hint="Commit or stash them (git stash -u), or let the run commit them first: --allow-dirty",
        )
    return bool(dirty)


def _branch_gone(project: Project, state: RunState) -> EnvironmentInvalid:
    return EnvironmentInvalid(
        f"the branch {state.start.branch} of run {state.run} is not there any more",
        where=str(project.folder),
        hint=f"Make it again where it was, or start over: orchestrator run --new {state.start.plan}",
    )


async def _check_foreign_work(project: Project, plan: str) -> None:
    """HEAD with task commits of another plan's unfinished run is not ours to build on."""
    others = [r for r in project.catalog.of(project.folder) if r.start.plan != plan and is_unfinished(r)]
    held = await project.on_branch(others)
    for record in others:
        commits = [task.finished.commit for task in record.tasks.values() if task.finished is not None]
        if held.intersection(commits):
            raise EnvironmentInvalid(
                f"HEAD holds work of run {record.run} ({record.start.plan}), which is not finished",
                where=str(project.folder),
                hint=f"orchestrator resume {record.run}, or orchestrator cancel {record.run}",
            )


def _earlier_context(project: Project, choice: NewRun | ResumeRun) -> str | None:
    if isinstance(choice, NewRun):
        return None
    recorded = project.catalog.folder(choice.state.run).build_context
    return recorded.read_text("utf-8") if recorded.exists() else None
