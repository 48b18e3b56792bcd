"""The tasks of a plan that no command checks, and what the user reads about them."""

from collections.abc import Collection

from orchestrator.commands.work import checks_of
from orchestrator.config import Settings
from orchestrator.errors import EnvironmentInvalid
from orchestrator.plan.model import Diagnostic, Plan, Task
from orchestrator.supervision.choose_run import NewRun, ResumeRun
from orchestrator.text import one_line


def list_tasks_to_do(choice: NewRun | ResumeRun, plan: Plan) -> tuple[Task, ...]:
    """The plan's tasks that the run still has to carry out."""
    match choice:
        case NewRun(selected=selected):
            return tuple(task for task in plan.tasks if task.id in selected)
        case ResumeRun(state=state):
            known = state.tasks
            done = {id for id, task in known.items() if task.finished is not None and not task.has_failed}
            only = state.options.only or tuple(task.id for task in plan.tasks)
            return tuple(task for task in plan.tasks if task.id in only and task.id not in done)


def find_unchecked_tasks(tasks: Collection[Task], settings: Settings) -> tuple[Task, ...]:
    """Those of the tasks that no command of the plan or the settings checks."""
    return tuple(task for task in tasks if not checks_of(task, settings))


def describe_unchecked(tasks: Collection[Task], settings: Settings) -> str | None:
    """How many of the tasks have no check, and how to give them one; None if all have one."""
    unchecked = find_unchecked_tasks(tasks, settings)
    if not unchecked:
        return None
    count = f"{len(unchecked)} of {len(tasks)} tasks {'has' if len(unchecked) == 1 else 'have'} no check"
    return f"{count} and will be unverified; commands in verify.task (orchestrator.toml) check every task"


def refuse_unchecked(plan: Plan, tasks: Collection[Task], settings: Settings) -> None:
    """Raises EnvironmentInvalid if `verify.require` is set and a task has no check."""
    unchecked = find_unchecked_tasks(tasks, settings)
    if settings.verify.require and unchecked:
        names = one_line(", ".join(task.id for task in unchecked), 200)
        raise EnvironmentInvalid(
            f"{len(unchecked)} of {len(tasks)} tasks have no check, and verify.require is set: {names}",
            where=plan.path,
            hint="Give each of them **Verify:** commands, or set verify.task, which checks every task.",
        )


def diagnostics_of(plan: Plan, settings: Settings) -> tuple[Diagnostic, ...]:
    """The findings about a plan under these settings: a task that a configured check covers has a check."""
    return tuple(each for each in plan.diagnostics if each.code != "no-verify" or not settings.verify.task)
