"""`run --dry-run`: what a run would do, without starting, making or writing anything that stays.

The same code as that of a run chooses, loads and checks. It works on a copy of the records in a temporary
folder, so nothing that it writes is in the state folder, and in the user's repository it only reads.
"""

import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from msgspec import structs

from orchestrator.agents.base import LaunchRequest, Session
from orchestrator.commands.image import container_specs, require_image
from orchestrator.commands.request import RunRequest, StartOptions
from orchestrator.commands.resume import plan_for_resume
from orchestrator.commands.run import choose
from orchestrator.commands.run_settings import settle_settings
from orchestrator.commands.start import (
    check_plan,
    find_base,
    open_site,
    plan_run,
    refuse_lost_engine,
    settle_options,
)
from orchestrator.commands.work import checks_of, discover_checks
from orchestrator.config import LoadedSettings, Settings
from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.containers.names import component, gate_name, setup_name
from orchestrator.containers.profile import docker_run_argv
from orchestrator.engine.overlays import mask_mounts
from orchestrator.gates.setup_image import SetupPlan, find_setup, plan_setup
from orchestrator.gateway.access import AttemptKey, credential_kind
from orchestrator.gateway.sockets import attempt_folder, gateway_folder
from orchestrator.journal.reader import copy_journal
from orchestrator.mounts import Bind
from orchestrator.plan.graph import order_tasks, without_groups
from orchestrator.plan.model import Task
from orchestrator.preflight.checks import Stage, require
from orchestrator.preflight.containers import find_project_image
from orchestrator.preflight.environment import validate_environment
from orchestrator.project.catalog import open_catalog
from orchestrator.project.host import Host
from orchestrator.project.plan_files import ReadPlan, plan_path, read_plan_file, require_runnable
from orchestrator.project.project import Project, open_project
from orchestrator.run.facts import TaskStatus
from orchestrator.run.state import RunState, TaskState
from orchestrator.state_folder import state_folder
from orchestrator.supervision.choose_run import DoneAlready, NewRun, ResumeRun
from orchestrator.supervision.decide import Check
from orchestrator.workspace import container_git, history

NEW_RUN = "run-id"
"""Stands for the id that a new run gets."""
SESSION = "session-id"
TOKEN = "attempt-token"  # noqa: S105 - stands for the token that each attempt gets
SETUP_IMAGE = "setup-image"
PROJECT_IMAGE = "project-image"
RUNS_FOR_MEDIANS = 50
"""The newest runs of the state folder, of any project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeHistory:
    """Medians over the finished tasks of one type in earlier runs."""

    runs: int
    seconds: float
    tokens: int
    cost_usd: float | None
    """None where no agent has reported a cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryTask:
    task: Task
    status: TaskStatus
    reason: str
    """Why it is not carried out; empty if it is."""
    checks: tuple[Check, ...]
    history: TypeHistory | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DryContainer:
    kind: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    plan: str
    title: str
    branch: str
    base: str
    continues: str | None
    """The run that is continued."""
    settings: Settings
    sources: LoadedSettings
    image: str
    setup: tuple[str, ...]
    """The commands of setup; empty where there is nothing to install."""
    setup_found: bool
    tasks: tuple[DryTask, ...]
    containers: tuple[DryContainer, ...]
    notes: tuple[str, ...]
    """Everything that only a run makes, or that a `docker run` command cannot contain, a sentence each."""


async def dry_run(host: Host, request: RunRequest) -> DryRun:
    """Raises what `run` would raise before it starts its first container."""
    folder = validate_environment(host)
    with _copy_records(host) as copied:
        async with open_project(copied) as project, AsyncExitStack() as stack:
            path = plan_path(folder, request.plan)
            read = read_plan_file(folder / path, shown_as=path)
            require_runnable(read.plan)
            whole, read = read.plan, replace(read, plan=without_groups(read.plan))
            choice = await choose(project, whole, read, request)
            if isinstance(choice, ResumeRun):
                state = project.catalog.run(choice.state.run)
                choice, read = plan_for_resume(project, state, request.options, read.content, read.plan)
            elif isinstance(choice, DoneAlready):
                state = project.catalog.run(choice.state.run)
                choice = ResumeRun(state=state)
            earlier = choice.state if isinstance(choice, ResumeRun) else None
            loaded, engine = await _check_start(project, choice, read, request.options, stack)
            settings = loaded.settings
            head = (await project.workspace.user.head()).commit
            planned = await plan_run(project, read.plan, earlier, request.options)
            containers = _Containers(host, project, settings, engine, planned.branch, head)
            found = await discover_checks(project, await find_base(project, earlier), settings)
            tasks = [_plan_task(task, choice, settings, found) for task in order_tasks(read.plan)]
            medians = find_medians(host)
            await containers.find_images()
            first = next((each.task.id for each in tasks if not each.reason), None)
            return DryRun(
                plan=path,
                title=read.plan.title,
                branch=planned.branch,
                base=head if earlier is None else earlier.start.base,
                continues=None if earlier is None else earlier.run,
                settings=settings,
                sources=loaded,
                image=containers.image,
                setup=() if containers.setup is None else containers.setup.commands,
                setup_found=containers.setup_image != SETUP_IMAGE,
                tasks=tuple(replace(each, history=medians.get(each.task.type)) for each in tasks),
                containers=() if first is None else await containers.list_all(first),
                notes=() if first is None else containers.list_notes(),
            )


@contextmanager
def _copy_records(host: Host) -> Iterator[Host]:
    """A host whose state folder is a copy: the journal and the holders of locks; runs are links."""
    state = state_folder(host.environ)
    with tempfile.TemporaryDirectory(prefix="ktrdr-dry-run-") as scratch:
        copy = Path(scratch) / state.name
        (copy / "runs").mkdir(mode=0o700, parents=True)
        copy.chmod(0o700)
        if (state / "journal.sqlite").exists():
            copy_journal(state / "journal.sqlite", copy / "journal.sqlite")
        if (state / "id").exists():
            shutil.copyfile(state / "id", copy / "id")
        if (state / "holders").is_dir():
            shutil.copytree(state / "holders", copy / "holders")
        if (state / "runs").is_dir():
            for run in (state / "runs").iterdir():
                (copy / "runs" / run.name).symlink_to(run)
        yield structs.replace(host, environ={**host.environ, "XDG_STATE_HOME": scratch})


async def _check_start(
    project: Project, choice: NewRun | ResumeRun, read: ReadPlan, given: StartOptions, stack: AsyncExitStack
) -> tuple[LoadedSettings, ContainerEngine]:
    """Everything that a run refuses before it makes its image; the folder's lock is held meanwhile."""
    earlier = choice.state if isinstance(choice, ResumeRun) else None
    found = await settle_settings(project, earlier, settle_options(choice, given), given)
    settings = found.loaded.settings
    discovered = await discover_checks(project, await find_base(project, earlier), settings)
    check_plan(choice, read, settings, given, discovered)
    site = open_site(project, found.loaded, stack)
    await require(site, Stage.SETTLED)
    planned = await plan_run(project, read.plan, earlier, given)
    site = replace(site, planned=planned)
    stack.enter_context(project.folder_lock(planned.run))
    await require(site, Stage.LOCKED)
    engine = await site.engine()
    await refuse_lost_engine(project, choice)
    await require(site, Stage.ALONE)
    return found.loaded, engine


def _plan_task(
    task: Task, choice: NewRun | ResumeRun, settings: Settings, discovered: tuple[Check, ...]
) -> DryTask:
    status: TaskStatus = "pending"
    reason = ""
    if isinstance(choice, NewRun):
        if task.id in choice.imported:
            commit = choice.imported[task.id]
            done = f"done by an earlier run, commit {commit[:12]}" if commit else "done in the plan"
            status, reason = "imported", done
        elif task.id in choice.skipped:
            status, reason = "skipped", "left out"
    elif (stored := choice.state.tasks.get(task.id)) is not None and stored.finished is not None:
        end = stored.finished
        if not stored.has_failed:
            status, reason = end.status, end.reason or "done in this run"
    checks = checks_of(task, settings) or discovered
    return DryTask(task=task, status=status, reason=reason, checks=checks, history=None)


class _Containers:
    """The containers of a run, one of each kind, as `docker run` commands."""

    def __init__(
        self,
        host: Host,
        project: Project,
        settings: Settings,
        engine: ContainerEngine,
        branch: str,
        commit: str,
    ) -> None:
        self._host, self._project, self._settings, self._engine = host, project, settings, engine
        self._branch, self._commit = branch, commit
        self._specs = container_specs(project, settings, run=NEW_RUN)
        self._folder = project.catalog.folder(NEW_RUN)
        self.image = PROJECT_IMAGE
        self.setup: SetupPlan | None = None
        self.setup_image = SETUP_IMAGE

    async def find_images(self) -> None:
        """Find out which image the run starts from, and whether setup has been done before."""
        base = await require_image(self._engine, self._settings.image.name)
        built = await find_project_image(self._engine, base, self._project.folder, self._settings.image)
        self.image = PROJECT_IMAGE if built is None else built.id
        store = self._project.workspace.store
        self.setup = plan_setup(
            await history.files(store, self._commit),
            commands=self._settings.setup.commands,
            discovering=self._settings.setup.discover,
            folders=self._settings.setup.folders,
            image=self.image,
            repository=store.name,
            owner=self._project.workspace.tree.owner,
            env=self._specs.variables,
        )
        found = None if self.setup is None else await find_setup(self._engine, self.setup)
        self.setup_image = self.image if self.setup is None else SETUP_IMAGE if found is None else found.id

    async def list_all(self, task: str) -> tuple[DryContainer, ...]:
        specs = [("attempt", await self._specify_attempt(task)), ("gate", await self._specify_gate(task))]
        if self.setup_image == SETUP_IMAGE:
            specs.insert(0, ("setup", await self._specify_setup()))
        return tuple(DryContainer(kind=kind, argv=self._to_argv(spec)) for kind, spec in specs)

    def list_notes(self) -> tuple[str, ...]:
        notes = [
            f"{NEW_RUN} stands for the id of the run, which makes the folders and git directories below it",
            "the files of the commit are put into the containers of setup and gates before they start",
        ]
        if self._has_model():
            notes.append(
                f"{TOKEN} stands for a token that is valid for one attempt, {SESSION} for a new session"
            )
        if self.image == PROJECT_IMAGE:
            notes.append(f"{PROJECT_IMAGE} stands for an image that the run builds first")
        if self.setup is not None:
            notes.append("the folders that setup made are covered by volumes of the attempt without a name")
        if self.setup_image == SETUP_IMAGE:
            notes.append(f"{SETUP_IMAGE} stands for the image that setup makes")
        return tuple(notes)

    def _has_model(self) -> bool:
        return self._host.agent_driver(self._settings.agent.name).needs_model

    async def _specify_attempt(self, task: str) -> ContainerSpec:
        agent, driver = self._settings.agent, self._host.agent_driver(self._settings.agent.name)
        folders = self._folder.attempt(component(task), 1)
        folders.root.mkdir(parents=True)
        launch = driver.launch(
            LaunchRequest(
                run=NEW_RUN,
                task=task,
                attempt=1,
                session=Session(id=SESSION, resumed=False),
                model=agent.model,
                max_turns=agent.max_turns,
                token=TOKEN if driver.needs_model else None,
                credential=credential_kind(None),
                command=agent.command,
            )
        )
        state = state_folder(self._host.environ)
        key = AttemptKey(run=NEW_RUN, task=task, attempt=1)
        tree = self._project.workspace.tree
        return self._specs.attempt(
            task=task,
            number=1,
            image=self.setup_image,
            launch=launch,
            folders=folders,
            git=await tree.make_git_dir(folders.git, branch=self._branch),
            gateway=attempt_folder(gateway_folder(state), key) if driver.needs_model else None,
            covers=mask_mounts(tree.folder, self._settings.masked.files, folders),
            volumes_from=None,
        )

    async def _specify_gate(self, task: str) -> ContainerSpec:
        name = gate_name(NEW_RUN, task, 1, 1)
        git = await self._make_git_dir(self._folder.gate(name) / "git")
        return self._specs.gate(kind="gate", name=name, task=task, attempt=1, image=self.setup_image, git=git)

    async def _specify_setup(self) -> ContainerSpec:
        name = setup_name(NEW_RUN, 1)
        scratch = self._folder.gate(name)
        git = await self._make_git_dir(scratch / "git")
        return self._specs.setup(name=name, image=self.image, git=git, home=scratch / "home")

    async def _make_git_dir(self, into: Path) -> tuple[Bind, ...]:
        store = self._project.workspace.store
        return await container_git.make_gate_git_dir(store, into, commit=self._commit, branch=self._branch)

    def _to_argv(self, spec: ContainerSpec) -> tuple[str, ...]:
        """The command, with the paths that it has in the state folder instead of the copy."""
        copy, state = str(self._project.state.path), str(state_folder(self._host.environ))
        argv = docker_run_argv(spec, by_name=frozenset(self._specs.variables))
        return tuple(word.replace(copy, state) for word in argv)


def find_medians(host: Host) -> dict[str | None, TypeHistory]:
    """By type of task: how long the finished ones of earlier runs took, and their tokens and costs."""
    with open_catalog(host) as runs:
        starts = () if runs.journal is None else runs.journal.starts()[:RUNS_FOR_MEDIANS]
        states = [runs.run(start.run) for start in starts]
    found: dict[str | None, list[tuple[str, TaskState]]] = {}
    for state in states:
        for task in _list_finished(state):
            found.setdefault(task.entry.type, []).append((state.run, task))
    return {type: _summarize(tasks) for type, tasks in found.items()}


def _list_finished(state: RunState) -> list[TaskState]:
    return [
        task
        for task in state.tasks.values()
        if task.finished is not None and task.finished.status == "completed" and task.current_attempts
    ]


def _measure(started: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()


def _summarize(tasks: Sequence[tuple[str, TaskState]]) -> TypeHistory:
    seconds, tokens, costs = [], [], []
    for _, task in tasks:
        attempts = [each for each in task.current_attempts if each.ended is not None]
        seconds.append(sum(_measure(each.started, each.ended or each.started) for each in attempts))
        used = [each.end.usage for each in attempts if each.end is not None]
        tokens.append(
            sum(
                use.input_tokens + use.output_tokens + use.cache_read_tokens + use.cache_write_tokens
                for use in used
            )
        )
        costs.append(sum(use.cost_usd for use in used))
    return TypeHistory(
        runs=len({run for run, _ in tasks}),
        seconds=statistics.median(seconds),
        tokens=round(statistics.median(tokens)),
        cost_usd=statistics.median(costs) if any(costs) else None,
    )
