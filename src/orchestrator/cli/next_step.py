"""The last line of a run: one command that can be typed as it is, and the sentences before it.

The command has to do what its line promises, from the folder in which it is printed: in another folder than
the run's it begins with `cd`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.run.endings import has_failed_before_start, is_base_run
from orchestrator.run.facts import RunCause, RunStatus
from orchestrator.run.state import AttemptState, RunState
from orchestrator.supervision.base_run import list_red_guards
from orchestrator.supervision.decide import is_idle
from orchestrator.text import one_line, plain, shell_word

WAITS_FOR: dict[RunCause, str] = {
    "usage_limit": "It waits for the provider's usage limit to end.",
    "rate_limit": "It waits for the provider's rate limit to end.",
    "model_away": "It waits for the provider to answer again.",
    "credential_refused": "It waits for a credential that the provider accepts.",
    "billing": "It waits for the provider's account to be topped up.",
    "model_unknown": "It waits for a model that the provider has: --model MODEL",
    "until": "The time given by --until has come; it continues when you resume it.",
    "scheduled": "It was to begin at the time given by --at.",
    "engine_away": "It waits for the container engine to answer.",
    "image_missing": "It waits for the agent image: orchestrator image build",
    "disk_full": "It waits for space on the disk.",
    "journal_unwritable": "It waits for a journal that can be written.",
    "base_red": "It waits until you have fixed that guard, or give a hint for another attempt: -g TEXT",
    "interrupted_often": "It waits until you have fixed what stops its containers.",
    "gate_unavailable": "It waits until the gate can be run.",
    "landing_refused": "It waits until the finished work can be added to the branch.",
}
"""A sentence for each cause: the event that a parked run waits for. The line above it has the reason."""


class NextStep(Struct, frozen=True, kw_only=True):
    command: str
    before: tuple[str, ...] = ()
    """Sentences for the lines just before it."""


def next_step(state: RunState, status: RunStatus, here: Path | None, *, has_owner: bool = False) -> NextStep:
    """The next command for the user, with its explanation. `here` is the folder where it would be typed.

    A run with an owner that waits continues by itself, and no other process may resume it.
    """
    there = "" if str(here) == state.start.folder else f"cd {shell_word(state.start.folder)} && "
    full = "refs/heads/" if state.start.branch_has_namesake else ""
    run, branch = state.run, shell_word(f"{full}{state.start.branch}")
    resume = f"{there}orchestrator resume {run}"
    match status:
        case "running":
            return NextStep(command=f"orchestrator watch {run}", before=_describe_questions(state))
        case "completed":
            return NextStep(
                command=f"{there}git diff {state.start.base[:12]}...{branch}",
                before=(f"To merge it, switch to the branch that should have it, then: git merge {branch}",),
            )
        case "waiting":
            step = _answer_owner(state) if has_owner else _ask_for_answer(state, resume)
            return replace(step, before=(*_describe_failed(state, resume), *step.before))
        case "parked" if has_owner:
            stays = "It continues by itself, also with an answer that you give meanwhile."
            before = (*_describe_failed(state, resume), *_describe_questions(state), stays)
            return NextStep(command=f"orchestrator watch {run}", before=before)
        case "parked":
            cause = None if state.end is None else state.end.cause
            waits = (WAITS_FOR[cause],) if cause in WAITS_FOR else ()
            others = (*_describe_failed(state, resume), *_describe_questions(state))
            before = (*others, *_ways_out(state), *waits, *_point_to_red_guard(state))
            return NextStep(command=resume, before=before)
        case "interrupted":
            return NextStep(
                command=resume, before=(*_describe_failed(state, resume), *_describe_questions(state))
            )
        case "cancelled":
            return NextStep(
                command=_run_again(state, there), before=("It cannot be resumed; a new run starts over:",)
            )
        case "failed":
            if has_failed_before_start(state):
                again = _run_again(state, there)
                red = list_red_guards(state)
                if red:
                    return NextStep(
                        command=_show_evidence(state, red[0].evidence),
                        before=(f"Nothing was changed. Fix the cause, then start it again: {again}",),
                    )
                return NextStep(
                    command=again, before=("Nothing was changed. Fix the cause, then start it again:",)
                )
            return _step_after_failure(state, resume)
        case _ as never:
            assert_never(never)


def choose_run_to_continue(runs: Sequence[tuple[RunState, RunStatus]]) -> str | None:
    """Of runs in a list, newest first, the one whose next step the list names; None for an empty list.

    Runs that need the user come before runs at work, and those before runs that have ended.
    """
    for wanted in (("waiting",), ("parked", "failed", "interrupted"), ("running",)):
        for state, status in runs:
            if status in wanted and not is_base_run(state):
                return state.run
    return runs[0][0].run if runs else None


def _ways_out(state: RunState) -> tuple[str, ...]:
    """How to let a candidate land that was refused: the lines of the run's reason after the first."""
    if state.end is None or state.end.reason is None or state.end.cause != "landing_refused":
        return ()
    return tuple(one_line(line, 2000) for line in state.end.reason.splitlines()[1:])


def _answer_owner(state: RunState) -> NextStep:
    """How to answer a run that waits at the moment, and continues with the answer."""
    *others, last = state.open_questions
    which = f" --question {last.asked.question}" if others else ""
    then = "The run continues by itself once it is answered."
    if last.asked.recommendation:
        command = f"orchestrator answer {state.run} --recommended{which}"
        return NextStep(command=command, before=(f"{then} To take the agent's recommendation:",))
    command = f"orchestrator answer {state.run} TEXT{which}"
    return NextStep(command=command, before=(f"{then} Replace TEXT by your answer:",))


def _describe_questions(state: RunState) -> tuple[str, ...]:
    return tuple(
        f"Task {plain(question.task or '')} has a question; to answer it: "
        f"orchestrator answer {state.run} TEXT --question {question.asked.question}"
        for question in state.open_questions
    )


def _describe_failed(state: RunState, resume: str) -> tuple[str, ...]:
    """Each failed task, where the next command is not about it: what shows why, and what tries it again."""
    return tuple(
        f"Task {plain(id)} has failed; {resume} tries it again. "
        f"To see its output: {_show_failure(state, id, last)}"
        for id, last in _list_failed_attempts(state)
    )


def _show_failure(state: RunState, id: str, attempt: AttemptState) -> str:
    if attempt.failed_gates:
        return _show_evidence(state, attempt.failed_gates[0].evidence)
    return f"orchestrator logs {state.run} --task {shell_word(id)} --attempt {attempt.number}"


def _ask_for_answer(state: RunState, resume: str) -> NextStep:
    questions = state.open_questions
    if len(questions) > 1:  # `-g` would not say which one it answers
        ids = ", ".join(question.asked.question for question in questions)
        return NextStep(
            command=f"orchestrator answer {state.run} TEXT --question {questions[0].asked.question}",
            before=(f"Open questions: {ids}. Replace TEXT by your answer to each; then: {resume}",),
        )
    return NextStep(command=f"{resume} -g TEXT", before=("Replace TEXT by your answer:",))


def _point_to_red_guard(state: RunState) -> tuple[str, ...]:
    """How to see the guard that parked the run, because it fails as it did before the work."""
    if state.end is None or state.end.cause != "base_red":
        return ()
    attempts = [task.last for task in state.tasks.values() if task.last is not None]
    red = [gate.evidence for each in attempts for gate in each.failed_gates if gate.fails_as_before]
    return tuple(f"To see its output: {_show_evidence(state, id)}" for id in red[-1:])


def _run_again(state: RunState, there: str) -> str:
    path = state.start.plan
    return f"{there}orchestrator run {shell_word(f'./{path}' if path.startswith('-') else path)}"


def _step_after_failure(state: RunState, resume: str) -> NextStep:
    idle = next((id for id, attempt in _list_failed_attempts(state) if is_idle(attempt)), None)
    if idle is not None:
        or_else = f"If it is not done, give a hint: {resume} -g TEXT"
        accept = f"If task {plain(idle)} is done already, accept it as it is:"
        return NextStep(command=f"{resume} --accept {shell_word(idle)}", before=(or_else, accept))
    then = f"Fix the cause yourself, or give the agent a hint; then: {resume} -g TEXT"
    failed = list(_list_failed_attempts(state))
    if not failed:
        red = [gate.evidence for gate in state.end_to_end_gates if gate.verdict == "fail"]
        return (
            NextStep(command=_show_evidence(state, red[0]), before=(then,))
            if red
            else NextStep(command=resume)
        )
    (id, attempt), *others = failed
    also = tuple(
        f"To see the output of task {plain(other[0])}: {_show_failure(state, *other)}" for other in others
    )
    if attempt.failed_gates and _has_agent_failed(attempt):
        output = f"orchestrator logs {state.run} --task {shell_word(id)} --attempt {attempt.number}"
        also = (*also, f"To see the output of the agent: {output}")
    return NextStep(command=_show_failure(state, id, attempt), before=(*also, then))


def _show_evidence(state: RunState, evidence: str) -> str:
    return f"orchestrator logs {state.run} --evidence {evidence}"


def _list_failed_attempts(state: RunState) -> Iterator[tuple[str, AttemptState]]:
    """Each failed task with its last attempt."""
    for id, task in state.tasks.items():
        if task.finished is not None and task.finished.status == "failed" and task.last is not None:
            yield id, task.last


def _has_agent_failed(attempt: AttemptState) -> bool:
    """Whether the agent did not claim success for the candidate that its gates have judged."""
    by_hand = attempt.candidate is not None and attempt.candidate.by_hand
    return not by_hand and (attempt.end is None or attempt.end.status != "completed")
