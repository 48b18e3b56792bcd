"""`run_milestone` and `resume_run`: validate, start, carry out, and stop whatever happens."""

from pathlib import Path

from orchestrator.commands.plan_for_resume import plan_for_resume
from orchestrator.commands.request import RunRequest, options_for, settings_for
from orchestrator.commands.start import choose, prepared
from orchestrator.engine.actions import RunActions
from orchestrator.engine.milestone_runner import MilestoneRunner
from orchestrator.preflight.environment import validate_environment
from orchestrator.project.host import Host
from orchestrator.project.project import opened_project, plan_path
from orchestrator.run.report import RunReport, report_of
from orchestrator.supervision.choose_run import DoneAlready, ResumeRun


async def run_milestone(host: Host, plan: str | Path, request: RunRequest) -> RunReport:
    """Carry out a plan in the code folder we stand in, or go on with its unfinished run.

    Raises OrchestratorError when plan, configuration or environment are not fit, before anything is started;
    what happens later is in the report.
    """
    folder = validate_environment(host)
    async with opened_project(host) as project:
        choice, read = await choose(project, plan_path(folder, plan), request)
        if isinstance(choice, DoneAlready):
            done = ResumeRun(state=choice.state)
            settings_for(
                project, done, options_for(done, request)
            )  # what is wrong with them is said all the same
            last = project.journal.state_facts(choice.state.run)[-1]
            for listener in request.listeners:
                listener(last)
            return report_of(choice.state)
        async with prepared(project, choice, read, request) as context:
            return report_of(
                await MilestoneRunner(context.journal, context.work, RunActions(context)).carry_out()
            )


async def resume_run(host: Host, wanted: str | None, request: RunRequest) -> RunReport:
    """Go on with an unfinished run: named by id, unambiguous prefix or plan, else the only one here."""
    async with opened_project(host) as project:
        state = project.unfinished(wanted)
        choice, read = plan_for_resume(project, state, request)
        async with prepared(project, choice, read, request) as context:
            return report_of(
                await MilestoneRunner(context.journal, context.work, RunActions(context)).carry_out()
            )
