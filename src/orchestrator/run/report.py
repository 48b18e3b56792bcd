"""A run as `status --json` shows it to other programs, built from the folded state."""

from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import asdict

from orchestrator.events import Usage
from orchestrator.run.facts import RunStatus, TaskStatus
from orchestrator.run.phase import Asked, Begun, Done, Failed, NotStarted, Started, phase
from orchestrator.run.state import AttemptState, BaseCheckState, QuestionState, RunState, TaskState


class Owner(Struct, frozen=True, kw_only=True):
    """The living process that carries out a run."""

    pid: int
    host: str
    since: str


class RunReport(Struct, frozen=True, kw_only=True):
    """The result of a command that carried out a run."""

    run: str
    status: RunStatus
    exit_code: int
    reason: str | None
    state: RunState


def report_of(state: RunState) -> RunReport:
    """The report of a run that has ended."""
    assert state.end is not None
    return RunReport(
        run=state.run,
        status=state.end.status,
        exit_code=state.end.exit_code,
        reason=state.end.reason,
        state=state,
    )


def run_status(state: RunState, owner: Owner | None) -> RunStatus:
    """A run without an end is running if its owner is alive, and interrupted if not."""
    if owner is not None and state.end is None:
        if state.waiting is None:
            return "running"
        return "waiting" if state.waiting.cause == "question" else "parked"
    return "interrupted" if state.end is None else state.end.status


def task_status(state: RunState, task: TaskState) -> TaskStatus:
    match phase(state, task):
        case Done(finished=finished) | Failed(finished=finished):
            return finished.status
        case Asked():
            return "waiting"
        case NotStarted():
            return "pending"
        case Started() | Begun():
            return "running" if state.end is None else "pending"
        case _ as never:
            assert_never(never)


def run_json(state: RunState, owner: Owner | None) -> dict[str, Any]:
    """One run of `status --json`."""
    e2e = state.end_to_end
    end = state.end or (None if owner is None else state.waiting)
    return {
        "run": state.run,
        "plan": state.start.plan,
        "title": state.start.plan_title,
        "folder": state.start.folder,
        "branch": state.start.branch,
        "base": state.start.base,
        "status": run_status(state, owner),
        "exit_code": None if state.end is None else state.end.exit_code,
        "reason": None if end is None else end.reason,
        "until": None if end is None else end.until,
        "cause": None if end is None else end.cause,
        "started": state.started_at,
        "ended": state.ended_at,
        "owner": None if owner is None else asdict(owner),
        "tasks": [_task_json(state, task) for task in state.tasks.values()],
        "e2e": None if e2e is None else {"status": e2e.status, "evidence": list(e2e.evidence)},
        "questions": [_question_json(question) for question in state.questions],
        "usage": asdict(state.usage),
        "budget_usd": None,
        "billing": state.billing,
        "windows": [asdict(window) for window in state.windows],
        "unverified": state.unverified,
    }


def base_json(state: RunState) -> dict[str, Any]:
    """The output of `run --base --json`: a row for each command that ran on the base."""
    return {
        "run": state.run,
        "plan": state.start.plan,
        "commit": state.start.base,
        "image": state.base_image,
        "gates": [_base_row(each) for each in state.base if each.check.commit is None],
    }


def _base_row(each: BaseCheckState) -> dict[str, Any]:
    check = each.check
    return {
        "task": each.task,
        "gate": check.gate,
        "command": check.command,
        "source": check.source,
        "before": check.before,
        "exit_code": check.exit_code,
        "evidence": check.evidence,
        "seconds": check.seconds,
        "reused": check.reused,
        "age_seconds": check.age_seconds,
    }


def _task_json(state: RunState, task: TaskState) -> dict[str, Any]:
    finished = task.finished
    return {
        "task": task.entry.id,
        "title": task.entry.title,
        "type": task.entry.type,
        "status": task_status(state, task),
        "commit": None if finished is None else finished.commit,
        "verification": None if finished is None else finished.verification,
        "evidence": _list_evidence(task),
        "attempts": [_attempt_json(attempt) for attempt in task.attempts],
    }


def _attempt_json(attempt: AttemptState) -> dict[str, Any]:
    end = attempt.end
    return {
        "attempt": attempt.number,
        "status": "running" if end is None else end.status,
        "reason": attempt_reason(attempt),
        "failure": None if end is None else end.failure,
        "container": attempt.start.container,
        "session": attempt.start.session,
        "exit_code": None if end is None else end.exit_code,
        "adopted": attempt.adoptions,
        "started": attempt.started,
        "ended": attempt.ended,
        "usage": asdict(Usage() if end is None else end.usage),
    }


def attempt_reason(attempt: AttemptState) -> str | None:
    """Why an attempt did not land: the reason of its end, of the refused folder, or the failed gates."""
    if attempt.end is not None and attempt.end.reason is not None:
        return attempt.end.reason
    if attempt.refused is not None:
        return attempt.refused
    failed = [f"{gate.gate} failed ({gate.evidence})" for gate in attempt.failed_gates]
    return ", ".join(failed) or None


def _question_json(question: QuestionState) -> dict[str, Any]:
    answer = question.answer
    return {
        "question": question.asked.question,
        "task": question.task,
        "text": question.asked.text,
        "options": list(question.asked.options),
        "recommendation": question.asked.recommendation,
        "asked": question.asked_at,
        "deadline": None,
        "answer": None
        if answer is None
        else {"text": answer.text, "by": answer.by, "at": question.answered_at},
    }


def _list_evidence(task: TaskState) -> list[str]:
    """The evidence of its last candidate's gates, without those that were not run."""
    if task.last is None or task.last.candidate is None:
        return []
    skipped = task.last.skipped_evidence
    return [id for id in task.last.candidate.evidence if id not in skipped]
