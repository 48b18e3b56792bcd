"""`run` and `task`: carry out a plan, or some of its tasks."""

from dataclasses import replace

from orchestrator.commands.request import RunRequest, merge_options
from orchestrator.commands.resume import plan_for_resume
from orchestrator.commands.run_settings import load_kept_settings
from orchestrator.commands.start import carry_out
from orchestrator.errors import UsageError
from orchestrator.plan.graph import parts_of_group, without_groups
from orchestrator.plan.model import Plan
from orchestrator.preflight.environment import validate_environment
from orchestrator.preflight.ticks import find_ticks_of_attempts
from orchestrator.project.host import Host
from orchestrator.project.plan_files import ReadPlan, plan_path, read_plan_file, require_runnable
from orchestrator.project.project import Project, open_project
from orchestrator.run.report import RunReport, report_of
from orchestrator.supervision.choose_run import (
    Choice,
    DoneAlready,
    NewRun,
    ResumeRun,
    Selection,
    choose_base_run,
    choose_run,
)


async def run(host: Host, request: RunRequest) -> RunReport:
    """Carry out a plan in the code folder, or continue its unfinished run.

    Raises OrchestratorError when plan, configuration or environment cannot be used, before anything is
    started; what happens later is in the report.
    """
    folder = validate_environment(host)
    async with open_project(host) as project:
        path = plan_path(folder, request.plan)
        read = read_plan_file(folder / path, shown_as=path)
        require_runnable(read.plan)
        whole, read = read.plan, replace(read, plan=without_groups(read.plan))
        match await choose(project, whole, read, request):
            case NewRun() as choice:
                return await carry_out(project, choice, read, request.options)
            case ResumeRun(state=outline):
                state = project.catalog.run(outline.run)
                resumed, read = plan_for_resume(project, state, request.options, read.content, read.plan)
                return await carry_out(project, resumed, read, request.options)
            case DoneAlready(state=outline):
                return _report_again(project, outline.run, request)


async def choose(project: Project, whole: Plan, read: ReadPlan, request: RunRequest) -> Choice:
    """Decide between a new run, an earlier one and none. Raises UsageError for unknown tasks.

    `whole` is the plan with its groups: the user may name one, which stands for its parts.
    """
    keep = request.options.keep
    first = () if request.first is None else (request.first,)
    for wanted in (*request.only, *first, *keep):
        if whole.task(wanted) is None:
            known = ", ".join(task.id for task in whole.tasks)
            raise UsageError(
                f"there is no task {wanted}", where=whole.path, hint=f"The plan's tasks: {known}"
            )
    only = tuple(id for wanted in request.only for id in parts_of_group(whole, wanted))
    begin = next((id for wanted in first for id in parts_of_group(whole, wanted)), None)
    records = await project.runs_of_plan(whole.path)
    selection = Selection(only=only, first=begin, from_scratch=request.new)
    on_branch = await project.commits_on_branch(records)
    unconfirmed = (await find_ticks_of_attempts(project, read)).difference(keep)
    choose = choose_base_run if request.only_base else choose_run
    return choose(records, read.plan, selection, on_branch=on_branch, unconfirmed=unconfirmed)


def _report_again(project: Project, run: str, request: RunRequest) -> RunReport:
    """The report of a run with nothing left to do; invalid options are still refused."""
    state = project.catalog.run(run)
    load_kept_settings(project, state, merge_options(state.options, request.options))
    end = project.journal.state_facts(run)[-1]
    for listener in request.options.listeners:
        listener(end)
    return report_of(state)
