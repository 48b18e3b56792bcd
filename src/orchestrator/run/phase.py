"""The phase of a task as one value: `phase(state, task)`.

A task's state is what its facts say, field by field; what the fields mean together is decided here and
nowhere else. Two things make it more than a list of fields. Limits, candidates and comparisons of the folder
count for the epoch (the stretch between two resumes) in which they were made, and an undo turns attempts into
history. Readers match on the phase and never compare epochs themselves.
"""

from typing import assert_never

from msgspec import Struct

from orchestrator.run.facts import AttemptEnded, AttemptStatus, EndToEndEnded, TaskFinished
from orchestrator.run.state import AttemptState, QuestionState, RunState, TaskState


class NotStarted(Struct, frozen=True):
    """Nothing has been done for it, or all of it was undone."""


class Started(Struct, frozen=True):
    """The commit that it starts from is known; there is no attempt yet."""


class Begun(Struct, frozen=True):
    """There has been an attempt; base of the phases that say how far it has come."""

    attempt: AttemptState
    """The last one."""


class Working(Begun, frozen=True):
    """The attempt has no end: the agent is at work, or the owner of the run was killed."""


class Uncompared(Begun, frozen=True):
    """The run was resumed, and the folder has not been compared with what the attempt left."""


class Compared(Begun, frozen=True):
    """The run was resumed, the folder was compared, and nothing has been made of it since."""


class Claimed(Begun, frozen=True):
    """The agent has ended by itself; its work is to become a candidate, whatever it claims."""


class Stopped(Begun, frozen=True):
    """The attempt was interrupted or took too long."""

    reason: str


class Limited(Begun, frozen=True):
    """A limit of the provider ended the attempt."""

    end: AttemptEnded


class Doubtful(Begun, frozen=True):
    """The agent needs a person; its question has not been asked yet."""


class Asked(Begun, frozen=True):
    """Its question has no answer."""

    question: QuestionState


class Answered(Begun, frozen=True):
    """Its question was answered since the run was last resumed."""


class Refused(Begun, frozen=True):
    """No candidate could be made of the folder."""

    reason: str


class Gating(Begun, frozen=True):
    """A candidate with gates that have not spoken."""


class Ungated(Begun, frozen=True):
    """A candidate with a gate that could not be run."""


class Gated(Begun, frozen=True):
    """A candidate whose gates have all spoken."""


class NotLanded(Begun, frozen=True):
    """The branch did not take the candidate."""

    reason: str


class Landing(Begun, frozen=True):
    """The branch may stand at the candidate already."""


class Failed(Struct, frozen=True):
    """All its attempts are used."""

    finished: TaskFinished


class Done(Struct, frozen=True):
    """Completed, or done before the run, or left out."""

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
    return Started() if task.last is None else _of_attempt(state, task, task.last)


def _of_attempt(state: RunState, task: TaskState, attempt: AttemptState) -> PhaseOfAttempt:
    if attempt.end is None:
        return Working(attempt)
    if task.landing is not None:
        return Landing(attempt)
    question = _question_of(state, task, attempt)
    if question is not None and question.answer is None:
        return Asked(attempt, question)
    if attempt.epoch < state.epoch:
        return _of_resumed(state, attempt)
    return _of_ended(attempt, attempt.end, is_answered=question is not None)


def _of_resumed(state: RunState, attempt: AttemptState) -> Uncompared | Compared | PhaseOfCandidate:
    """An attempt from before the run was resumed: its end no longer counts, a person may have been there."""
    if attempt.looked is None or attempt.looked_epoch < state.epoch:
        return Uncompared(attempt)
    if attempt.candidate_epoch == state.epoch or attempt.refused is not None:
        return _of_candidate(attempt)
    return Compared(attempt)


def _of_ended(attempt: AttemptState, end: AttemptEnded, *, is_answered: bool) -> PhaseOfAttempt:
    match end.status:
        case "completed" | "failed" | "unclear":
            return _of_candidate(attempt)
        case "needs_human":
            return (Answered if is_answered else Doubtful)(attempt)
        case "parked":
            return Limited(attempt, end)
        case "interrupted" | "timed_out":
            return Stopped(attempt, end.reason or end.status)
        case _ as never:
            assert_never(never)


def _of_candidate(attempt: AttemptState) -> PhaseOfCandidate:
    if attempt.refused is not None:
        return Refused(attempt, attempt.refused)
    if attempt.candidate is None:
        return Claimed(attempt)
    if any(gate.verdict == "unavailable" for gate in attempt.gates):
        return Ungated(attempt)
    if attempt.owed_evidence:
        return Gating(attempt)
    if attempt.landing_refused is not None:
        return NotLanded(attempt, attempt.landing_refused)
    return Gated(attempt)


def _question_of(state: RunState, task: TaskState, attempt: AttemptState) -> QuestionState | None:
    asked_by = (task.entry.id, attempt.number)
    return next((each for each in state.questions if (each.task, each.attempt) == asked_by), None)


def is_under_way(state: RunState, task: TaskState) -> bool:
    """Whether the task has been worked on since the run was last resumed."""
    return task.last is not None and state.epoch in (task.last.epoch, task.last.looked_epoch)


def ends_that_count(state: RunState, task: TaskState) -> list[AttemptStatus]:
    """How the task's attempts ended that count towards limits: since the last resume and the last undo."""
    attempts = [attempt for attempt in task.current_attempts if attempt.epoch == state.epoch]
    return [attempt.end.status for attempt in attempts if attempt.end is not None]


def scenario_that_counts(state: RunState) -> EndToEndEnded | None:
    """What the end-to-end scenario came to; one that did not pass is run again after a resume."""
    ended = state.end_to_end
    if ended is None or ended.status == "passed" or state.end_to_end_epoch == state.epoch:
        return ended
    return None


def has_ended_for_good(state: RunState) -> bool:
    """Whether the run is completed or cancelled; every other one can be resumed."""
    return state.end is not None and state.end.status in ("completed", "cancelled")
