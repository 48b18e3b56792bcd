"""From a chosen run to everything it works with.

Everything that can be refused is refused here, in an order in which nothing has been changed and no
container started when it is.
"""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib import resources

from orchestrator.agents.base import AgentDriver
from orchestrator.agents.registry import agent_driver
from orchestrator.config import Settings
from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.containers.engine import connect_engine
from orchestrator.containers.names import labels
from orchestrator.engine import cleaning
from orchestrator.engine.context import RunContext, limits_of
from orchestrator.engine.environment import (
    check_agent_program,
    check_disk,
    check_mounts,
    check_required_files,
    run_checks,
)
from orchestrator.engine.machine import machine_of
from orchestrator.engine.run_journal import RunJournal
from orchestrator.errors import EnvironmentInvalid, UsageError
from orchestrator.gateway.client import GatewayClient
from orchestrator.journal.journal import Listener
from orchestrator.plan.model import Plan
from orchestrator.plan_files import read_plan_file, require_runnable
from orchestrator.run.facts import (
    RunEnded,
)
from orchestrator.run.prompts import TEXTS
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import (
    Choice,
    GoOn,
    NewRun,
    Selection,
    choose_run,
    is_unfinished,
)
from orchestrator.wiring.beginning import Terms, begun, first_fact, give_up, gone_on
from orchestrator.wiring.image import run_image
from orchestrator.wiring.notices import notices
from orchestrator.wiring.place import Place, ReadPlan, check_living_containers
from orchestrator.wiring.plan_edits import going_on
from orchestrator.wiring.request import RunRequest, model_for, options_for, settings_for
from orchestrator.wiring.work import work_of

PROBE_SECONDS = "120"
"""A probe ends by itself: nobody but its own process knows of it."""


async def choose(place: Place, path: str, request: RunRequest) -> tuple[Choice, ReadPlan]:
    """The plan and what to do about it; a run that goes on keeps the plan it was started with."""
    plan, content = read_plan_file(place.folder / path, shown_as=path)
    require_runnable(plan)
    for wanted in (*request.only, *([request.first] if request.first is not None else [])):
        if plan.task(wanted) is None:
            known = ", ".join(task.id for task in plan.tasks)
            raise UsageError(f"there is no task {wanted}", where=path, hint=f"The plan's tasks: {known}")
    records = await place.records_here(path)
    selection = Selection(only=request.only, first=request.first, anew=request.new)
    choice = choose_run(records, plan, selection, on_branch=await place.on_branch(records))
    if isinstance(choice, GoOn):
        return going_on(place, choice.state, request)
    return choice, ReadPlan(plan=plan, content=content)


@asynccontextmanager
async def prepared(
    place: Place, choice: NewRun | GoOn, read: ReadPlan, request: RunRequest
) -> AsyncIterator[RunContext]:
    """Check everything, take the locks, write the run's first or next fact, and give its context."""
    options = options_for(choice, request)
    loaded = settings_for(place, choice, options)
    settings = loaded.settings
    check_required_files(place.folder, settings.environment.required_files)
    check_disk(place.state.path, place.folder)
    check_mounts(settings)
    await run_checks(place.folder, settings.environment.checks)
    driver = agent_driver(settings.agent.name)
    model = model_for(place, driver, settings, os.environ)
    run = choice.state.run if isinstance(choice, GoOn) else _new_run_id(read.plan)
    async with AsyncExitStack() as stack:
        stack.enter_context(place.folder_lock(run))
        branch = await _branch_for(place, choice, read.plan)
        await _check_foreign_work(place, read.plan.path)
        engine = await stack.enter_async_context(await connect_engine())
        # Before the folder is judged: what is not committed may be an agent's that is at work.
        await _check_containers(engine, place, run)
        begun_before = choice.state.run if isinstance(choice, GoOn) else None
        untracked = await place.untracked(read.plan.path, run=begun_before)
        dirty = await _dirty(place, choice, untracked, allow=request.allow_dirty)
        image = await run_image(
            engine,
            place.folder,
            settings,
            earlier_context=_earlier_context(place, choice),
            on_line=request.progress,
        )
        probe = _probe(place, settings, image.id, run)
        await check_agent_program(engine, place.workspace, driver, settings, probe)
        stack.enter_context(place.run_lock(run))
        gateway = await _gateway(stack, place, driver)
        terms = Terms(
            run=run,
            branch=branch,
            options=options,
            loaded=loaded,
            untracked=untracked,
            dirty=dirty,
            build_context=image.context,
            notices=await notices(place, choice, read, settings, untracked),
        )
        journal = await _begin(place, choice, read, terms, request.listeners)
        with _ended_when_cancelled(journal):
            work = await work_of(place, read.plan, settings, journal.state)
        yield RunContext(
            run=run,
            state_id=place.state.id,
            folder=place.records.folder(run),
            journal=journal,
            plan=read.plan,
            work=work,
            settings=settings,
            driver=driver,
            engine=engine,
            workspace=place.workspace,
            image=image.id,
            gateway=gateway,
            model_source=model,
            machine=machine_of(os.environ),
            texts=prompt_texts(),
            untracked=untracked,
        )


async def _begin(
    place: Place, choice: NewRun | GoOn, read: ReadPlan, terms: Terms, listeners: tuple[Listener, ...]
) -> RunJournal:
    """Everything that can fail comes before an unfinished run is given up for a new one."""
    started = await first_fact(place, read.plan, terms) if isinstance(choice, NewRun) else None
    if isinstance(choice, NewRun) and choice.replaces is not None:
        give_up(place, choice.replaces)  # no event of the run that is heard
    for listener in listeners:
        place.journal.listen(listener)
    if isinstance(choice, GoOn):
        return await gone_on(place, choice, read, terms)
    assert started is not None
    return begun(place, choice, read, terms, started)


@contextmanager
def _ended_when_cancelled(journal: RunJournal) -> Iterator[None]:
    """A run that has begun ends by a fact, even before its loop."""
    try:
        yield
    except asyncio.CancelledError:
        journal.append(RunEnded(status="interrupted", exit_code=130, reason="stopped before it got to work"))
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


async def _branch_for(place: Place, choice: NewRun | GoOn, plan: Plan) -> str:
    """The run's branch; raises EnvironmentInvalid when a run cannot work on it."""
    if isinstance(choice, NewRun):
        branch = branch_of(plan)
        await place.workspace.check_branch(branch)
        return branch
    to_be_made = await place.workspace.check_branch(choice.state.start.branch)
    if to_be_made and choice.state.branch_ready:
        raise _branch_gone(place, choice.state)
    return choice.state.start.branch


async def _check_containers(engine: ContainerEngine, place: Place, run: str) -> None:
    """Remove those that are over; raises EnvironmentInvalid when another is at work in the folder."""
    containers = await cleaning.look(engine, place.state.id, place.records)
    await cleaning.remove(engine, containers.over)
    await check_living_containers(engine, place, run)


async def _gateway(stack: AsyncExitStack, place: Place, driver: AgentDriver) -> GatewayClient | None:
    if not driver.needs_model:
        return None
    return await stack.enter_async_context(GatewayClient.connect(place.state.path, place.state.id))


async def _dirty(place: Place, choice: NewRun | GoOn, untracked: frozenset[str], *, allow: bool) -> bool:
    """Whether the user has changes that are not committed; refused unless they are allowed.

    A run that goes on takes what a person changed since as theirs, so nothing is refused then.
    """
    if isinstance(choice, GoOn) and choice.state.branch_ready:
        return False
    await place.workspace.check_files()
    if isinstance(choice, GoOn) and choice.state.start.base != choice.state.start.head:
        return True  # they were allowed when it began
    dirty = await place.workspace.dirty_paths(untracked)
    if dirty and not allow:
        more = f" and {len(dirty) - 3} more" if len(dirty) > 3 else ""
        raise EnvironmentInvalid(
            f"there are changes that are not committed: {', '.join(dirty[:3])}{more}",
            where=str(place.folder),
            hint="Commit or stash them (git stash -u), or let the run commit them first: --allow-dirty",
        )
    return bool(dirty)


def _branch_gone(place: Place, state: RunState) -> EnvironmentInvalid:
    return EnvironmentInvalid(
        f"the branch {state.start.branch} of run {state.run} is not there any more",
        where=str(place.folder),
        hint=f"Make it again where it was, or start over: orchestrator run --new {state.start.plan}",
    )


async def _check_foreign_work(place: Place, plan: str) -> None:
    """HEAD with task commits of another plan's unfinished run is not ours to build on."""
    others = [r for r in place.records.of(place.folder) if r.start.plan != plan and is_unfinished(r)]
    held = await place.on_branch(others)
    for record in others:
        commits = [task.finished.commit for task in record.tasks.values() if task.finished is not None]
        if held.intersection(commits):
            raise EnvironmentInvalid(
                f"HEAD holds work of run {record.run} ({record.start.plan}), which is not finished",
                where=str(place.folder),
                hint=f"orchestrator resume {record.run}, or orchestrator cancel {record.run}",
            )


def _probe(place: Place, settings: Settings, image: str, run: str) -> ContainerSpec:
    """A container that only looks something up in the image; called after the folder, whose lock is ours."""
    owner = place.workspace.owner
    return ContainerSpec(
        name=f"ktrdr-probe-{place.workspace.own.git_dir.name}",
        image=image,
        uid=owner.uid,
        gid=owner.gid,
        limits=limits_of(settings),
        command=("sleep", PROBE_SECONDS),
        labels=labels(kind="probe", state=place.state.id, run=run),
        working_dir="/",
        network="none",
    )


def _earlier_context(place: Place, choice: NewRun | GoOn) -> str | None:
    if isinstance(choice, NewRun):
        return None
    recorded = place.records.folder(choice.state.run).build_context
    return recorded.read_text("utf-8") if recorded.exists() else None
