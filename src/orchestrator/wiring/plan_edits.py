"""The plan by which a run goes on: the one it was started with, or what a person made of it since."""

from hashlib import sha256

from orchestrator.errors import UsageError
from orchestrator.plan.reader import read_plan
from orchestrator.plan_files import read_plan_bytes, require_runnable
from orchestrator.run.state import RunState
from orchestrator.supervision.choose_run import GoOn
from orchestrator.supervision.plan_edits import in_flight, left_by_attempts, take_edited
from orchestrator.wiring.place import Place, ReadPlan
from orchestrator.wiring.request import RunRequest


def going_on(place: Place, state: RunState, request: RunRequest) -> tuple[GoOn, ReadPlan]:
    """Raises PlanError for an edited plan that cannot be run, UsageError for one that leaves a doubt."""
    stored = place.stored_plan(state)
    path = state.start.plan
    keep, redo = frozenset(request.keep), frozenset(request.redo)
    try:
        content = read_plan_bytes(place.folder / path, path)
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
        return GoOn(state=state), stored
    plan = read_plan(content, path=path)
    require_runnable(plan)
    name = f"plan-{digest[:16]}" if content != stored.content else state.plan_stored
    taken = take_edited(state, plan, keep=keep, redo=redo, stored=name)
    return GoOn(state=state, taken=taken), ReadPlan(plan=plan, content=content)
