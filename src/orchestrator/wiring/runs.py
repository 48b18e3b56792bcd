"""`run_milestone` and `resume_run`: validate, start, carry out, and stop whatever happens."""

from pathlib import Path

from orchestrator.engine.environment import code_folder, validate_environment
from orchestrator.engine.milestone_runner import MilestoneRunner
from orchestrator.run.report import RunReport, report_of
from orchestrator.supervision.choose_run import DoneAlready, GoOn
from orchestrator.wiring.place import opened_place, plan_path
from orchestrator.wiring.plan_edits import going_on
from orchestrator.wiring.request import RunRequest, options_for, settings_for
from orchestrator.wiring.start import choose, prepared


async def run_milestone(plan: str | Path, **options: object) -> RunReport:
    """Carry out a plan in the code folder we stand in, or go on with its unfinished run.

    `options` are the fields of RunRequest. Raises OrchestratorError when plan, configuration or environment
    are not fit, before anything is started; what happens later is in the report.
    """
    folder = validate_environment()
    request = RunRequest(**options)  # type: ignore[arg-type]
    async with opened_place(folder) as place:
        choice, read = await choose(place, plan_path(folder, plan), request)
        if isinstance(choice, DoneAlready):
            done = GoOn(state=choice.state)
            settings_for(
                place, done, options_for(done, request)
            )  # what is wrong with them is said all the same
            last = place.journal.state_facts(choice.state.run)[-1]
            for listener in request.listeners:
                listener(last)
            return report_of(choice.state)
        async with prepared(place, choice, read, request) as context:
            return report_of(await MilestoneRunner(context).carry_out())


async def resume_run(wanted: str | None, **options: object) -> RunReport:
    """Go on with an unfinished run: named by id, unambiguous prefix or plan, else the only one here."""
    request = RunRequest(**options)  # type: ignore[arg-type]
    async with opened_place(code_folder()) as place:
        state = place.unfinished(wanted)
        choice, read = going_on(place, state, request)
        async with prepared(place, choice, read, request) as context:
            return report_of(await MilestoneRunner(context).carry_out())
