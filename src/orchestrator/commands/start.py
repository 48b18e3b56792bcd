"""From a chosen run to everything it works with.

Everything that can be refused is refused here, in an order in which nothing has been changed and no
container started when it is.
"""

import asyncio
import dataclasses
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import resources

from msgspec import structs

from orchestrator.agents.base import AgentDriver
from orchestrator.commands.image import RunImage, run_image
from orchestrator.commands.request import StartOptions, load_run_settings, merge_options
from orchestrator.commands.run_facts import Settled, record_start_or_resume
from orchestrator.commands.work import work_of
from orchestrator.config import LoadedSettings, Settings
from orchestrator.containers.base import ContainerEngine
from orchestrator.containers.machine import read_machine
from orchestrator.engine.actions import RunActions
from orchestrator.engine.container_specs import ContainerSpecs
from orchestrator.engine.context import ModelAccess, RunRecords, RunTerms, Services
from orchestrator.engine.milestone_runner import MilestoneRunner
from orchestrator.gateway.client import GatewayClient
from orchestrator.gateway.source import choose_model
from orchestrator.plan.diagnostics import describe
from orchestrator.plan.model import Plan
from orchestrator.preflight import leftovers
from orchestrator.preflight.checks import Stage, require
from orchestrator.preflight.notices import notices
from orchestrator.preflight.site import PlannedRun, Site, once, supply
from orchestrator.project.plan_files import ReadPlan
from orchestrator.project.project import Project
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.endings import run_ended
from orchestrator.run.facts import Listener, RunOptions
from orchestrator.run.prompts import TEXTS
from orchestrator.run.report import RunReport, report_of
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import NewRun, ResumeRun
from orchestrator.supervision.decide import Work
from orchestrator.workspace.workspace import Workspace


async def carry_out(
    project: Project, choice: NewRun | ResumeRun, read: ReadPlan, given: StartOptions
) -> RunReport:
    """Start or resume the chosen run by this plan, and carry it out to its end."""
    if isinstance(choice, NewRun) or choice.taken is not None:
        for warning in read.plan.warnings:
            given.warn(describe(warning, path=read.plan.path))
    async with prepared(project, choice, read, given) as runner:
        return report_of(await runner.carry_out())


@asynccontextmanager
async def prepared(
    project: Project, choice: NewRun | ResumeRun, read: ReadPlan, given: StartOptions
) -> AsyncIterator[MilestoneRunner]:
    """Require every check, take the locks, write the run's first or next facts, and give its runner."""
    earlier = choice.state if isinstance(choice, ResumeRun) else None
    options = _options(choice, given)
    loaded = load_run_settings(project, earlier, options)
    settings = loaded.settings
    async with AsyncExitStack() as stack:
        site = _site(project, loaded, stack)
        await require(site, Stage.SETTLED)
        driver = project.host.agent_driver(settings.agent.name)
        planned = await _planned_run(project, read.plan, earlier, given)
        site = dataclasses.replace(site, planned=planned)
        stack.enter_context(project.folder_lock(planned.run))
        project.remove_stale_index_lock()
        await require(site, Stage.LOCKED)
        engine = await site.engine()
        await leftovers.remove_ended(engine, project)
        await require(site, Stage.ALONE)
        image = await _run_image(project, engine, settings, earlier, given)
        # Named after the folder, whose lock is ours.
        specs = _specs(project, settings, planned.run)
        probe = specs.probe(name=f"ktrdr-probe-{project.workspace.store.name}", image=image.id)
        await require(dataclasses.replace(site, probe=probe), Stage.BUILT)
        stack.enter_context(project.run_lock(planned.run))
        await leftovers.remove_unrecorded(project, besides=planned.run)
        leftovers.remove_scratch(project.catalog.folder(planned.run))
        model = await _model_access(stack, project, driver, settings)
        settled = Settled(
            run=planned.run,
            branch=planned.branch,
            options=options,
            loaded=loaded,
            untracked=planned.untracked,
            allow_dirty=planned.allow_dirty,
            build_context=image.context,
            notices=await notices(project, choice, read, settings, planned.untracked),
        )
        async with _ended_when_cancelled(project, planned.run, given.listeners):
            journal = await record_start_or_resume(project, choice, read, settled, given.listeners)
            work = await work_of(project, read.plan, settings, journal.state)
        services = Services(engine=engine, driver=driver, model=model, clock=project.host.clock)
        records = RunRecords(
            run=planned.run,
            state_id=project.state.id,
            folder=project.catalog.folder(planned.run),
            journal=journal,
        )
        terms = _terms(read.plan, work, settings, planned.untracked, image.id, specs)
        yield MilestoneRunner(journal, work, RunActions(services, records, terms, project.workspace))


def _terms(
    plan: Plan, work: Work, settings: Settings, untracked: frozenset[str], image: str, specs: ContainerSpecs
) -> RunTerms:
    return RunTerms(
        plan=plan,
        work=work,
        settings=settings,
        texts=prompt_texts(),
        untracked=untracked,
        image=image,
        specs=specs,
    )


def _options(choice: NewRun | ResumeRun, given: StartOptions) -> RunOptions:
    if isinstance(choice, ResumeRun):
        return merge_options(choice.state.options, given)
    options = merge_options(RunOptions(agent=""), given)
    return structs.replace(options, only=choice.selected) if choice.skipped else options


def _site(project: Project, loaded: LoadedSettings, stack: AsyncExitStack) -> Site:
    """What the checks look at: the opened project, and the engine when they come to it."""
    host = project.host
    return Site(
        host=host,
        loaded=loaded,
        inspected=once(
            lambda: Workspace.inspect(
                project.folder, repositories=project.state.repositories, environ=host.environ
            )
        ),
        workspace=supply(project.workspace),
        catalog=supply(project.catalog),
        engine=once(lambda: stack.enter_async_context(host.connect_engine())),
    )


async def _planned_run(
    project: Project, plan: Plan, earlier: RunState | None, given: StartOptions
) -> PlannedRun:
    run = earlier.run if earlier is not None else None
    return PlannedRun(
        run=run or _new_run_id(plan),
        plan=plan.path,
        branch=earlier.start.branch if earlier is not None else branch_of(plan),
        earlier=earlier,
        untracked=await project.untracked(plan.path, run=run),
        allow_dirty=given.allow_dirty,
    )


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


async def _model_access(
    stack: AsyncExitStack, project: Project, driver: AgentDriver, settings: Settings
) -> ModelAccess | None:
    if not driver.needs_model:
        return None
    source = choose_model(project.folder, settings, project.host.environ, driver)
    gateway = await stack.enter_async_context(
        GatewayClient.connect(project.state.path, project.state.id, project.host.environ, project.host.clock)
    )
    return ModelAccess(gateway=gateway, source=source)


def _specs(project: Project, settings: Settings, run: str) -> ContainerSpecs:
    return ContainerSpecs(
        folder=project.folder,
        owner=project.workspace.tree.owner,
        state_id=project.state.id,
        run=run,
        settings=settings,
        machine=read_machine(project.host.environ),
    )


async def _run_image(
    project: Project,
    engine: ContainerEngine,
    settings: Settings,
    earlier: RunState | None,
    given: StartOptions,
) -> RunImage:
    return await run_image(
        engine,
        project.folder,
        settings,
        earlier_context=_earlier_context(project, earlier),
        environ=project.host.environ,
        on_line=given.progress,
    )


def _earlier_context(project: Project, earlier: RunState | None) -> str | None:
    if earlier is None:
        return None
    recorded = project.catalog.folder(earlier.run).build_context
    return recorded.read_text("utf-8") if recorded.exists() else None
