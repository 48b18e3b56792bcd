"""decide(state, work) -> action: the whole policy of a run.

The engine carries the action out, appends facts, folds, and asks again. A killed run asks the same question
over the same facts, so there is no second path for resume.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, assert_never

from orchestrator.run.facts import AttemptStatus, RunStatus
from orchestrator.run.state import AttemptState, QuestionState, RunState, TaskState

CHARGED: frozenset[AttemptStatus] = frozenset({"completed", "failed", "unclear", "timed_out"})
"""Attempt ends that count against `limits.attempts`; the others were nobody's fault or are not over."""

MAX_INTERRUPTIONS = 3
"""Attempts of one task that may be cut off from outside, within one epoch, before the run parks."""


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
    exit_code: int
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
        cut_off = state.tasks[item.id].last
        if cut_off is not None and cut_off.end is None:
            return RecoverAttempt(task=item.id, attempt=cut_off)
    for item in work.items:
        task = state.tasks[item.id]
        if task.finished is None:
            return _next_of_task(state, task, item, work)
        if task.finished.status == "failed":
            return EndRun(status="failed", exit_code=1, reason=f"task {item.id}: {task.finished.reason}")
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


def _next_of_task(state: RunState, task: TaskState, item: WorkItem, work: Work) -> Action:
    if task.parent is None:
        return StartTask(task=item.id)
    attempt = task.last
    if attempt is None:
        return StartAttempt(task=item.id, number=len(task.attempts) + 1, previous=None)
    if task.landing is not None:
        return Land(task=item.id, attempt=attempt)
    if attempt.epoch < state.epoch:
        return _next_of_resumed(state, task, item, attempt, work)
    return _next_of_ended(state, task, item, attempt, work)


def _next_of_ended(
    state: RunState, task: TaskState, item: WorkItem, attempt: AttemptState, work: Work
) -> Action:
    assert attempt.end is not None
    match attempt.end.status:
        case "completed" | "failed" | "unclear":
            return _next_of_candidate(state, task, item, attempt, work)
        case "needs_human":
            return _next_of_question(state, item, attempt)
        case "parked":
            return EndRun(
                status="parked",
                exit_code=4,
                reason=f"task {item.id}: {attempt.end.reason}",
                until=attempt.end.until,
            )
        case "interrupted" | "timed_out":
            return _another_attempt(state, task, attempt.end.reason or attempt.end.status, work)
        case "running":
            raise ValueError(f"task {item.id}: an attempt cannot end as running")
        case _ as never:
            assert_never(never)


def _next_of_resumed(
    state: RunState, task: TaskState, item: WorkItem, attempt: AttemptState, work: Work
) -> Action:
    """What a run makes of the last attempt before it was resumed.

    A person may have mended the folder: gates are asked before an agent is. What had passed and could not
    land is made anew on the branch as it is now.
    """
    question = question_of(state, item.id, attempt.number)
    if question is not None and question.answer is None:
        return _waiting(item, question)
    if attempt.looked_epoch < state.epoch or attempt.looked is None:
        return LookAtTree(task=item.id, attempt=attempt)
    if attempt.candidate_epoch == state.epoch or attempt.refused is not None:
        return _next_of_candidate(state, task, item, attempt, work)
    mended = bool(attempt.looked.edited) or bool(attempt.failed_gates)
    if item.commands and mended:
        return MakeCandidate(task=item.id, attempt=attempt, by_hand=True)
    if _had_passed(attempt, item) or _gates_owed(attempt):
        return MakeCandidate(task=item.id, attempt=attempt, by_hand=False)
    return _another_attempt(state, task, "resumed", work)


def _had_passed(attempt: AttemptState, item: WorkItem) -> bool:
    return (
        attempt.candidate is not None
        and not _gates_owed(attempt)
        and isinstance(judge(attempt, item), Passed)
    )


def _gates_owed(attempt: AttemptState) -> bool:
    """Whether the agent had finished and its gates, or some of them, have not spoken."""
    if attempt.end is None or attempt.end.status != "completed" or attempt.refused is not None:
        return False
    if attempt.candidate is None:
        return True
    return _heard(attempt) < len(attempt.candidate.evidence)


def _heard(attempt: AttemptState) -> int:
    return sum(gate.verdict != "unavailable" for gate in attempt.gates)


def _next_of_candidate(
    state: RunState, task: TaskState, item: WorkItem, attempt: AttemptState, work: Work
) -> Action:
    if attempt.refused is not None:
        return _another_attempt(state, task, attempt.refused, work)
    if attempt.candidate is None:
        return MakeCandidate(task=item.id, attempt=attempt, by_hand=False)
    if any(gate.verdict == "unavailable" for gate in attempt.gates):
        return EndRun(status="parked", exit_code=4, reason=f"task {item.id}: a gate could not be run")
    if _heard(attempt) < len(attempt.candidate.evidence):
        return RunGates(task=item.id, attempt=attempt)
    if attempt.landing_refused is not None:
        return EndRun(status="parked", exit_code=4, reason=f"task {item.id}: {attempt.landing_refused}")
    match judge(attempt, item):
        case Passed():
            return Land(task=item.id, attempt=attempt)
        case NotPassed(reason=reason):
            return _another_attempt(state, task, reason, work)


def _another_attempt(state: RunState, task: TaskState, reason: str, work: Work) -> Action:
    previous = task.attempts[-1]
    counted = task.attempts[task.undone :]
    ends = [a.end.status for a in counted if a.epoch == state.epoch and a.end is not None]
    if sum(status in CHARGED for status in ends) >= work.attempts:
        return FailTask(
            task=task.entry.id, reason=f"{reason}; {work.attempts} of {work.attempts} attempts used"
        )
    if ends.count("interrupted") >= MAX_INTERRUPTIONS:
        return EndRun(status="parked", exit_code=4, reason=f"task {task.entry.id}: {reason}")
    return StartAttempt(task=task.entry.id, number=previous.number + 1, previous=previous)


def _next_of_question(state: RunState, item: WorkItem, attempt: AttemptState) -> Action:
    question = question_of(state, item.id, attempt.number)
    if question is None:
        return AskPerson(task=item.id, attempt=attempt)
    if question.answer is None:
        return _waiting(item, question)
    return StartAttempt(task=item.id, number=attempt.number + 1, previous=attempt)


def _waiting(item: WorkItem, question: QuestionState) -> EndRun:
    return EndRun(status="waiting", exit_code=3, reason=f"task {item.id} asks: {question.asked.text}")


def question_of(state: RunState, task: str, attempt: int) -> QuestionState | None:
    """The question that this attempt asked, if it has been asked."""
    return next((q for q in state.questions if q.task == task and q.attempt == attempt), None)


def _after_the_tasks(state: RunState, work: Work) -> Action:
    if not work.end_to_end:
        return EndRun(status="completed", exit_code=0)
    ended = state.end_to_end
    if ended is None or (ended.status != "passed" and state.end_to_end_epoch < state.epoch):
        return CheckEndToEnd()
    status: Literal["passed", "failed", "unavailable"] = ended.status
    match status:
        case "passed":
            return EndRun(status="completed", exit_code=0)
        case "failed":
            return EndRun(status="failed", exit_code=1, reason="the end-to-end scenario failed")
        case "unavailable":
            return EndRun(status="parked", exit_code=4, reason="the end-to-end scenario could not be run")
        case _ as never:
            assert_never(never)
