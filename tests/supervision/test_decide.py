"""The policy of a run, by histories: what had happened, and the one next thing to do."""

import pytest
from msgspec.structs import replace
from plan_makers import checks
from run_histories import (
    BASE_CHECKED,
    ON_BRANCH,
    READY,
    Entry,
    accepted,
    answered,
    asked,
    attempt,
    begun,
    candidate,
    compared,
    ended,
    finished,
    gate,
    landing,
    landing_refused,
    refused,
    resumed,
    run_ended,
    saved,
    scenario,
    state_after,
    task_started,
    undone,
)
from scripted_world import put_in_order

from orchestrator.run.facts import (
    AttemptEnded,
    AttemptStatus,
    GateEnded,
    SetAsideStarted,
    TreeLaidBack,
    TreeSetAside,
)
from orchestrator.run.state import RunState
from orchestrator.supervision.decide import (
    BRANCH,
    CHARGED,
    MAX_INTERRUPTIONS,
    Action,
    AskUser,
    CheckBase,
    CheckEndToEnd,
    CompareFolder,
    Decision,
    EndRun,
    FailTask,
    Land,
    LayBack,
    MakeBranch,
    MakeCandidate,
    RecoverAttempt,
    RunGates,
    SetAside,
    StartAttempt,
    StartTask,
    Steps,
    Wait,
    Work,
    WorkItem,
    decide,
    reason_not_to_land,
    verify_candidate,
)
from orchestrator.supervision.failure_signatures import find_repeated_failure

ITEM = WorkItem(id="1", depends_on=(), checks=checks("make check"), change="required")
WORK = Work(items=(ITEM,), end_to_end=(), attempts=3)
WITHOUT_GATE = replace(WORK, items=(replace(ITEM, checks=()),))
TWO_GATES = replace(WORK, items=(replace(ITEM, checks=checks("a", "b")),))
UNTYPED = replace(WORK, items=(replace(ITEM, change="required_or_explained"),))
UNTYPED_WITHOUT_GATE = replace(UNTYPED, items=(replace(UNTYPED.items[0], checks=()),))
VALIDATION = replace(WORK, items=(replace(ITEM, change="optional"),))
TWO_TASKS = replace(WORK, items=(ITEM, replace(ITEM, id="2", depends_on=("1",))))
WITH_SCENARIO = replace(WORK, end_to_end=checks("make e2e"))


def said(decision: Decision) -> str:
    """A decision in a few words."""
    match decision:
        case Steps(actions=actions):
            return ", ".join(said_of(action) for action in actions)
        case Wait():
            return "wait"
        case EndRun(status=status):
            return f"end {status}"


def said_of(action: Action) -> str:
    match action:
        case StartAttempt():
            after = "nothing" if action.previous is None else action.previous.number
            return f"attempt {action.task}/{action.number} after {after}"
        case MakeCandidate():
            return f"candidate of {action.task}/{action.attempt.number}" + (
                " by hand" if action.by_hand else ""
            )
        case RecoverAttempt() | CompareFolder() | RunGates() | Land() | AskUser() | SetAside() | LayBack():
            return f"{type(action).__name__} {action.task}/{action.attempt.number}"
        case StartTask() | FailTask():
            return f"{type(action).__name__} {action.task}"
        case CheckBase() | MakeBranch() | CheckEndToEnd():
            return type(action).__name__


def done(number: int = 1, status: AttemptStatus = "completed", *, changed: bool = True) -> tuple[Entry, ...]:
    """An attempt to its candidate."""
    return (
        attempt(number),
        ended(status, number),
        candidate(number, evidence=(f"e{number}",), changed=changed),
    )


def failing(number: int) -> tuple[Entry, ...]:
    return (*done(number), gate("fail", number, evidence=f"e{number}"))


def passing(number: int = 1) -> tuple[Entry, ...]:
    return (*done(number), gate("pass", number, evidence=f"e{number}"))


def idle(number: int = 1, status: AttemptStatus = "completed") -> tuple[Entry, ...]:
    """An attempt that changes nothing, and its gate passes."""
    return (*done(number, status, changed=False), gate("pass", number, evidence=f"e{number}"))


def explained(*gates: Entry, evidence: tuple[str, ...] = ("e1",)) -> tuple[Entry, ...]:
    """An attempt that changes nothing and says why."""
    end = ended("completed", no_change="All tests pass.")
    return (attempt(), end, candidate(evidence=evidence, changed=False), *gates)


def interrupted(number: int) -> tuple[Entry, ...]:
    return (attempt(number), ended("interrupted", number), saved(number))


LANDED = (*passing(), landing(), finished())
ASKING = (attempt(), ended("needs_human"))
THREE_FAILED = (*failing(1), *failing(2), *failing(3))
NO_CANDIDATE = (attempt(), ended("completed"), refused())
AGAIN = (run_ended("failed"), resumed())
ACCEPTED = (*READY, *idle(1), *idle(2), finished("failed", None), *AGAIN, accepted())

FIRST_TIME = {
    "first the base": ((begun(),), WORK, "CheckBase"),
    "then the branch": ((begun(), BASE_CHECKED), WORK, "MakeBranch"),
    "then the task": ((begun(), BASE_CHECKED, ON_BRANCH), WORK, "StartTask 1"),
    "then its attempt": (READY, WORK, "attempt 1/1 after nothing"),
    "an attempt without an end": ((*READY, attempt()), WORK, "RecoverAttempt 1/1"),
    "it says completed": ((*READY, attempt(), ended("completed")), WORK, "candidate of 1/1"),
    "it says failed: gates for the evidence": (
        (*READY, attempt(), ended("failed")),
        WORK,
        "candidate of 1/1",
    ),
    "unclear: gates for the evidence": ((*READY, attempt(), ended("unclear")), WORK, "candidate of 1/1"),
    "a candidate": ((*READY, *done()), WORK, "RunGates 1/1"),
    "a candidate without gates": (
        (*READY, attempt(), ended("completed"), candidate(evidence=())),
        WITHOUT_GATE,
        "Land 1/1",
    ),
    "one gate of two has spoken": (
        (*READY, attempt(), ended("completed"), candidate(evidence=("e1", "e2")), gate("pass")),
        TWO_GATES,
        "RunGates 1/1",
    ),
    "one of two failed": (
        (
            *READY,
            attempt(),
            ended("completed"),
            candidate(evidence=("e1", "e2")),
            gate("pass"),
            gate("fail", evidence="e2"),
        ),
        TWO_GATES,
        "attempt 1/2 after 1",
    ),
    "all passed": ((*READY, *passing()), WORK, "Land 1/1"),
    "a gate failed": ((*READY, *failing(1)), WORK, "attempt 1/2 after 1"),
    "it says failed and its gate passes": (
        (*READY, *done(1, "failed"), gate("pass")),
        WORK,
        "attempt 1/2 after 1",
    ),
    "unclear and its gate passes": ((*READY, *done(1, "unclear"), gate("pass")), WORK, "attempt 1/2 after 1"),
    "nothing changed and the gate passes": (
        (*READY, *done(1, changed=False), gate("pass")),
        WORK,
        "attempt 1/2 after 1",
    ),
    "nothing changed where nothing need be": (
        (*READY, *done(1, changed=False), gate("pass")),
        VALIDATION,
        "Land 1/1",
    ),
    "nothing changed in an untyped task": ((*READY, *idle()), UNTYPED, "attempt 1/2 after 1"),
    "nothing changed in an untyped task, which says why": (
        (*READY, *explained(gate("pass"))),
        UNTYPED,
        "Land 1/1",
    ),
    "nothing changed, says why, and has no gate": (
        (*READY, *explained(evidence=())),
        UNTYPED_WITHOUT_GATE,
        "Land 1/1",
    ),
    "nothing changed, says why, and its gate fails": (
        (*READY, *explained(gate("fail"))),
        UNTYPED,
        "attempt 1/2 after 1",
    ),
    "a task that writes code cannot explain it": (
        (*READY, *explained(gate("pass"))),
        WORK,
        "attempt 1/2 after 1",
    ),
    "twice nothing changed and its gate passed": ((*READY, *idle(1), *idle(2)), WORK, "FailTask 1"),
    "twice nothing changed in an untyped task": ((*READY, *idle(1), *idle(2)), UNTYPED, "FailTask 1"),
    "twice nothing changed, without an outcome": (
        (*READY, *idle(1, "unclear"), *idle(2, "unclear")),
        WORK,
        "FailTask 1",
    ),
    "twice nothing changed, and it says that it failed": (
        (*READY, *idle(1, "failed"), *idle(2, "failed")),
        WORK,
        "attempt 1/3 after 2",
    ),
    "twice nothing changed, without an outcome, where nothing need be": (
        (*READY, *idle(1, "unclear"), *idle(2, "unclear")),
        VALIDATION,
        "attempt 1/3 after 2",
    ),
    "twice nothing changed without a gate": (
        (
            *READY,
            *(attempt(1), ended("completed", 1), candidate(1, evidence=(), changed=False)),
            *(attempt(2), ended("completed", 2), candidate(2, evidence=(), changed=False)),
        ),
        WITHOUT_GATE,
        "attempt 1/3 after 2",
    ),
    "nothing changed after a failed gate": (
        (*READY, *failing(1), *idle(2)),
        WORK,
        "attempt 1/3 after 2",
    ),
    "no candidate can be made": ((*READY, *NO_CANDIDATE), WORK, "attempt 1/2 after 1"),
    "over its time": ((*READY, attempt(), ended("timed_out")), WORK, "attempt 1/2 after 1"),
    "interrupted": ((*READY, *interrupted(1)), WORK, "attempt 1/2 after 1"),
    "a limit": ((*READY, attempt(), ended("parked")), WORK, "end parked"),
    "a gate could not be run": ((*READY, *done(), gate("unavailable")), WORK, "end parked"),
    "a gate could not be run beside one that failed": (
        (
            *READY,
            attempt(),
            ended("completed"),
            candidate(evidence=("e1", "e2")),
            gate("fail"),
            gate("unavailable", evidence="e2"),
        ),
        TWO_GATES,
        "end parked",
    ),
    "three failed": ((*READY, *THREE_FAILED), WORK, "FailTask 1"),
    "a failed task": ((*READY, *THREE_FAILED, finished("failed", None)), WORK, "end failed"),
    "it needs the user": ((*READY, *ASKING), WORK, "AskUser 1/1"),
    "it has asked": ((*READY, *ASKING, asked()), WORK, "end waiting"),
    "it is answered": ((*READY, *ASKING, asked(), answered()), WORK, "attempt 1/2 after 1"),
    "killed while landing": ((*READY, *passing(), landing()), WORK, "Land 1/1"),
    "the branch does not take it": ((*READY, *passing(), landing(), landing_refused()), WORK, "end parked"),
    "landed": ((*READY, *LANDED), WORK, "end completed"),
    "the next task": (
        (begun("1", "2"), BASE_CHECKED, ON_BRANCH, task_started(), *LANDED),
        TWO_TASKS,
        "StartTask 2",
    ),
    "no next task after a failed one": (
        (begun("1", "2"), BASE_CHECKED, ON_BRANCH, task_started(), finished("failed")),
        TWO_TASKS,
        "end failed",
    ),
    "the scenario": ((*READY, *LANDED), WITH_SCENARIO, "CheckEndToEnd"),
    "the scenario passed": ((*READY, *LANDED, scenario("passed")), WITH_SCENARIO, "end completed"),
    "the scenario failed": ((*READY, *LANDED, scenario("failed")), WITH_SCENARIO, "end failed"),
    "the scenario could not be run": (
        (*READY, *LANDED, scenario("unavailable")),
        WITH_SCENARIO,
        "end parked",
    ),
}

RESUMED = {
    "killed in an attempt": ((*READY, attempt(), resumed()), "RecoverAttempt 1/1"),
    "first a comparison of the folder": ((*READY, *THREE_FAILED, *AGAIN), "CompareFolder 1/3"),
    "gates of a failed task first": ((*READY, *failing(1), *AGAIN, compared()), "candidate of 1/1 by hand"),
    "edited where nothing had failed": (
        (*READY, attempt(), ended("timed_out"), *AGAIN, compared(edited=("a",))),
        "candidate of 1/1 by hand",
    ),
    "nothing edited, nothing failed": ((*READY, *interrupted(1), *AGAIN, compared()), "attempt 1/2 after 1"),
    "fixed by hand": (
        (*READY, *failing(1), *AGAIN, compared(edited=("a",)), candidate(by_hand=True), gate("pass")),
        "Land 1/1",
    ),
    "not fixed": (
        (*READY, *failing(1), *AGAIN, compared(), candidate(by_hand=True), gate("fail")),
        "attempt 1/2 after 1",
    ),
    "fixed by hand after the agent said failed": (
        (
            *READY,
            *done(1, "failed"),
            gate("fail"),
            *AGAIN,
            compared(edited=("a",)),
            candidate(by_hand=True),
            gate("pass"),
        ),
        "Land 1/1",
    ),
    "by hand, but nothing differs": (
        (*READY, *failing(1), *AGAIN, compared(), candidate(by_hand=True, changed=False), gate("pass")),
        "attempt 1/2 after 1",
    ),
    "killed before its candidate": (
        (*READY, attempt(), ended("completed"), resumed(), compared()),
        "candidate of 1/1",
    ),
    "killed before its gates": ((*READY, *done(), resumed(), compared()), "candidate of 1/1"),
    "killed before its gates, and it has changed nothing": (
        (*READY, *done(changed=False), resumed(), compared()),
        "candidate of 1/1",
    ),
    "its gate could not be run": (
        (*READY, *done(), gate("unavailable"), run_ended("parked"), resumed(), compared()),
        "candidate of 1/1",
    ),
    "killed before landing": ((*READY, *passing(), resumed(), compared()), "candidate of 1/1"),
    "killed while landing": ((*READY, *passing(), landing(), resumed()), "Land 1/1"),
    "landing refused": (
        (*READY, *passing(), landing(), landing_refused(), run_ended("parked"), resumed(), compared()),
        "candidate of 1/1",
    ),
    "the folder could not be read, and cannot now": (
        (*READY, *NO_CANDIDATE, *AGAIN, compared(edited=("a",)), refused()),
        "attempt 1/2 after 1",
    ),
    "the folder could not be read, and was fixed": (
        (*READY, *NO_CANDIDATE, *AGAIN, compared(edited=("a",))),
        "candidate of 1/1 by hand",
    ),
    "still waiting": ((*READY, *ASKING, asked(), run_ended("waiting"), resumed()), "end waiting"),
    "an answer": (
        (*READY, *ASKING, asked(), run_ended("waiting"), resumed(), answered(), compared()),
        "attempt 1/2 after 1",
    ),
    "fresh attempts, numbered on": (
        (*READY, *THREE_FAILED, finished("failed", None), *AGAIN, compared(3), candidate(3), gate("fail", 3)),
        "attempt 1/4 after 3",
    ),
    "two of them used": (
        (*READY, *THREE_FAILED, *AGAIN, compared(3), candidate(3), gate("fail", 3), *failing(4), *failing(5)),
        "attempt 1/6 after 5",
    ),
    "all of them used": (
        (*READY, *THREE_FAILED, *AGAIN, *failing(4), *failing(5), *failing(6)),
        "FailTask 1",
    ),
    "nothing changed twice before the resume": (
        (*READY, *idle(1), *idle(2), finished("failed", None), *AGAIN, compared(2)),
        "attempt 1/3 after 2",
    ),
    "nothing changed once more": (
        (*READY, *idle(1), *idle(2), finished("failed", None), *AGAIN, compared(2), *idle(3)),
        "attempt 1/4 after 3",
    ),
    "accepted": ((*ACCEPTED,), "CompareFolder 1/2"),
    "accepted: its gates run again": ((*ACCEPTED, compared(2)), "candidate of 1/2"),
    "accepted, and edited": ((*ACCEPTED, compared(2, edited=("a",))), "candidate of 1/2 by hand"),
    "accepted, and its gates pass": (
        (*ACCEPTED, compared(2), candidate(2, changed=False), gate("pass", 2)),
        "Land 1/2",
    ),
    "accepted, and a gate fails": (
        (*ACCEPTED, compared(2), candidate(2, changed=False), gate("fail", 2)),
        "FailTask 1",
    ),
    "accepted, and the folder cannot be committed": ((*ACCEPTED, compared(2), refused(2)), "FailTask 1"),
    "accepted, and killed": ((*ACCEPTED, compared(2), resumed(), compared(2)), "candidate of 1/2"),
    "accepted, failed, and resumed": (
        (*ACCEPTED, compared(2), refused(2), finished("failed", None), *AGAIN, compared(2)),
        "attempt 1/3 after 2",
    ),
    "accepted, landed and undone": (
        (
            *ACCEPTED,
            compared(2),
            candidate(2, changed=False),
            gate("pass", 2),
            landing(2),
            finished("completed", 2),
            undone("1"),
            resumed(),
            task_started(),
            *idle(3),
        ),
        "attempt 1/4 after 3",
    ),
    "a spent limit": ((*READY, attempt(), ended("parked"), *AGAIN, compared()), "attempt 1/2 after 1"),
    "undone": ((*READY, *LANDED, undone("1"), resumed()), "StartTask 1"),
    "undone and started": (
        (*READY, *LANDED, undone("1"), resumed(), task_started()),
        "attempt 1/2 after nothing",
    ),
    "undone attempts are not charged": (
        (*READY, *THREE_FAILED, undone("1"), task_started(), *failing(4)),
        "attempt 1/5 after 4",
    ),
}


@pytest.mark.parametrize(("entries", "work", "expected"), FIRST_TIME.values(), ids=FIRST_TIME)
def test_the_next_step(entries: tuple[Entry, ...], work: Work, expected: str) -> None:
    assert said(decide(state_after(*entries), work)) == expected


@pytest.mark.parametrize(("entries", "expected"), RESUMED.values(), ids=RESUMED)
def test_the_next_step_of_a_resumed_run(entries: tuple[Entry, ...], expected: str) -> None:
    assert said(decide(state_after(*entries), WORK)) == expected


def test_a_scenario_that_failed_is_tried_again_after_a_resume_and_one_that_passed_is_not() -> None:
    history = (*READY, *LANDED)
    failed = state_after(*history, scenario("failed"), *AGAIN)
    passed = state_after(*history, scenario("passed"), *AGAIN)
    assert said(decide(failed, WITH_SCENARIO)) == "CheckEndToEnd"
    assert said(decide(passed, WITH_SCENARIO)) == "end completed"


@pytest.mark.parametrize("status", ["completed", "failed", "unclear", "timed_out"])
def test_these_ends_are_charged(status: AttemptStatus) -> None:
    assert status in CHARGED
    work = replace(WORK, attempts=1)
    history = (*READY, attempt(), ended(status), candidate(), gate("fail"))
    assert said(decide(state_after(*history), work)) == "FailTask 1"


def test_interruptions_are_not_charged_and_their_number_is_limited() -> None:
    assert MAX_INTERRUPTIONS == 3
    twice = (*READY, *interrupted(1), *interrupted(2))
    thrice = (*twice, *interrupted(3))
    assert said(decide(state_after(*twice), replace(WORK, attempts=1))) == "attempt 1/3 after 2"
    assert said(decide(state_after(*thrice), WORK)) == "end parked"
    assert said(decide(state_after(*thrice, *AGAIN, compared(3)), WORK)) == "attempt 1/4 after 3"


def end_of(entries: tuple[Entry, ...], work: Work = WORK) -> EndRun:
    end = decide(state_after(*entries), work)
    assert isinstance(end, EndRun)
    return end


def test_the_end_of_a_run_says_why() -> None:
    assert "Which?" in (end_of((*READY, *ASKING, asked())).reason or "")
    parked = end_of(
        (*READY, attempt(), ended("parked", reason="usage limit", until="2030-01-01T00:00:00.000Z"))
    )
    assert parked.reason == "task 1: usage limit" and parked.until == "2030-01-01T00:00:00.000Z"
    refusal = end_of((*READY, *passing(), landing(), landing_refused()))
    assert "the branch moved" in (refusal.reason or "")


def test_a_failed_task_names_its_last_reason_and_the_limit() -> None:
    decision = decide(state_after(*READY, *THREE_FAILED), WORK)
    assert isinstance(decision, Steps)
    (action,) = decision.actions
    assert isinstance(action, FailTask)
    assert action.reason == "verify-1 failed with exit code 2 (e3); 3 of 3 attempts used"


def test_a_task_that_seems_to_be_done_says_how_to_accept_it() -> None:
    decision = decide(state_after(*READY, *idle(1), *idle(2)), WORK)
    assert isinstance(decision, Steps)
    (action,) = decision.actions
    assert isinstance(action, FailTask)
    assert action.reason.startswith("seems to be done already")
    assert action.reason.endswith("orchestrator resume trial-1 --accept 1")


def test_with_one_attempt_a_task_seems_to_be_done_after_the_first() -> None:
    decision = decide(state_after(*READY, *idle()), replace(WORK, attempts=1))
    assert isinstance(decision, Steps) and isinstance(decision.actions[0], FailTask)
    assert decision.actions[0].reason.startswith("seems to be done already")


VERIFIED = {
    "its gate passed": (passing(), WORK, None),
    "it has no gate": (
        (attempt(), ended("completed"), candidate(evidence=())),
        WITHOUT_GATE,
        "it has no check",
    ),
    "nothing changed where nothing need be": (idle(), VALIDATION, None),
    "untyped, and changed": (passing(), UNTYPED, None),
    "untyped, and nothing changed": (
        explained(gate("pass")),
        UNTYPED,
        "it changed nothing: All tests pass.",
    ),
}


@pytest.mark.parametrize(("entries", "work", "reason"), VERIFIED.values(), ids=VERIFIED)
def test_what_gates_have_shown(entries: tuple[Entry, ...], work: Work, reason: str | None) -> None:
    state = state_after(*READY, *entries)
    task = state.tasks["1"]
    assert task.last is not None
    expected = ("verified", None) if reason is None else ("unverified", reason)
    assert verify_candidate(state, task, work.items[0], task.last) == expected


def test_what_the_user_accepts_is_unverified() -> None:
    state = state_after(*ACCEPTED, compared(2), candidate(2, changed=False), gate("pass", 2))
    task = state.tasks["1"]
    assert task.last is not None
    assert verify_candidate(state, task, ITEM, task.last) == (
        "unverified",
        "accepted by the user (resume --accept)",
    )


def against_landing(state: RunState) -> str | None:
    return reason_not_to_land(state.tasks["1"].attempts[-1], ITEM)


@pytest.mark.parametrize("status", ["failed", "unclear", "timed_out", "interrupted"])
def test_only_completed_passes(status: AttemptStatus) -> None:
    history = (*READY, attempt(), ended(status), candidate(), gate("pass"))
    assert against_landing(state_after(*history)) is not None


def at(task: str, *entries: Entry) -> tuple[Entry, ...]:
    """The same entries, of another task."""
    return tuple(entry._replace(task=task) for entry in entries)


INDEPENDENT = replace(
    WORK, items=tuple(replace(ITEM, id=task, depends_on=()) for task in ("1", "2", "3")), workers=2
)
IN_ORDER = replace(INDEPENDENT, items=put_in_order(INDEPENDENT.items))
AFTER_ONE = replace(
    INDEPENDENT, items=(INDEPENDENT.items[0], *(replace(i, depends_on=("1",)) for i in INDEPENDENT.items[1:]))
)
THREE = (begun("1", "2", "3"), BASE_CHECKED, ON_BRANCH)
BOTH_STARTED = (*THREE, task_started("1"), task_started("2"))
ONE_LANDED = (*THREE, task_started("1"), *LANDED)
TWO_WORKERS = {
    "nothing beside the base": ((begun("1", "2", "3"),), INDEPENDENT, {BRANCH}, "wait"),
    "tasks start one by one, because the branch may move": (THREE, INDEPENDENT, set(), "StartTask 1"),
    "not while the branch is busy": (THREE, INDEPENDENT, {"1", BRANCH}, "wait"),
    "the second beside the first": (
        (*THREE, task_started("1"), attempt()),
        INDEPENDENT,
        {"1"},
        "StartTask 2",
    ),
    "two attempts at the same time": (
        BOTH_STARTED,
        INDEPENDENT,
        set(),
        "attempt 1/1 after nothing, attempt 2/1 after nothing",
    ),
    "no third beside two": (
        (*BOTH_STARTED, attempt(), *at("2", attempt())),
        INDEPENDENT,
        {"1", "2"},
        "wait",
    ),
    "what is under way comes before what is first": (
        (*THREE, task_started("2"), *at("2", attempt(), ended("completed"))),
        replace(INDEPENDENT, workers=1),
        set(),
        "candidate of 2/1",
    ),
    "nothing beside a task on which all others wait": (
        (*THREE, task_started("1"), attempt()),
        IN_ORDER,
        {"1"},
        "wait",
    ),
    "those that waited for it": (ONE_LANDED, AFTER_ONE, set(), "StartTask 2"),
    "and only one where the next waits for all": (
        (*ONE_LANDED, task_started("2"), *at("2", attempt())),
        IN_ORDER,
        {"2"},
        "wait",
    ),
    "one lands, the other is gated": (
        (*BOTH_STARTED, *passing(), *at("2", *done())),
        INDEPENDENT,
        set(),
        "Land 1/1, RunGates 2/1",
    ),
    "of two that passed one lands first": (
        (*BOTH_STARTED, *passing(), *at("2", *passing())),
        INDEPENDENT,
        set(),
        "Land 1/1",
    ),
    "an attempt at work is not recovered": (
        (*BOTH_STARTED, attempt(), *at("2", *done())),
        INDEPENDENT,
        {"1"},
        "RunGates 2/1",
    ),
    "one of a killed owner is, before everything else": (
        (*BOTH_STARTED, attempt(), *at("2", *done()), resumed()),
        INDEPENDENT,
        set(),
        "RecoverAttempt 1/1",
    ),
    "and alone": ((*BOTH_STARTED, attempt(), *at("2", attempt()), resumed()), INDEPENDENT, {"1"}, "wait"),
    "a failed task waits for the others": (
        (*BOTH_STARTED, finished("failed"), *at("2", attempt())),
        replace(INDEPENDENT, items=INDEPENDENT.items[:2]),
        {"2"},
        "wait",
    ),
    "and the others continue without it": (
        (*BOTH_STARTED, finished("failed"), *at("2", *done())),
        INDEPENDENT,
        set(),
        "RunGates 2/1, StartTask 3",
    ),
    "a question waits for the others": (
        (*BOTH_STARTED, *ASKING, asked(), *at("2", attempt())),
        replace(INDEPENDENT, items=INDEPENDENT.items[:2]),
        {"2"},
        "wait",
    ),
    "and counts more than a failed task": (
        (*BOTH_STARTED, finished("failed"), *at("2", *ASKING, asked(task="2"))),
        replace(INDEPENDENT, items=INDEPENDENT.items[:2]),
        set(),
        "end waiting",
    ),
    "but an interrupted landing is finished first": (
        (*BOTH_STARTED, *ASKING, asked(), *at("2", *passing(), landing()), resumed()),
        INDEPENDENT,
        set(),
        "Land 2/1",
    ),
}


@pytest.mark.parametrize(("entries", "work", "busy", "expected"), TWO_WORKERS.values(), ids=TWO_WORKERS)
def test_what_starts_beside_busy_lanes(
    entries: tuple[Entry, ...], work: Work, busy: set[str], expected: str
) -> None:
    assert said(decide(state_after(*entries), work, frozenset(busy))) == expected


def aside(task: str, number: int = 1) -> tuple[Entry, ...]:
    """The files of an attempt are set aside."""
    started = SetAsideStarted(commit=f"aside of {task}", parent="base0", ref=f"refs/ktrdr/aside/{task}")
    return (Entry(started, task, number), Entry(TreeSetAside(), task, number))


def back(task: str, *, commit: str | None = "back") -> Entry:
    return Entry(TreeLaidBack(commit=commit, parent="head1"), task, 1)


def done_at(task: str) -> tuple[Entry, ...]:
    return (task_started(task), *at(task, *LANDED))


ALONE = replace(INDEPENDENT, workers=1)
SILENT = replace(IN_ORDER, workers=1)
FAILS = (attempt(), ended("failed", reason="no"), candidate(evidence=()), finished("failed", None))
ONE_FAILED = (*THREE, task_started("1"), *FAILS)
DIFFERENT = (attempt(), ended("failed", reason="other"), candidate(evidence=()), finished("failed", None))
ONE_ASIDE = (*ONE_FAILED, *aside("1"))
AFTER_A_FAILURE = {
    "what it left is set aside before an independent task": (ONE_FAILED, ALONE, "SetAside 1/1"),
    "also if setting aside was killed": ((*ONE_ASIDE[:-1], resumed()), ALONE, "SetAside 1/1"),
    "then the next one starts": (ONE_ASIDE, ALONE, "StartTask 2"),
    "what a question left, too": ((*THREE, task_started("1"), *ASKING, asked()), ALONE, "SetAside 1/1"),
    "a task that says nothing waits for the one before it": (ONE_FAILED, SILENT, "end failed"),
    "but not if one more may fail": (ONE_FAILED, replace(SILENT, failed_tasks=2), "SetAside 1/1"),
    "and then no further one": (
        (*ONE_ASIDE, task_started("2"), *at("2", *DIFFERENT)),
        replace(SILENT, failed_tasks=2),
        "end failed",
    ),
    "a task that says nothing beside those that say something": (
        ONE_FAILED,
        replace(
            ALONE,
            items=(
                ITEM,
                replace(ITEM, id="2"),
                replace(ITEM, id="3", depends_on=("2",), names_no_dependencies=True),
            ),
        ),
        "SetAside 1/1",
    ),
    "nothing is left that does not depend on it": (ONE_FAILED, replace(AFTER_ONE, workers=1), "end failed"),
    "its files stay when no other task follows": (
        (*THREE, *done_at("1"), *done_at("2"), task_started("3"), *at("3", *FAILS)),
        ALONE,
        "end failed",
    ),
    "the run ends when the others are done": (
        (*ONE_ASIDE, *done_at("2"), *done_at("3")),
        ALONE,
        "end failed",
    ),
    "a question counts more than a failure": (
        (*ONE_ASIDE, task_started("2"), *at("2", *ASKING, asked()), *aside("2"), *done_at("3")),
        ALONE,
        "end waiting",
    ),
    "an answer meanwhile is taken in, and what the task left comes back first": (
        (*THREE, task_started("1"), *ASKING, asked(), *aside("1"), *done_at("2"), answered()),
        ALONE,
        "LayBack 1/1",
    ),
    "then the same session continues": (
        (*THREE, task_started("1"), *ASKING, asked(), *aside("1"), *done_at("2"), answered(), back("1")),
        ALONE,
        "attempt 1/2 after 1",
    ),
    "a resume brings it back": ((*ONE_ASIDE, *done_at("2"), resumed()), ALONE, "LayBack 1/1"),
    "compares the folder": ((*ONE_ASIDE, *done_at("2"), resumed(), back("1")), ALONE, "CompareFolder 1/1"),
    "or starts over without": (
        (*ONE_ASIDE, *done_at("2"), resumed(), back("1", commit=None)),
        ALONE,
        "attempt 1/2 after 1",
    ),
    "what is in the folder comes before what is set aside": (
        (*ONE_ASIDE, *done_at("2"), task_started("3"), *at("3", *DIFFERENT), resumed()),
        ALONE,
        "CompareFolder 3/1",
    ),
    "two in a row fail in the same way": (
        (*ONE_ASIDE, task_started("2"), *at("2", *FAILS)),
        ALONE,
        "end failed",
    ),
    "but one between them landed": (
        (begun(*"1234"), *ONE_ASIDE[1:], *done_at("2"), task_started("3"), *at("3", *FAILS)),
        replace(ALONE, items=(*ALONE.items, replace(ITEM, id="4", depends_on=()))),
        "SetAside 3/1",
    ),
    "two in a row fail differently": (
        (*ONE_ASIDE, task_started("2"), *at("2", *DIFFERENT)),
        ALONE,
        "SetAside 2/1",
    ),
}


@pytest.mark.parametrize(("entries", "work", "expected"), AFTER_A_FAILURE.values(), ids=AFTER_A_FAILURE)
def test_one_failed_task_does_not_end_the_night(
    entries: tuple[Entry, ...], work: Work, expected: str
) -> None:
    assert said(decide(state_after(*entries), work)) == expected


def test_the_end_names_every_task_that_is_open() -> None:
    asking = (task_started("2"), *at("2", *ASKING, asked()), *aside("2"))
    end = decide(state_after(*ONE_ASIDE, *asking, *done_at("3")), ALONE)
    assert isinstance(end, EndRun)
    assert (end.status, end.reason) == ("waiting", "task 2 asks: Which?; task 1: no more attempts")


def test_the_same_failure_ends_the_run_although_other_tasks_are_left() -> None:
    end = decide(state_after(*ONE_ASIDE, task_started("2"), *at("2", *FAILS)), ALONE)
    assert isinstance(end, EndRun)
    assert end.cause == "task_failed"
    assert (end.reason or "").startswith("tasks 1 and 2 failed in the same way")


@pytest.mark.parametrize(
    ("tail", "is_same"),
    [("took 3 s at 0x7f01", True), ("took 4 s at 0x7f02", True), ("another error", False)],
)
def test_gates_fail_in_the_same_way_by_command_and_normalised_output(tail: str, *, is_same: bool) -> None:
    def red(task: str, text: str) -> tuple[Entry, ...]:
        body = gate("fail").body
        assert isinstance(body, GateEnded)
        failed = Entry(replace(body, tail=text), task, 1)
        return (task_started(task), *at(task, *done()), failed, *at(task, finished("failed", None)))

    state = state_after(*THREE, *red("1", "took 3 s at 0x7f01"), *aside("1"), *red("2", tail))
    assert find_repeated_failure(state) == (("1", "2") if is_same else None)


def test_a_circle_of_dependencies_is_worked_on_in_order() -> None:
    circle = replace(WORK, items=(replace(ITEM, depends_on=("2",)), replace(ITEM, id="2", depends_on=("1",))))
    assert said(decide(state_after(begun("1", "2"), BASE_CHECKED, ON_BRANCH), circle)) == "StartTask 1"


CAUSES = {
    "a question": ((*READY, *ASKING, asked()), WORK, "question"),
    "a gate without a verdict": (
        (*READY, *done(), gate("unavailable", evidence="e1")),
        WORK,
        "gate_unavailable",
    ),
    "a refused landing": ((*READY, *passing(), landing(), landing_refused()), WORK, "landing_refused"),
    "a failed task": ((*READY, *THREE_FAILED, finished("failed", None)), WORK, "task_failed"),
    "interruptions": (
        (*READY, *(entry for number in (1, 2, 3) for entry in interrupted(number))),
        WORK,
        "interrupted_often",
    ),
    "a failed scenario": ((*READY, *LANDED, scenario("failed")), WITH_SCENARIO, "e2e_failed"),
    "an unavailable scenario": (
        (*READY, *LANDED, scenario("unavailable")),
        WITH_SCENARIO,
        "gate_unavailable",
    ),
    "a limit": (
        (
            *READY,
            attempt(),
            Entry(AttemptEnded(status="parked", reason="r", exit_code=1, cause="billing"), "1", 1),
        ),
        WORK,
        "billing",
    ),
    "nothing left to do": ((*READY, *LANDED), WORK, None),
}


@pytest.mark.parametrize(("history", "work", "cause"), CAUSES.values(), ids=CAUSES)
def test_an_end_says_its_cause(history: tuple[Entry, ...], work: Work, cause: str | None) -> None:
    decision = decide(state_after(*history), work)
    assert isinstance(decision, EndRun) and decision.cause == cause
