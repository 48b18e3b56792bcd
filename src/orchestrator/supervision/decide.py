"""decide(state, work) -> action: the whole policy of a run.

The engine carries the action out, appends facts, folds, and asks again. A killed run asks the same question
over the same facts, so there is no second path for resume.
"""

from dataclasses import dataclass
from typing import NamedTuple, assert_never

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
    depends_on: tuple[str, ...]
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
    """The attempt whose session and evidence the new one goes on from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverAttempt:
    """An attempt that was begun and never ended: its owner was killed."""

    task: str
    attempt: AttemptState


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtTree:
    """After a resume: has a person changed something since the attempt ended?"""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRun:
    status: RunStatus
    reason: str | None = None
    until: str | None = None


Action = (
    CheckBase
    | MakeBranch
    | StartTask
    | StartAttempt
    | RecoverAttempt
    | LookAtTree
    | MakeCandidate
    | RunGates
    | Land
    | FailTask
    | AskPerson
    | CheckEndToEnd
    | EndRun
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPassed:
    reason: str


def decide(state: RunState, work: Work) -> Action:
    """The one next thing to do."""
    if not state.base_checked:
        return CheckBase()
    if not state.branch_ready:
        return MakeBranch()
    for item in work.items:  # before another task changes the folder
        match phase(state, state.tasks[item.id]):
            case Working(attempt=attempt):
                return RecoverAttempt(task=item.id, attempt=attempt)
    for item in work.items:
        action = _next_of_task(state, state.tasks[item.id], item, work)
        if action is not None:
            return action
    return _after_the_tasks(state, work)


def judge(attempt: AttemptState, item: WorkItem) -> Passed | NotPassed:
    """Whether a candidate whose gates have all spoken may land; the first reason against it.

    Of a candidate that a person mended by hand only its gates and its changes are asked.
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


def _next_of_task(state: RunState, task: TaskState, item: WorkItem, work: Work) -> Action | None:
    """What the task needs; None: nothing any more."""
    match phase(state, task):
        case NotStarted():
            return StartTask(task=item.id)
        case Started():
            return StartAttempt(task=item.id, number=len(task.attempts) + 1, previous=None)
        case Working(attempt=attempt):
            return RecoverAttempt(task=item.id, attempt=attempt)
        case Uncompared(attempt=attempt):
            return LookAtTree(task=item.id, attempt=attempt)
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
            return None
        case _ as never:
            assert_never(never)


def _next_of_compared(
    state: RunState, task: TaskState, item: WorkItem, attempt: AttemptState, work: Work
) -> Action:
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
) -> Action:
    match judge(attempt, item):
        case Passed():
            return Land(task=item.id, attempt=attempt)
        case NotPassed(reason=reason):
            return _another_attempt(state, task, reason, work)


def _another_attempt(state: RunState, task: TaskState, reason: str, work: Work) -> Action:
    ends = ends_that_count(state, task)
    if sum(status in CHARGED for status in ends) >= work.attempts:
        return FailTask(
            task=task.entry.id, reason=f"{reason}; {work.attempts} of {work.attempts} attempts used"
        )
    if ends.count("interrupted") >= MAX_INTERRUPTIONS:
        return EndRun(status="parked", reason=f"task {task.entry.id}: {reason}")
    previous = task.attempts[-1]
    return StartAttempt(task=task.entry.id, number=previous.number + 1, previous=previous)


def _after_the_tasks(state: RunState, work: Work) -> Action:
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
