"""Histories of a run in a few words: each entry is a fact as the engine writes it, by default of task 1."""

from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.run.facts import (
    AttemptEnded,
    AttemptStarted,
    AttemptStatus,
    BaseRunEnded,
    Body,
    BranchReady,
    CandidateMade,
    CandidateRefused,
    Claim,
    EndToEndEnded,
    Fact,
    GateEnded,
    GateStarted,
    LandingRefused,
    LandingStarted,
    QuestionAnswered,
    QuestionAsked,
    RunEnded,
    RunOptions,
    RunResumed,
    RunStarted,
    RunStatus,
    TaskAccepted,
    TaskEntry,
    TaskFinished,
    TaskStarted,
    TreeCompared,
    TreeSaved,
    UndoneTask,
    Verdict,
    WorkUndone,
)
from orchestrator.run.state import RunState, fold

RUN = "trial-1"
OPTIONS = RunOptions(agent="nop")


class Entry(NamedTuple):
    body: Body
    task: str | None = None
    attempt: int | None = None


def numbered(entries: Iterable[Entry], *, first: int = 1) -> list[Fact]:
    """Entries as facts of one run, a second apart."""
    return [
        Fact(
            run=RUN,
            n=n,
            at=f"2025-01-01T00:{n // 60:02}:{n % 60:02}.000Z",
            task=entry.task,
            attempt=entry.attempt,
            body=entry.body,
        )
        for n, entry in enumerate(entries, first)
    ]


def state_after(*entries: Entry) -> RunState:
    return fold(numbered(entries))


def begun(*tasks: str, end_to_end: bool = False) -> Entry:
    return Entry(
        RunStarted(
            plan="plans/greeting.md",
            plan_title="A greeting",
            folder="/code",
            branch="milestone/greeting",
            base="base0",
            head="base0",
            tasks=tuple(
                TaskEntry(id=task, title=f"Title of {task}", type="CODING", hash=f"hash of {task}")
                for task in tasks or ("1",)
            ),
            end_to_end=end_to_end,
            options=OPTIONS,
        )
    )


def resumed(**options: str) -> Entry:
    return Entry(RunResumed(options=RunOptions(agent="nop", guidance=options.get("guidance"))))


BASE_CHECKED = Entry(BaseRunEnded())
ON_BRANCH = Entry(BranchReady(branch="milestone/greeting", commit="base0"))


def task_started(task: str = "1") -> Entry:
    return Entry(TaskStarted(title=f"Title of {task}", parent="base0"), task)


READY = (begun(), BASE_CHECKED, ON_BRANCH, task_started())
"""A run of one task, up to its first attempt."""


def attempt(number: int = 1, task: str = "1", *, parent: str = "base0", agent: str = "") -> Entry:
    return Entry(
        AttemptStarted(
            container=f"ktrdr-coding-agent-{RUN}-{task}-{number}",
            session=f"session of {task}",
            resumed=number > 1,
            parent=parent,
            folder=f"attempts/{task}/{number}",
            agent=agent,
        ),
        task,
        number,
    )


def ended(
    status: AttemptStatus,
    number: int = 1,
    task: str = "1",
    *,
    reason: str | None = None,
    claim: Claim | None = None,
    no_change: str | None = None,
    until: str | None = None,
) -> Entry:
    if claim is None and status in ("completed", "needs_human"):
        question = "Which?" if status == "needs_human" else None
        claim = Claim(status=status, summary="Said.", question=question, no_change=no_change)
    return Entry(
        AttemptEnded(status=status, reason=reason, exit_code=0, claim=claim, until=until), task, number
    )


def saved(number: int = 1, task: str = "1") -> Entry:
    return Entry(TreeSaved(ref=f"refs/ktrdr/trees/{number}", commit=f"tree{number}"), task, number)


def compared(number: int = 1, task: str = "1", *, edited: tuple[str, ...] = (), head: str = "base0") -> Entry:
    return Entry(TreeCompared(head=head, edited=edited), task, number)


def candidate(
    number: int = 1,
    task: str = "1",
    *,
    evidence: tuple[str, ...] = ("e1",),
    changed: bool = True,
    by_hand: bool = False,
    commit: str | None = None,
) -> Entry:
    commit = commit or f"candidate{task}.{number}"
    return Entry(
        CandidateMade(
            by_hand=by_hand, commit=commit, tree="tree", parent="base0", changed=changed, evidence=evidence
        ),
        task,
        number,
    )


def refused(number: int = 1, task: str = "1") -> Entry:
    return Entry(CandidateRefused(reason="git takes no file of mode 000: secret"), task, number)


def gate_started(evidence: str = "e1", number: int | None = 1, task: str | None = "1") -> Entry:
    body = GateStarted(gate="verify-1", command="make check", evidence=evidence, candidate="c")
    return Entry(body, task, number)


def gate(
    verdict: Verdict,
    number: int | None = 1,
    task: str | None = "1",
    *,
    evidence: str = "e1",
    command: str = "make check",
    tail: str = "the end\n",
    detail: str = "",
) -> Entry:
    exit_codes: dict[Verdict, int | None] = {"pass": 0, "fail": 2, "unavailable": None}
    return Entry(
        GateEnded(
            gate="verify-1",
            command=command,
            verdict=verdict,
            exit_code=exit_codes[verdict],
            evidence=evidence,
            seconds=0.5,
            candidate="c",
            tail=tail,
            output_sha256="0" * 64,
            image="sha256:1",
            detail=detail,
        ),
        task,
        number,
    )


def landing(number: int = 1, task: str = "1") -> Entry:
    body = LandingStarted(
        candidate=f"candidate{task}.{number}", branch="milestone/greeting", expected="base0"
    )
    return Entry(body, task, number)


def landing_refused(number: int = 1, task: str = "1") -> Entry:
    return Entry(LandingRefused(reason="the branch moved"), task, number)


def finished(status: str = "completed", number: int | None = 1, task: str = "1") -> Entry:
    commit = f"candidate{task}.{number}" if status == "completed" else None
    reason = "no more attempts" if status == "failed" else None
    body = TaskFinished(status=status, commit=commit, reason=reason)  # type: ignore[arg-type]
    return Entry(body, task, number)


def accepted(task: str = "1") -> Entry:
    return Entry(TaskAccepted(by="resume --accept"), task)


def asked(number: int = 1, task: str = "1", *, question: str = "q1") -> Entry:
    body = QuestionAsked(question=question, text="Which?", options=("a", "b"), recommendation="a")
    return Entry(body, task, number)


def answered(question: str = "q1", text: str = "a") -> Entry:
    return Entry(QuestionAnswered(question=question, by="ada", text=text))


def scenario(status: str) -> Entry:
    return Entry(EndToEndEnded(status=status, commit="candidate1.1", evidence=("e9",)))  # type: ignore[arg-type]


def undone(*tasks: str) -> Entry:
    return Entry(WorkUndone(tasks=tuple(UndoneTask(task=task, commit="c") for task in tasks)))


def run_ended(status: RunStatus, exit_code: int = 1) -> Entry:
    return Entry(RunEnded(status=status, exit_code=exit_code, reason="because"))
