"""decide(state, work, busy) -> Steps | Wait | EndRun: the whole policy of a run.

The engine carries the actions out, appends facts, folds, and asks again. A killed run asks the same question
over the same facts, so there is no second path for resume.

Actions that do not disturb each other are carried out at the same time. Each occupies lanes for as long as it
takes: the lane of its task, so that a task does one thing at a time, and BRANCH if it moves the user's branch
or index, so that only one action does. `busy` are the occupied lanes. The facts of a task whose lane is busy
are halfway through something, so nothing is decided about the task before its lane is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from orchestrator.run.endings import EXIT_CODES, rank
from orchestrator.run.facts import AttemptStatus, RunStatus
from orchestrator.run.phase import (
    Answered,
    Asked,
    Claimed,
    Compared,
    Done,
    Doubtful,
    Failed,
    Gated,
    Gating,
    Landing,
    Limited,
    NotLanded,
    NotStarted,
    Refused,
    Started,
    Stopped,
    Uncompared,
    Ungated,
    Working,
    ends_that_count,
    is_under_way,
    phase,
    scenario_that_counts,
)
from orchestrator.run.state import AttemptState, RunState, TaskState

CHARGED: frozenset[AttemptStatus] = frozenset({"completed", "failed", "unclear", "timed_out"})
"""Attempt ends that count against `limits.attempts`; the others were not the agent's fault."""

MAX_INTERRUPTIONS = 3
"""Attempts of one task that may be interrupted between two resumes before the run parks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """A task as the policy sees it."""

    id: str
    depends_on: tuple[str, ...] | None
    """Ids of tasks that are done first; None: of all that come before it."""
    commands: tuple[str, ...]
    """Its gates, in order."""
    must_change: bool
    """Whether a candidate without changes is a failure (CODING, MIXED, or nothing that checks it)."""


class Gate(NamedTuple):
    name: str
    """build-1, …, verify-1, …, e2e-1, …"""
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    items: tuple[WorkItem, ...]
    """The tasks to carry out, in an order that respects their dependencies."""
    end_to_end: tuple[str, ...]
    attempts: int
    build: tuple[str, ...] = ()
    """What every container runs before its first check; where there is no check there is none of it."""
    workers: int = 1
    """How many tasks may be worked on at the same time."""

    def gates_of(self, item: WorkItem) -> tuple[Gate, ...]:
        return self._after_build("verify", item.commands)

    @property
    def scenario(self) -> tuple[Gate, ...]:
        return self._after_build("e2e", self.end_to_end)

    def _after_build(self, name: str, checks: tuple[str, ...]) -> tuple[Gate, ...]:
        build = self.build if checks else ()
        return (*_numbered(BUILD, build), *_numbered(name, checks))


BUILD = "build"


def _numbered(name: str, commands: tuple[str, ...]) -> tuple[Gate, ...]:
    return tuple(Gate(f"{name}-{number}", command) for number, command in enumerate(commands, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckBase:
    """Run every verify command on the base, before any agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeBranch:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTask:
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAttempt:
    task: str
    number: int
    previous: AttemptState | None
    """The attempt whose session and evidence the new one continues from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverAttempt:
    """An attempt that was begun and never ended: its owner was killed."""

    task: str
    attempt: AttemptState


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareFolder:
    """After a resume: has the user changed something since the attempt ended?"""

    task: str
    attempt: AttemptState


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeCandidate:
    task: str
    attempt: AttemptState
    by_hand: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGates:
    task: str
    attempt: AttemptState


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    task: str
    attempt: AttemptState


@dataclass(frozen=True, slots=True, kw_only=True)
class FailTask:
    task: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskPerson:
    task: str
    attempt: AttemptState


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckEndToEnd:
    pass


Action = (
    CheckBase
    | MakeBranch
    | StartTask
    | StartAttempt
    | RecoverAttempt
    | CompareFolder
    | MakeCandidate
    | RunGates
    | Land
    | FailTask
    | AskPerson
    | CheckEndToEnd
)

Lane = str
BRANCH: Lane = ""
"""The lane of the branch; the other lanes are ids of tasks, and none of these is empty."""


def lanes_of(action: Action) -> frozenset[Lane]:
    """What the action occupies.

    Before an attempt the user's edits may become a commit on the branch. An attempt does not occupy the
    branch all the same, because it takes hours, and nothing works beside it in the user's own folder.
    """
    match action:
        case CheckBase() | MakeBranch() | CheckEndToEnd():
            return frozenset({BRANCH})
        case StartTask(task=task) | RecoverAttempt(task=task) | CompareFolder(task=task) | Land(task=task):
            return frozenset({task, BRANCH})
        case StartAttempt() | MakeCandidate() | RunGates() | FailTask() | AskPerson():
            return frozenset({action.task})
        case _ as never:
            assert_never(never)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Begin these now; their lanes are free."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Begin nothing before a lane is free, or a fact has arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRun:
    """No lane is busy, and nothing is left to do."""

    status: RunStatus
    reason: str | None = None
    until: str | None = None


Decision = Steps | Wait | EndRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPassed:
    reason: str


def decide(state: RunState, work: Work, busy: frozenset[Lane] = frozenset()) -> Decision:
    """What to begin beside the work in the busy lanes. One that ends the run does so once no lane is busy."""
    first = _before_the_tasks(state, work, busy)
    if first is not None:
        return Wait() if busy else Steps(actions=(first,))
    nexts = [_next_of_task(state, item, work) for item in _items_at_hand(state, work, busy)]
    if not nexts and not busy:
        nexts = [_after_the_tasks(state, work)]
    ends = [each for each in nexts if isinstance(each, EndRun)]
    if ends:
        return Wait() if busy else min(ends, key=lambda end: rank(EXIT_CODES[end.status]))
    actions = _in_free_lanes([each for each in nexts if not isinstance(each, EndRun)], busy)
    return Steps(actions=actions) if actions else Wait()


def _before_the_tasks(state: RunState, work: Work, busy: frozenset[Lane]) -> Action | None:
    if not state.base_checked:
        return CheckBase()
    if not state.branch_ready:
        return MakeBranch()
    for item in work.items:  # before another task changes the folder
        match phase(state, state.tasks[item.id]):
            case Working(attempt=attempt) if item.id not in busy:
                return RecoverAttempt(task=item.id, attempt=attempt)
    return None


def _items_at_hand(state: RunState, work: Work, busy: frozenset[Lane]) -> list[WorkItem]:
    """A task for each worker that has none: first those that are under way, then the next that may start.

    A task waits only for tasks before it. So the first that is not done can always be worked on, even where
    dependencies go round in circles.
    """
    pending: set[str] = set()
    free: list[WorkItem] = []
    for item in work.items:
        if isinstance(phase(state, state.tasks[item.id]), Done):
            continue
        awaited = pending if item.depends_on is None else pending.intersection(item.depends_on)
        if item.id not in busy and not awaited:
            free.append(item)
        pending.add(item.id)
    free.sort(key=lambda item: not is_under_way(state, state.tasks[item.id]))
    return free[: work.workers - len(busy - {BRANCH})]


def _in_free_lanes(actions: Sequence[Action], busy: frozenset[Lane]) -> tuple[Action, ...]:
    """Those that can begin at the same time; where two need the branch, the first has it."""
    found, taken = [], busy
    for action in actions:
        if taken.isdisjoint(lanes_of(action)):
            found.append(action)
            taken |= lanes_of(action)
    return tuple(found)


def judge(attempt: AttemptState, item: WorkItem) -> Passed | NotPassed:
    """Whether a candidate whose gates have all spoken may land; the first reason against it.

    A candidate that the user fixed by hand is judged by its gates and its changes alone.
    """
    assert attempt.end is not None and attempt.candidate is not None
    if attempt.end.status != "completed" and not attempt.candidate.by_hand:
        return NotPassed(reason=attempt.end.reason or attempt.end.status)
    if item.must_change and not attempt.candidate.changed:
        return NotPassed(reason="nothing was changed, whatever the agent says")
    for gate in attempt.failed_gates:
        why = f": {gate.detail}" if gate.detail else ""
        return NotPassed(reason=f"{gate.gate} failed with exit code {gate.exit_code}{why} ({gate.evidence})")
    return Passed()


def _next_of_task(state: RunState, item: WorkItem, work: Work) -> Action | EndRun:  # noqa: C901 - one flat table
    task = state.tasks[item.id]
    match phase(state, task):
        case NotStarted():
            return StartTask(task=item.id)
        case Started():
            return StartAttempt(task=item.id, number=len(task.attempts) + 1, previous=None)
        case Working(attempt=attempt):
            return RecoverAttempt(task=item.id, attempt=attempt)
        case Uncompared(attempt=attempt):
            return CompareFolder(task=item.id, attempt=attempt)
        case Compared(attempt=attempt):
            return _next_of_compared(state, task, item, attempt, work)
        case Stopped(reason=reason) | Refused(reason=reason):
            return _another_attempt(state, task, reason, work)
        case Limited(end=end):
            return EndRun(status="parked", reason=f"task {item.id}: {end.reason}", until=end.until)
        case Doubtful(attempt=attempt):
            return AskPerson(task=item.id, attempt=attempt)
        case Asked(question=question):
            return EndRun(status="waiting", reason=f"task {item.id} asks: {question.asked.text}")
        case Answered(attempt=attempt):
            return StartAttempt(task=item.id, number=attempt.number + 1, previous=attempt)
        case Claimed(attempt=attempt):
            return MakeCandidate(task=item.id, attempt=attempt, by_hand=False)
        case Gating(attempt=attempt):
            return RunGates(task=item.id, attempt=attempt)
        case Ungated():
            return EndRun(status="parked", reason=f"task {item.id}: a gate could not be run")
        case Gated(attempt=attempt):
            return _next_of_gated(state, task, item, attempt, work)
        case NotLanded(reason=reason):
            return EndRun(status="parked", reason=f"task {item.id}: {reason}")
        case Landing(attempt=attempt):
            return Land(task=item.id, attempt=attempt)
        case Failed(finished=finished):
            return EndRun(status="failed", reason=f"task {item.id}: {finished.reason}")
        case Done():
            raise AssertionError(f"task {item.id} is done")
        case _ as never:
            assert_never(never)


def _next_of_compared(
    state: RunState, task: TaskState, item: WorkItem, attempt: AttemptState, work: Work
) -> Action | EndRun:
    """After a resume: the gates are asked before an agent is, because the user may have fixed the folder.

    Work that had passed and could not land becomes a new candidate on the branch as it is now.
    """
    is_edited = attempt.looked is not None and bool(attempt.looked.edited)
    if item.commands and (is_edited or attempt.failed_gates):
        return MakeCandidate(task=item.id, attempt=attempt, by_hand=True)
    if _is_unjudged(attempt) or _has_passed(attempt, item):
        return MakeCandidate(task=item.id, attempt=attempt, by_hand=False)
    return _another_attempt(state, task, "resumed", work)


def _is_unjudged(attempt: AttemptState) -> bool:
    """Whether the agent says it has finished and not all gates have spoken."""
    if attempt.end is None or attempt.end.status != "completed":
        return False
    return attempt.candidate is None or bool(attempt.owed_evidence)


def _has_passed(attempt: AttemptState, item: WorkItem) -> bool:
    return attempt.candidate is not None and isinstance(judge(attempt, item), Passed)


def _next_of_gated(
    state: RunState, task: TaskState, item: WorkItem, attempt: AttemptState, work: Work
) -> Action | EndRun:
    match judge(attempt, item):
        case Passed():
            return Land(task=item.id, attempt=attempt)
        case NotPassed(reason=reason):
            return _another_attempt(state, task, reason, work)


def _another_attempt(state: RunState, task: TaskState, reason: str, work: Work) -> Action | EndRun:
    ends = ends_that_count(state, task)
    if sum(status in CHARGED for status in ends) >= work.attempts:
        return FailTask(
            task=task.entry.id, reason=f"{reason}; {work.attempts} of {work.attempts} attempts used"
        )
    if ends.count("interrupted") >= MAX_INTERRUPTIONS:
        return EndRun(status="parked", reason=f"task {task.entry.id}: {reason}")
    previous = task.attempts[-1]
    return StartAttempt(task=task.entry.id, number=previous.number + 1, previous=previous)


def _after_the_tasks(state: RunState, work: Work) -> Action | EndRun:
    if not work.end_to_end:
        return EndRun(status="completed")
    ended = scenario_that_counts(state)
    if ended is None:
        return CheckEndToEnd()
    match ended.status:
        case "passed":
            return EndRun(status="completed")
        case "failed":
            return EndRun(status="failed", reason="the end-to-end scenario failed")
        case "unavailable":
            return EndRun(status="parked", reason="the end-to-end scenario could not be run")
        case _ as never:
            assert_never(never)
