"""`resume`: continue a run, by the plan it was started with or by what the user made of it since."""

from hashlib import sha256

from orchestrator.commands.request import ResumeRequest, StartOptions
from orchestrator.commands.start import carry_out
from orchestrator.errors import UsageError
from orchestrator.plan.reader import read_plan
from orchestrator.project.host import Host
from orchestrator.project.plan_files import ReadPlan, read_plan_bytes, require_runnable
from orchestrator.project.project import Project, opened_project
from orchestrator.run.report import RunReport
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import ResumeRun
from orchestrator.supervision.plan_edits import is_in_flight, left_by_attempts, take_edited


async def resume(host: Host, request: ResumeRequest) -> RunReport:
    """Continue an unfinished run. Raises OrchestratorError before anything is started."""
    async with opened_project(host) as project:
        state = project.unfinished(request.run)
        content = _read_again(project, state.start.plan)
        choice, read = plan_for_resume(project, state, request.options, content)
        return await carry_out(project, choice, read, request.options)


def _read_again(project: Project, path: str) -> bytes | None:
    try:
        return read_plan_bytes(project.folder / path, path)
    except UsageError:
        return None  # the run has its own copy, and says that the file is gone


def plan_for_resume(
    project: Project, state: RunState, given: StartOptions, found: bytes | None
) -> tuple[ResumeRun, ReadPlan]:
    """The plan by which the run continues; `found` is what the plan's file holds now.

    Raises PlanError for an edited plan that cannot be run, UsageError for one that leaves a doubt.
    """
    stored = project.stored_plan(state)
    keep, redo = frozenset(given.keep), frozenset(given.redo)
    if keep | redo and is_in_flight(state):
        raise UsageError(
            f"run {state.run} was cut off in the middle of a task",
            where="--keep, --redo",
            hint=f"Finish that task first: orchestrator resume {state.run}",
        )
    digest = sha256(found or b"").hexdigest()
    # An attempt may have written the file: only what the user saved while nobody was at work counts.
    edited = found is not None and not is_in_flight(state) and digest not in left_by_attempts(state)
    content = found if edited and found is not None else stored.content
    if content == stored.content and not keep | redo:
        return ResumeRun(state=state), ReadPlan(
            plan=stored.plan, content=stored.content, differs=found != stored.content
        )
    plan = read_plan(content, path=state.start.plan)
    require_runnable(plan)
    name = f"plan-{digest[:16]}" if content != stored.content else state.plan_stored
    taken = take_edited(state, plan, keep=keep, redo=redo, stored=name)
    return ResumeRun(state=state, taken=taken), ReadPlan(plan=plan, content=content, differs=found != content)
