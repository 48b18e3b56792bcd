"""The phase of a task as one value: `phase(state, task)`.

A task's state holds what its facts say, field by field; what the fields mean together is decided here and
nowhere else. Readers match on the phase, and never compare epochs themselves.

What `resume` may believe: an epoch is the time between two resumes, or between two waits of a run that waits
for itself. Between two epochs the run has no owner, or an owner that does nothing for hours. Meanwhile the
user, another program or a container that was still running can change the branch and the folder. So of an
earlier epoch only those facts count that no change to the folder makes untrue: that an attempt has ended,
that a landing has started (the repository knows whether it happened), that a question was asked. A candidate,
its verdicts and a comparison of the folder count only in the epoch in which they were made. An undo makes
attempts history: they keep their numbers and do not count any more.
"""

from typing import assert_never

from msgspec import Struct

from orchestrator.run.facts import AttemptEnded, AttemptStatus, EndToEndEnded, TaskFinished
from orchestrator.run.state import AttemptState, QuestionState, RunState, TaskState


class NotStarted(Struct, frozen=True):
    """The task has not been started, or all its work was undone."""


class Started(Struct, frozen=True):
    """The commit that the task starts from is recorded; there is no attempt yet."""


class Begun(Struct, frozen=True):
    """There is an attempt; base class of the phases of an attempt."""

    attempt: AttemptState
    """The last one."""


class Working(Begun, frozen=True):
    """The attempt has not ended: the agent is working, or the owner of the run was killed."""


class Uncompared(Begun, frozen=True):
    """The run was resumed, and the folder was not yet compared with what the attempt left."""


class Compared(Begun, frozen=True):
    """The run was resumed and the folder compared; there is no candidate of this epoch."""


class Claimed(Begun, frozen=True):
    """The agent has ended by itself; its work becomes a candidate, even if the agent reports a failure."""


class Stopped(Begun, frozen=True):
    """The attempt was interrupted or took too long."""

    reason: str


class Limited(Begun, frozen=True):
    """A limit of the provider ended the attempt."""

    end: AttemptEnded


class Doubtful(Begun, frozen=True):
    """The agent has a question for the user, which is not recorded yet."""


class Asked(Begun, frozen=True):
    """The agent's question has no answer."""

    question: QuestionState


class Answered(Begun, frozen=True):
    """The agent's question was answered in this epoch."""


class Refused(Begun, frozen=True):
    """The folder cannot be committed."""

    reason: str


class Gating(Begun, frozen=True):
    """There is a candidate, and some of its gates have no verdict."""


class Ungated(Begun, frozen=True):
    """There is a candidate, and one of its gates could not be run."""


class Gated(Begun, frozen=True):
    """There is a candidate, and all its gates have a verdict."""


class NotLanded(Begun, frozen=True):
    """The candidate could not land: branch, HEAD or index had changed, or the user has to allow a path."""

    reason: str


class Landing(Begun, frozen=True):
    """A landing has started; the branch may be at the candidate already."""


class Failed(Struct, frozen=True):
    """All attempts of the task are used."""

    finished: TaskFinished


class Done(Struct, frozen=True):
    """The task is completed, was done before the run, or is left out."""

    finished: TaskFinished


PhaseOfCandidate = Refused | Claimed | Ungated | Gating | NotLanded | Gated
PhaseOfAttempt = (
    Working
    | Uncompared
    | Compared
    | Stopped
    | Limited
    | Doubtful
    | Asked
    | Answered
    | PhaseOfCandidate
    | Landing
)
Phase = NotStarted | Started | PhaseOfAttempt | Failed | Done


def phase(state: RunState, task: TaskState) -> Phase:
    """How far a task of this run has come."""
    if task.finished is not None:
        return (Failed if task.finished.status == "failed" else Done)(task.finished)
    if task.parent is None:
        return NotStarted()
    return Started() if task.last is None else _phase_of_attempt(state, task, task.last)


def _phase_of_attempt(state: RunState, task: TaskState, attempt: AttemptState) -> PhaseOfAttempt:
    if attempt.end is None:
        return Working(attempt)
    # A landing and an open question count in every epoch: the repository knows whether the branch has moved,
    # and only the user can answer.
    if task.landing is not None:
        return Landing(attempt)
    asked_by = (task.entry.id, attempt.number)
    question = next((each for each in state.questions if (each.task, each.attempt) == asked_by), None)
    if question is not None and question.answer is None:
        return Asked(attempt, question)
    if attempt.epoch < state.epoch:
        return _phase_of_resumed(state, attempt)
    return _phase_of_ended(attempt, attempt.end, is_answered=question is not None)


def _phase_of_resumed(state: RunState, attempt: AttemptState) -> Uncompared | Compared | PhaseOfCandidate:
    """The phase of an attempt of an earlier epoch. Its end does not count: the folder may have changed
    since."""
    if attempt.compared is None or attempt.compared_epoch < state.epoch:
        return Uncompared(attempt)
    if attempt.candidate_epoch == state.epoch or attempt.refused is not None:
        return _phase_of_candidate(attempt)
    return Compared(attempt)


def _phase_of_ended(attempt: AttemptState, end: AttemptEnded, *, is_answered: bool) -> PhaseOfAttempt:
    match end.status:
        case "completed" | "failed" | "unclear":
            return _phase_of_candidate(attempt)
        case "needs_human":
            return (Answered if is_answered else Doubtful)(attempt)
        case "parked":
            return Limited(attempt, end)
        case "interrupted" | "timed_out":
            return Stopped(attempt, end.reason or end.status)
        case _ as never:
            assert_never(never)


def _phase_of_candidate(attempt: AttemptState) -> PhaseOfCandidate:
    if attempt.refused is not None:
        return Refused(attempt, attempt.refused)
    if attempt.candidate is None:
        return Claimed(attempt)
    # A gate that could not be run has no verdict on the work. It must neither land nor count as a failure of
    # the agent.
    if any(gate.verdict == "unavailable" for gate in attempt.gates):
        return Ungated(attempt)
    if any(each.result == "unavailable" for each in attempt.cross_checks):
        return Ungated(attempt)
    if attempt.owed_evidence:
        return Gating(attempt)
    if attempt.landing_refused is not None:
        return NotLanded(attempt, attempt.landing_refused)
    return Gated(attempt)


def is_under_way(state: RunState, task: TaskState) -> bool:
    """Whether the task has been worked on since the run was last resumed."""
    return task.last is not None and state.epoch in (task.last.epoch, task.last.compared_epoch)


def ends_that_count(state: RunState, task: TaskState) -> list[AttemptStatus]:
    """The ends of the attempts that count towards limits."""
    return [attempt.end.status for attempt in attempts_that_count(state, task) if attempt.end is not None]


def attempts_that_count(state: RunState, task: TaskState) -> list[AttemptState]:
    """The attempts since the last resume and the last undo. A run that waits for itself is not resumed."""
    return [attempt for attempt in task.current_attempts if attempt.epoch >= state.resumed_epoch]


def scenario_that_counts(state: RunState) -> EndToEndEnded | None:
    """The result of the end-to-end scenario; one that did not pass does not count after a resume."""
    ended = state.end_to_end
    if ended is None or ended.status == "passed" or state.end_to_end_epoch == state.epoch:
        return ended
    return None


def has_ended_for_good(state: RunState) -> bool:
    """Whether the run is completed or cancelled. Every other run can be resumed."""
    return state.end is not None and state.end.status in ("completed", "cancelled")
