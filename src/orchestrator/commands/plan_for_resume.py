"""The plan by which a run goes on: the one it was started with, or what a person made of it since."""

from hashlib import sha256

from orchestrator.commands.request import RunRequest
from orchestrator.errors import UsageError
from orchestrator.plan.reader import read_plan
from orchestrator.project.plan_files import read_plan_bytes, require_runnable
from orchestrator.project.project import Project, ReadPlan
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import ResumeRun
from orchestrator.supervision.plan_edits import in_flight, left_by_attempts, take_edited


def plan_for_resume(project: Project, state: RunState, request: RunRequest) -> tuple[ResumeRun, ReadPlan]:
    """Raises PlanError for an edited plan that cannot be run, UsageError for one that leaves a doubt."""
    stored = project.stored_plan(state)
    path = state.start.plan
    keep, redo = frozenset(request.keep), frozenset(request.redo)
    try:
        content = read_plan_bytes(project.folder / path, path)
    except UsageError:
        content = stored.content  # the notices say that it is gone
    digest = sha256(content).hexdigest()
    if content != stored.content and (in_flight(state) or digest in left_by_attempts(state)):
        content = stored.content
    if keep | redo and in_flight(state):
        raise UsageError(
            f"run {state.run} was cut off in the middle of a task",
            where="--keep, --redo",
            hint=f"Let it end that first: orchestrator resume {state.run}",
        )
    if content == stored.content and not keep | redo:
        return ResumeRun(state=state), stored
    plan = read_plan(content, path=path)
    require_runnable(plan)
    name = f"plan-{digest[:16]}" if content != stored.content else state.plan_stored
    taken = take_edited(state, plan, keep=keep, redo=redo, stored=name)
    return ResumeRun(state=state, taken=taken), ReadPlan(plan=plan, content=content)
