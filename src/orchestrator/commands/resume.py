"""`resume`: continue a run, by its stored plan or by the user's edited version of it."""

from hashlib import sha256

from orchestrator.commands.request import ResumeRequest, StartOptions
from orchestrator.commands.start import carry_out
from orchestrator.errors import UsageError
from orchestrator.plan.graph import without_groups
from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan
from orchestrator.project.host import Host
from orchestrator.project.plan_files import ReadPlan, read_plan_bytes, require_runnable
from orchestrator.project.project import Project, open_project
from orchestrator.run.report import RunReport
from orchestrator.run.state import RunState
from orchestrator.supervision.acceptance import check_acceptable
from orchestrator.supervision.choose_run import ResumeRun
from orchestrator.supervision.plan_edits import hash_plans_of_attempts, is_in_flight, take_edited_plan


async def resume(host: Host, request: ResumeRequest) -> RunReport:
    """Continue an unfinished run. Raises OrchestratorError before anything is started."""
    async with open_project(host) as project:
        state = project.find_unfinished(request.run)
        path = state.start.plan
        try:
            content = read_plan_bytes(project.folder / path, path)
        except UsageError:
            content = None  # the run continues with its stored copy and says that the file is gone
        choice, read = plan_for_resume(project, state, request.options, content, accept=request.accept)
        return await carry_out(project, choice, read, request.options)


def plan_for_resume(
    project: Project,
    state: RunState,
    given: StartOptions,
    found: bytes | None,
    parsed: Plan | None = None,
    accept: tuple[str, ...] = (),
) -> tuple[ResumeRun, ReadPlan]:
    """The plan by which the run continues.

    `found` is what the plan's file holds now, `parsed` the plan in it where the caller has read it already.
    Raises PlanError for an edited plan that cannot be run, UsageError when an edit leaves open which
    finished tasks stay finished, or when a task in `accept` cannot be accepted.
    """
    stored = project.catalog.folder(state.run).plan_file(state.plan_stored).read_bytes()
    keep, redo = frozenset(given.keep), frozenset(given.redo)
    if (keep | redo or accept) and is_in_flight(state):
        raise UsageError(
            f"run {state.run} was interrupted in the middle of a task",
            where="--keep, --redo, --accept",
            hint=f"Finish that task first: orchestrator resume {state.run}",
        )
    digest = sha256(found or b"").hexdigest()
    # An attempt may have written the file. An edit is the user's only if no attempt was running and no
    # attempt left the file with this content.
    is_edited = not is_in_flight(state) and digest not in hash_plans_of_attempts(state)
    content = found if found is not None and is_edited else stored
    plan = parsed if parsed is not None and content == found else None
    plan = plan or without_groups(read_plan(content, path=state.start.plan))
    read = ReadPlan(plan=plan, content=content, differs=found != content)
    check_acceptable(state, plan, accept)
    if content == stored and not keep | redo:
        return ResumeRun(state=state, accepted=accept), read
    require_runnable(plan)
    name = f"plan-{digest[:16]}" if content != stored else state.plan_stored
    taken = take_edited_plan(state, plan, keep=keep, redo=redo, stored=name)
    return ResumeRun(state=state, taken=taken, accepted=accept), read
