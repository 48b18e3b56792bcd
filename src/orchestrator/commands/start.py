"""Build everything that a chosen run works with, and carry the run out.

Everything that can be refused is refused here, before anything has been changed and any container started.
"""

import asyncio
import dataclasses
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib import resources

from msgspec import structs

from orchestrator.agents.base import AgentDriver
from orchestrator.commands.checks import (
    describe_unchecked,
    diagnostics_of,
    list_tasks_to_do,
    refuse_unchecked,
)
from orchestrator.commands.earlier_results import find_earlier_results
from orchestrator.commands.image import choose_image, container_specs
from orchestrator.commands.known_limits import find_known_limit
from orchestrator.commands.request import StartOptions, merge_options
from orchestrator.commands.run_facts import SettledRun, record_start_or_resume
from orchestrator.commands.run_settings import settle_settings
from orchestrator.commands.undo import refuse_lost
from orchestrator.commands.work import build_work, discover_checks
from orchestrator.config import LoadedSettings, Settings
from orchestrator.containers.base import ContainerEngine
from orchestrator.engine import recovery
from orchestrator.engine.actions import RunActions
from orchestrator.engine.container_specs import ContainerSpecs
from orchestrator.engine.context import ModelAccess, RunRecords, RunTerms, Services
from orchestrator.engine.milestone_runner import MilestoneRunner
from orchestrator.engine.timetable import Timetable, let_sleep
from orchestrator.gateway.access import billing_of
from orchestrator.gateway.accounts import AccountFiles
from orchestrator.gateway.client import GatewayClient
from orchestrator.gateway.source import choose_model
from orchestrator.plan.diagnostics import describe
from orchestrator.plan.model import Plan
from orchestrator.plan.names import plan_name
from orchestrator.preflight import leftovers
from orchestrator.preflight.checks import Stage, require
from orchestrator.preflight.limits import list_login_notices
from orchestrator.preflight.notices import collect_notices
from orchestrator.preflight.site import PlannedRun, Site, open_model, open_once, reuse_open
from orchestrator.project.catalog import RunCatalog
from orchestrator.project.compression import (
    AT_ONCE_BYTES,
    compress_outputs,
    list_compressible,
    may_compress,
)
from orchestrator.project.plan_files import ReadPlan
from orchestrator.project.project import Project
from orchestrator.project.run_journal import RunJournal
from orchestrator.run.endings import run_ended_fact
from orchestrator.run.facts import Listener, RunOptions, Sleep
from orchestrator.run.prompts import TEXTS
from orchestrator.run.report import RunReport, report_of
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import NewRun, ResumeRun
from orchestrator.supervision.decide import Check, Work
from orchestrator.workspace.workspace import Findings, Workspace


async def carry_out(
    project: Project, choice: NewRun | ResumeRun, read: ReadPlan, given: StartOptions
) -> RunReport:
    """Start or resume the chosen run by this plan, and carry it out to its end."""
    async with prepare_run(project, choice, read, given) as runner:
        report = report_of(await runner.carry_out())
        await _compress_outputs(project, report.state)
        return report


async def _compress_outputs(project: Project, state: RunState) -> None:
    """Compress the outputs of a run that is finished, as far as that is a matter of a second or two."""
    if not may_compress(state):
        return
    paths = list_compressible(state, project.catalog.folder(state.run))
    # The run has ended well or badly without this: on a full disk, say, its outputs stay as they are.
    with suppress(OSError):
        await asyncio.to_thread(compress_outputs, paths, limit=AT_ONCE_BYTES)


@asynccontextmanager
async def prepare_run(
    project: Project, choice: NewRun | ResumeRun, read: ReadPlan, given: StartOptions
) -> AsyncIterator[MilestoneRunner]:
    """Require every check, take the locks, write the run's first or next facts, and give its runner."""
    earlier = choice.state if isinstance(choice, ResumeRun) else None
    options = settle_options(choice, given)
    found = await settle_settings(project, earlier, options, given)
    loaded, settings = found.loaded, found.loaded.settings
    discovered = await discover_checks(project, await find_base(project, earlier), settings)
    check_plan(choice, read, settings, given, discovered)
    async with AsyncExitStack() as stack:
        site = dataclasses.replace(open_site(project, loaded, stack), only_base=_checks_only_base(choice))
        await require(site, Stage.SETTLED)
        driver = project.host.agent_driver(settings.agent.name)
        planned = await plan_run(project, read.plan, earlier, given)
        site = dataclasses.replace(site, planned=planned)
        lock = stack.enter_context(project.folder_lock(planned.run))
        await project.remove_scratch(lock)
        await require(site, Stage.LOCKED)
        engine = await site.engine()
        await refuse_lost_engine(project, choice)
        await leftovers.remove_ended(engine, project)
        await require(site, Stage.ALONE)
        chosen = await choose_image(engine, project, settings, earlier, given)
        specs = container_specs(project, settings, run=planned.run)
        # The name can be that of the folder: only the holder of the folder's lock starts this container.
        probe = specs.probe(name=f"ktrdr-probe-{project.workspace.store.name}", image=chosen.image.id)
        await require(dataclasses.replace(site, probe=reuse_open(probe)), Stage.BUILT)
        stack.enter_context(project.run_lock(planned.run))
        await leftovers.remove_unrecorded(project, besides=planned.run)
        folder = project.catalog.folder(planned.run)
        leftovers.remove_scratch(folder)
        if earlier is None:
            folder.starting.write_bytes(os.fsencode(project.folder))
        model = None if _checks_only_base(choice) else await _model_access(stack, site, project, earlier)
        # An agent that an earlier owner left can have one, too.
        used = model if driver.needs_model else None
        notices = await _list_notices(project, choice, read, settings, planned.untracked, discovered)
        settled = SettledRun(
            planned=planned,
            options=options,
            loaded=loaded,
            image=chosen.image,
            changes=(*found.changes, *chosen.changes),
            take_config=given.take_config,
            notices=(*notices, *chosen.notices, *_list_login_notices(project, model)),
            billing="none" if used is None else billing_of(used.source),
        )
        async with _record_end_when_cancelled(project, planned.run, given.listeners):
            journal = await record_start_or_resume(project, choice, read, settled, given.listeners)
            work = await build_work(project, read.plan, settings, journal.state)
        services = _services(project, engine, driver, model, _keep_awake(project, settings, given))
        records = _open_run_records(project, journal)
        terms = _run_terms(read.plan, work, settled, specs)
        actions = RunActions(services, records, terms, _prepare_workspace(project, read.plan))
        timetable = _timetable(project, services, site, given)
        known_limit = partial(
            find_known_limit, used, settings.agent.model, earlier, waits=given.wait, clock=services.clock
        )
        yield MilestoneRunner(journal, work, actions, timetable, known_limit)


def _services(
    project: Project,
    engine: ContainerEngine,
    driver: AgentDriver,
    model: ModelAccess | None,
    keep_awake: Callable[[], AbstractAsyncContextManager[Sleep]],
) -> Services:
    return Services(
        engine=engine,
        driver=driver,
        agent_driver=project.host.agent_driver,
        model=model,
        clock=project.host.clock,
        keep_awake=keep_awake,
    )


def _prepare_workspace(project: Project, plan: Plan) -> Workspace:
    """Paths in the `File(s)` of a task are work, even if they are named like scratch."""
    return project.workspace.with_wanted_paths(path for task in plan.tasks for path in task.files)


async def refuse_lost_engine(project: Project, choice: NewRun | ResumeRun) -> None:
    """Raises EnvironmentInvalid if an agent of the run that continues or is replaced has another engine."""
    if isinstance(choice, ResumeRun):
        await refuse_lost(project.host, choice.state)
    elif choice.replaces is not None:
        await refuse_lost(project.host, project.catalog.run(choice.replaces.run))


def _keep_awake(
    project: Project, settings: Settings, given: StartOptions
) -> Callable[[], AbstractAsyncContextManager[Sleep]]:
    may_sleep = given.allow_sleep or not settings.limits.keep_awake
    return let_sleep if may_sleep else project.host.keep_awake


def _timetable(project: Project, services: Services, site: Site, given: StartOptions) -> Timetable:
    return Timetable(
        clock=services.clock,
        waits=given.wait,
        left_open=given.left_open,
        end_process=given.end_process,
        at=given.at,
        until=given.until,
        check_again=partial(_check_again, project, services.model, site),
        keep_awake=services.keep_awake,
        is_shutting_down=project.host.is_shutting_down,
    )


async def _check_again(project: Project, model: ModelAccess | None, site: Site) -> None:
    """Require what a run requires when its settings are known; its credential is asked for once more."""
    site = dataclasses.replace(site, model=open_model(project.host, site.loaded.settings, project.folder))
    await require(site, Stage.SETTLED)
    if model is not None and project.host.agent_driver(site.loaded.settings.agent.name).needs_model:
        model.source = await site.model()


def _run_terms(plan: Plan, work: Work, settled: SettledRun, specs: ContainerSpecs) -> RunTerms:
    return RunTerms(
        plan=plan,
        work=work,
        settings=settled.loaded.settings,
        texts=prompt_texts(),
        untracked=settled.planned.untracked,
        image=settled.image.id,
        specs=specs,
    )


async def find_base(project: Project, earlier: RunState | None) -> str:
    """The commit on which the run starts or has started; without uncommitted changes."""
    return (await project.workspace.user.head()).commit if earlier is None else earlier.start.base


def check_plan(
    choice: NewRun | ResumeRun,
    read: ReadPlan,
    settings: Settings,
    given: StartOptions,
    discovered: tuple[Check, ...],
) -> None:
    """Pass on the warnings about a plan that is new to the run; the settings decide about some of them.

    Raises EnvironmentInvalid if the settings require a check that a task does not have.
    """
    if isinstance(choice, NewRun) or choice.taken is not None:
        for entry in diagnostics_of(read.plan, settings):
            if entry.severity == "warning":
                given.warn(describe(entry, path=read.plan.path))
    if not discovered:
        refuse_unchecked(read.plan, list_tasks_to_do(choice, read.plan), settings)


def _list_login_notices(project: Project, model: ModelAccess | None) -> tuple[str, ...]:
    source = None if model is None else model.source
    return list_login_notices(source, project.state.path, project.host.clock.now())


async def _list_notices(
    project: Project,
    choice: NewRun | ResumeRun,
    read: ReadPlan,
    settings: Settings,
    untracked: frozenset[str],
    discovered: tuple[Check, ...],
) -> tuple[str, ...]:
    """Notices before the first task. A command that was found in the project is announced by the base run."""
    unchecked = None if discovered else describe_unchecked(list_tasks_to_do(choice, read.plan), settings)
    found = await collect_notices(project, choice, read, settings, untracked)
    return found if unchecked is None else (*found, unchecked)


def _open_run_records(project: Project, journal: RunJournal) -> RunRecords:
    run = journal.state.run
    return RunRecords(
        run=run,
        state_id=project.state.id,
        folder=project.catalog.folder(run),
        journal=journal,
        earlier=find_earlier_results(project, journal.state),
    )


def _checks_only_base(choice: NewRun | ResumeRun) -> bool:
    return isinstance(choice, NewRun) and choice.only_base


def settle_options(choice: NewRun | ResumeRun, given: StartOptions) -> RunOptions:
    if isinstance(choice, ResumeRun):
        return merge_options(choice.state.options, given)
    options = merge_options(RunOptions(agent=""), given)
    return structs.replace(options, only=choice.selected) if choice.skipped else options


def open_site(project: Project, loaded: LoadedSettings, stack: AsyncExitStack) -> Site:
    """The things that checks work on. The first check that asks for the engine connects it."""
    host = project.host

    async def inspect() -> Findings:
        repositories = project.state.repositories
        return await Workspace.inspect(project.folder, repositories=repositories, environ=host.environ)

    async def workspace() -> Workspace:
        return project.workspace

    async def catalog() -> RunCatalog:
        return project.catalog

    return Site(
        host=host,
        loaded=loaded,
        inspected=open_once(inspect),
        workspace=workspace,
        catalog=catalog,
        engine=open_once(lambda: stack.enter_async_context(host.connect_engine())),
        model=open_model(host, loaded.settings, project.folder),
    )


async def plan_run(project: Project, plan: Plan, earlier: RunState | None, given: StartOptions) -> PlannedRun:
    run = earlier.run if earlier is not None else None
    return PlannedRun(
        run=run or _new_run_id(plan),
        plan=plan.path,
        branch=earlier.start.branch if earlier is not None else choose_branch(plan),
        names_branch=plan.branch is not None,
        earlier=earlier,
        untracked=await project.list_untracked_files(plan.path, earlier),
        allow_dirty=given.allow_dirty,
    )


@asynccontextmanager
async def _record_end_when_cancelled(
    project: Project, run: str, listeners: tuple[Listener, ...]
) -> AsyncIterator[None]:
    """A run whose start is recorded also gets a recorded end when it is stopped before its loop."""
    try:
        yield
    except asyncio.CancelledError:
        if project.journal.facts(run):
            journal = RunJournal.open(project.journal, run, listeners)
            if journal.state.end is None:
                await journal.append(run_ended_fact("interrupted", "stopped before its first task"))
        raise


def prompt_texts() -> dict[str, str]:
    """The texts that prompts are built from, by name."""
    folder = resources.files("orchestrator.run") / "prompt_texts"
    return {name: (folder / f"{name}.md").read_text("utf-8") for name in TEXTS}


def choose_branch(plan: Plan) -> str:
    """The plan's own branch, else one named after the plan."""
    return plan.branch or f"milestone/{plan_name(plan.path)}"


def _new_run_id(plan: Plan) -> str:
    """At most 40 lower-case letters, digits and hyphens: the plan's name and six random digits."""
    words = re.sub(r"[^a-z0-9]+", "-", plan_name(plan.path).lower()).strip("-")[:32].strip("-") or "run"
    return f"{words}-{secrets.token_hex(3)}"


async def _model_access(
    stack: AsyncExitStack, site: Site, project: Project, earlier: RunState | None
) -> ModelAccess | None:
    """The gateway, if the next attempt's agent needs a model, or one that may be at work still does."""
    host, settings = project.host, site.loaded.settings
    driver = host.agent_driver(settings.agent.name)
    is_for_next = driver.needs_model
    if not is_for_next:
        at_work = [] if earlier is None else recovery.list_open_attempts(earlier)
        names = [attempt.start.agent for _, attempt in at_work if attempt.start.token_hash]
        if not names:
            return None
        driver = host.agent_driver(names[0])
    choose = partial(choose_model, project.folder, settings, host.environ, driver)
    source = await (site.model() if is_for_next else choose())
    gateway = await stack.enter_async_context(
        GatewayClient.connect(project.state.path, project.state.id, host.environ, host.clock)
    )
    return ModelAccess(
        gateway=gateway,
        source=source,
        accounts=AccountFiles(project.state.path),
        ask_again=choose,
    )
