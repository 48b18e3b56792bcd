"""The plan as the input of `decide`."""

from contextlib import suppress

from msgspec.structs import replace

from orchestrator.config import Settings
from orchestrator.errors import WorkspaceError
from orchestrator.gates.detection import discover_check
from orchestrator.gates.discovery import discover
from orchestrator.gates.manifests import READ as MANIFESTS_READ
from orchestrator.gates.manifests import Manifests
from orchestrator.plan.graph import order_tasks
from orchestrator.plan.model import Plan, Task
from orchestrator.project.manifest_files import LARGEST_BYTES
from orchestrator.project.project import Project
from orchestrator.run.facts import CheckSource
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import earlier_commit
from orchestrator.supervision.decide import ChangeRule, Check, Work, WorkItem
from orchestrator.workspace import history


async def build_work(project: Project, plan: Plan, settings: Settings, state: RunState) -> Work:
    """The tasks to carry out, in order, with their gates."""
    pending = [id for id, task in state.tasks.items() if not task.is_done]
    earlier = await project.runs_of_plan(plan.path, tasks=pending)
    records = [record for record in earlier if record.run != state.run]
    on_branch = await project.commits_on_branch(records)
    discovered = await discover_checks(project, state.start.base, settings)
    items = []
    for task in order_tasks(plan):
        finished = state.tasks[task.id].finished
        if finished is not None and finished.status in ("imported", "skipped"):
            continue
        landed = state.tasks[task.id].was_redone
        landed = landed or earlier_commit(records, task.id, None, on_branch) is not None
        items.append(
            WorkItem(
                id=task.id,
                depends_on=task.depends_on,
                names_no_dependencies=not task.names_dependencies,
                checks=checks_of(task, settings) or discovered,
                change="optional" if landed else _change_rule(task),
            )
        )
    scenario: tuple[Check, ...] = ()
    if not state.options.only:
        own = plan.end_to_end.commands if plan.end_to_end is not None else ()
        scenario = (*_checks("scenario", own), *_checks("configured", settings.verify.milestone))
    return Work(
        items=tuple(items),
        end_to_end=scenario,
        attempts=settings.limits.attempts,
        failed_tasks=settings.limits.failed_tasks,
        build=_checks("build", settings.verify.build),
        base=settings.verify.base,
        only_base=state.start.only_base,
        strict=settings.verify.strict,
        require=settings.verify.require,
        guards=_list_guards(settings),
    )


async def discover_checks(project: Project, commit: str, settings: Settings) -> tuple[Check, ...]:
    """The project's own test command at a commit, for tasks that nothing else checks; none if that is off.

    It is the commit before the run that decides, so that no attempt chooses what checks it.
    """
    if not settings.verify.discover:
        return ()
    store = project.workspace.store
    files = await history.files(store, commit)
    texts = {}
    for name in MANIFESTS_READ:
        if name in files:
            with suppress(WorkspaceError):  # one that is too large says nothing
                blob = await history.read_blob(store, commit, name, limit=LARGEST_BYTES)
                texts[name] = (blob or b"").decode("utf-8", "replace")
    root = Manifests(names=frozenset(path.partition("/")[0] for path in files), texts=texts)
    has_setup = bool(settings.setup.commands) or (settings.setup.discover and bool(discover(files)))
    return _checks("discovered", tuple(filter(None, [discover_check(root, has_setup=has_setup)])))


def checks_of(task: Task, settings: Settings) -> tuple[Check, ...]:
    """The gates of a task: its own, its smoke tests where they count, and the guards.

    The same text twice is one gate, and the first source counts.
    """
    guards = {command.strip() for command in settings.verify.task}
    smoke = task.smoke_tests if settings.verify.smoke_tests else ()
    checks = (*_checks("task", task.verify), *_checks("smoke", smoke), *_list_guards(settings))
    first = {check.command.strip(): check for check in reversed(checks)}
    once = [check for check in checks if first[check.command.strip()] is check]
    return tuple(replace(check, is_guard=check.command.strip() in guards) for check in once)


def _list_guards(settings: Settings) -> tuple[Check, ...]:
    commands = settings.verify.task
    return tuple(Check(command=command, source="configured", is_guard=True) for command in commands)


def _checks(source: CheckSource, commands: tuple[str, ...]) -> tuple[Check, ...]:
    return tuple(Check(command=command, source=source) for command in commands)


def _change_rule(task: Task) -> ChangeRule:
    if task.writes_code:
        return "required"
    return "required_or_explained" if task.type is None else "optional"
