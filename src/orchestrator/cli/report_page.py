"""The content of a report, as text for readers; how it is drawn is up to `report_drawings`."""

from msgspec import Struct

from orchestrator.cli.next_step import NextStep, next_step
from orchestrator.cli.tables import View
from orchestrator.cli.times import Zone, duration, moment, seconds_between
from orchestrator.cli.words import list_names
from orchestrator.events import Usage
from orchestrator.run.proof import CheckProof, has_passed_before, is_by_agent, list_checks, list_final_checks
from orchestrator.run.report import attempt_reason, run_status, task_status
from orchestrator.run.state import QuestionState, RunState, TaskState
from orchestrator.text import one_line, plain

TAIL_LINES = 10
_STATUS_WORDS = {"imported": "done before", "skipped": "left out"}
_PROOF_WORDS = {
    "red": "failed before the work",
    "discriminating": "fails without the work",
    "already_green": "passes without the work, too",
    "absent": "cannot run without the work",
    "vacuous": "passes without any file: it checks nothing",
    None: "was not run without the work",
}


class CheckLine(Struct, frozen=True, kw_only=True):
    name: str
    command: str
    """As it is in the plan or the settings, perhaps of several lines."""
    result: str
    before: str
    evidence: str
    tail: str = ""
    """The end of the output of a check that failed."""
    has_passed: bool


class TaskPart(Struct, frozen=True, kw_only=True):
    id: str
    title: str
    status: str
    has_failed: bool
    details: tuple[tuple[str, str], ...]
    checks: tuple[CheckLine, ...]
    attempts: tuple[str, ...]
    questions: tuple[str, ...]


class Page(Struct, frozen=True, kw_only=True):
    run: str
    title: str
    status: str
    details: tuple[tuple[str, str], ...]
    first: tuple[str, ...]
    """The findings that a reader has to know before anything else."""
    tasks: tuple[TaskPart, ...]
    scenario: tuple[CheckLine, ...]
    next: NextStep


def make_page(state: RunState, view: View) -> Page:
    """The report of a run, also of one that has not ended."""
    status = run_status(state, view.owner)
    return Page(
        run=state.run,
        title=one_line(state.start.plan_title, 200),
        status=status,
        details=_run_details(state, view),
        first=(*_list_open(state), *_list_weak_proofs(state)),
        tasks=tuple(_task_part(state, task, view.zone) for task in state.tasks.values()),
        scenario=tuple(_check_line(state, check, "") for check in list_final_checks(state)),
        next=next_step(state, status, view.here),
    )


def _run_details(state: RunState, view: View) -> tuple[tuple[str, str], ...]:
    end = state.ended_at if state.end is not None else view.now
    took = [] if end is None else [("duration", duration(seconds_between(state.started_at, end)))]
    scenario = [] if state.end_to_end is None else [("end to end", state.end_to_end.status)]
    return (
        ("plan", one_line(state.start.plan, 300)),
        ("branch", f"{one_line(state.start.branch, 200)}, from {state.start.base[:12]}"),
        ("agent", one_line(state.options.agent, 80)),
        ("started", moment(state.started_at, view.zone)),
        *took,
        *scenario,
        ("usage", _describe_usage(state.usage)),
    )


def _describe_usage(usage: Usage) -> str:
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    if not (read or usage.output_tokens or usage.cost_usd):
        return "the agent has reported none"
    cost = f", ${usage.cost_usd:.2f}" if usage.cost_usd else ""
    return f"{read:,} tokens read, {usage.output_tokens:,} written{cost}, as the agent has reported"


def _list_open(state: RunState) -> list[str]:
    """The reasons why the run is not completed."""
    end = state.end
    found = [] if end is None or end.status == "completed" or not end.reason else [one_line(end.reason, 300)]
    for question in state.open_questions:
        found.append(f"question {question.asked.question} is open: {one_line(question.asked.text, 300)}")
    return found


def _list_weak_proofs(state: RunState) -> list[str]:
    """Finished tasks that no check shows to be done, or only one that passed before, or that did more."""
    found = []
    for task in state.tasks.values():
        id = one_line(task.entry.id, 40)
        if task.finished is None or task.finished.status not in ("completed", "failed"):
            continue
        checks = list_checks(state, task)
        if task.has_failed:
            found.append(
                f"task {id} has failed: {one_line(task.finished.reason or 'no reason is stored', 300)}"
            )
        elif task.finished.verification == "unverified":
            found.append(f"task {id} is unverified: {one_line(task.finished.reason or 'no check', 300)}")
        elif is_by_agent(checks):
            found.append(f"task {id} is checked by the agent's own command only")
        elif has_passed_before(checks):
            found.append(f"task {id} is shown by guards only: all its checks pass without the work, too")
        vacuous = [check.gate for check in checks if check.before == "vacuous"]
        if vacuous:
            found.append(f"task {id} has a vacuous check: {', '.join(vacuous)} passes without any file")
        flaky = [check.gate for check in checks if check.flaky]
        if flaky:
            found.append(
                f"task {id} has a flaky check: {', '.join(flaky)} passed and failed on the same files"
            )
        red = [check.gate for check in checks if check.fails_as_before]
        if red:
            found.append(f"task {id} is red before: {', '.join(red)} fails as it did before the work")
        if task.finished.undeclared_files:
            names = list_names(task.finished.undeclared_files, 20)
            found.append(f"task {id} also changed files that its plan does not name: {names}")
    return found


def _task_part(state: RunState, task: TaskState, zone: Zone) -> TaskPart:
    finished, status = task.finished, task_status(state, task)
    details = [("type", task.entry.type or "none")]
    if finished is not None and finished.commit is not None:
        details.append(("commit", finished.commit[:12]))
    if finished is not None and finished.verification is not None:
        details.append(("verification", finished.verification))
    if finished is not None and finished.reason:
        details.append(("reason", one_line(finished.reason, 300)))
    tails = {} if task.last is None else {gate.evidence: gate.tail for gate in task.last.gates}
    return TaskPart(
        id=one_line(task.entry.id, 40),
        title=one_line(task.entry.title, 200),
        status=_STATUS_WORDS.get(status, status),
        has_failed=task.has_failed,
        details=tuple(details),
        checks=tuple(
            _check_line(state, check, tails.get(check.evidence, "")) for check in list_checks(state, task)
        ),
        attempts=tuple(_describe_attempts(task)),
        questions=tuple(
            _describe_question(each, zone) for each in state.questions if each.task == task.entry.id
        ),
    )


def _check_line(state: RunState, check: CheckProof, tail: str) -> CheckLine:
    word = "red before" if check.fails_as_before else check.verdict
    code = "" if check.exit_code in (0, None) else f", exit code {check.exit_code}"
    end = plain(tail).rstrip().splitlines()[-TAIL_LINES:] if check.verdict != "pass" else []
    return CheckLine(
        name=one_line(check.gate, 60),
        command=plain(check.command).strip(),
        result=f"{word}{code}, {duration(check.seconds)}{_describe_rounds(check)}",
        before=_PROOF_WORDS[check.before],
        evidence=f"orchestrator logs {state.run} --evidence {check.evidence}",
        tail="\n".join(one_line(line, 200) for line in end),
        has_passed=check.verdict == "pass" and not check.fails_as_before,
    )


def _describe_rounds(check: CheckProof) -> str:
    return f", {'flaky, ' if check.flaky else ''}{check.runs} rounds" if check.runs > 1 else ""


def _describe_attempts(task: TaskState) -> list[str]:
    found = []
    for attempt in task.attempts:
        status = "running" if attempt.end is None else attempt.end.status.replace("_", " ")
        took = (
            ""
            if attempt.ended is None
            else f" after {duration(seconds_between(attempt.started, attempt.ended))}"
        )
        reason = attempt_reason(attempt)
        why = f": {one_line(reason, 300)}" if reason else ""
        found.append(f"{attempt.number}: {status}{took}{why}")
    return found


def _describe_question(question: QuestionState, zone: Zone) -> str:
    asked = (
        f"{question.asked.question} ({moment(question.asked_at, zone)}): {one_line(question.asked.text, 500)}"
    )
    if question.answer is None:
        return f"{asked} It is open."
    return f"{asked} Answer by {one_line(question.answer.by, 80)}: {one_line(question.answer.text, 500)}"
