"""How an attempt ended: what the agent said, its exit, and what was done to it."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.events import (
    AgentEvent,
    AgentFault,
    Finished,
    InvalidOutcome,
    Outcome,
    ProviderRefusal,
    SessionLost,
    SessionStarted,
    StartFailure,
    StartFailureKind,
    Text,
    ToolCall,
    ToolResult,
    TurnBegan,
    Unknown,
    Usage,
    UsageReported,
)
from orchestrator.run.facts import AttemptFailure, AttemptStatus, LimitSeen, RunCause
from orchestrator.supervision.classify import (
    MAX_CLAIM_TEXT,
    MAX_UNKNOWN_KINDS,
    OTHER_KINDS,
    AgentReport,
    AttemptVerdict,
    Cancelled,
    Ended,
    Interrupted,
    Lingered,
    NoOutcome,
    OutOfMemory,
    OverOutput,
    OverTime,
    Removed,
    Starved,
    StoppedFromOutside,
    StopReason,
    attempt_verdict,
    refusal_by_agent,
    refusal_by_gateway,
)
from orchestrator.supervision.decide import CHARGED

NOTHING = AgentReport()
FINE = AgentReport(finished=Finished(is_error=False), tool_calls=3, is_at_rest=True)
ERROR = AgentReport(finished=Finished(is_error=True, detail="API Error"))
REFUSED = AgentReport(limit=ProviderRefusal(kind="credential_refused", detail="401"))
SPENT = AgentReport(limit=ProviderRefusal(kind="usage_limit", detail="resets at 5pm", until=1735689600.0))

COMPLETED = Outcome(status="completed", summary="done")
FAILED = Outcome(status="failed", summary="it cannot be done")
ASKS = Outcome(status="needs_human", question="Which?", options=("a", "b"), recommendation="a")
INVALID = InvalidOutcome(reason="status is not completed, failed or needs_human")


class Ending(NamedTuple):
    exit_code: int | None
    stopped: StopReason | None = None


OK = Ending(0)
BAD = Ending(1)
GONE = Ending(None, Removed())
OOM = Ending(137, OutOfMemory())
LATE = Ending(124, OverTime())
STAYED = Ending(137, Lingered())
LOUD = Ending(130, OverOutput())


Claimed = Outcome | InvalidOutcome | NoOutcome
SILENT = NoOutcome()


def verdict(
    report: AgentReport, ending: Ending, outcome: Claimed, *, calls: int = 3, least: int = 1
) -> AttemptVerdict:
    stopped = ending.stopped
    if stopped is None and report.limit is not None:
        stopped = refusal_by_agent(report.limit)
    ended = Ended(report=report, exit_code=ending.exit_code, stopped=stopped)
    return attempt_verdict(ended, outcome, calls_in_session=calls, min_tool_calls=least)


TABLE: dict[str, tuple[AgentReport, Ending, Claimed, AttemptStatus]] = {
    "completed": (FINE, OK, COMPLETED, "completed"),
    "completed by file": (NOTHING, OK, COMPLETED, "completed"),
    "completed, but a non-zero exit": (FINE, BAD, COMPLETED, "failed"),
    "completed, but an error flag": (ERROR, OK, COMPLETED, "failed"),
    "failed": (FINE, OK, FAILED, "failed"),
    "failed with a non-zero exit": (FINE, BAD, FAILED, "failed"),
    "the user": (FINE, OK, ASKS, "needs_human"),
    "the user, after a bad exit code": (FINE, BAD, ASKS, "needs_human"),
    "no outcome": (FINE, OK, SILENT, "unclear"),
    "no outcome and no result": (NOTHING, OK, SILENT, "unclear"),
    "no outcome and a non-zero exit": (NOTHING, BAD, SILENT, "failed"),
    "invalid outcome": (FINE, OK, INVALID, "unclear"),
    "invalid outcome and a non-zero exit": (FINE, BAD, INVALID, "failed"),
    "error flag without an outcome": (ERROR, BAD, SILENT, "failed"),
    "container gone": (FINE, GONE, SILENT, "interrupted"),
    "container gone after the claim": (FINE, GONE, COMPLETED, "interrupted"),
    "container gone at a limit": (SPENT, GONE, SILENT, "interrupted"),
    "credential refused": (REFUSED, BAD, SILENT, "parked"),
    "usage limit": (SPENT, OK, SILENT, "parked"),
    "usage limit and an invalid outcome": (SPENT, OK, INVALID, "parked"),
    "usage limit that went by": (SPENT, OK, COMPLETED, "completed"),
    "out of memory": (FINE, OOM, SILENT, "failed"),
    "too late": (FINE, LATE, SILENT, "timed_out"),
    "too late, but after its claim": (FINE, LATE, COMPLETED, "completed"),
    "too late, but after its claim by file": (NOTHING, LATE, COMPLETED, "completed"),
    "too late in a turn after its claim": (FINE.with_event(Text(text="more")), LATE, COMPLETED, "timed_out"),
    "too late with an invalid claim": (FINE, LATE, INVALID, "timed_out"),
    "stayed after its claim": (FINE, STAYED, COMPLETED, "completed"),
    "stayed after its claim by file": (NOTHING, STAYED, COMPLETED, "completed"),
    "stayed after a failure": (FINE, STAYED, FAILED, "failed"),
    "stayed after a question": (FINE, STAYED, ASKS, "needs_human"),
    "stayed after an error": (ERROR, STAYED, COMPLETED, "failed"),
    "stayed after a result without an outcome": (FINE, STAYED, SILENT, "unclear"),
    "exit 124 of its own": (FINE, Ending(exit_code=124), SILENT, "failed"),
    "too loud": (FINE, LOUD, SILENT, "failed"),
    "too loud with a claim": (FINE, LOUD, COMPLETED, "failed"),
}


NO_SESSION = NOTHING.with_event(SessionLost(detail="not readable", before_start=True))
FAILURES: dict[str, tuple[AgentReport, Ending, Claimed, AttemptFailure | None]] = {
    "completed": (FINE, OK, COMPLETED, None),
    "the user": (FINE, OK, ASKS, None),
    "its claim": (FINE, OK, FAILED, "agent_failed"),
    "an error flag": (ERROR, BAD, SILENT, "agent_error"),
    "a non-zero exit after its claim": (FINE, BAD, COMPLETED, "agent_error"),
    "no outcome": (FINE, OK, SILENT, "no_outcome"),
    "an invalid outcome": (FINE, OK, INVALID, "no_outcome"),
    "time": (FINE, LATE, SILENT, "time_limit"),
    "output": (FINE, LOUD, SILENT, "output_limit"),
    "memory": (FINE, OOM, SILENT, "out_of_memory"),
    "a foreign signal": (
        FINE,
        Ending(143, StoppedFromOutside(exit_code=143)),
        SILENT,
        "stopped_from_outside",
    ),
    "container gone": (FINE, GONE, SILENT, "container_removed"),
    "a remade socket": (FINE, Ending(137, Starved()), SILENT, "starved"),
    "an unreadable session": (NO_SESSION, BAD, SILENT, "session_lost"),
    "usage limit": (SPENT, OK, SILENT, "limit"),
    "the time of the run": (FINE, Ending(130, Cancelled(reason="", is_parked=True)), SILENT, "limit"),
    "a signal to the run": (
        FINE,
        Ending(130, Cancelled(reason="")),
        SILENT,
        "stopped_by_person",  # plain-english: allowed, a stored value
    ),
    "a request to cancel": (FINE, Ending(130, Cancelled(reason="", by_request=True)), SILENT, "cancelled"),
}


@pytest.mark.parametrize(("report", "ending", "outcome", "failure"), FAILURES.values(), ids=FAILURES)
def test_programs_can_see_why_and_only_failures_of_the_agent_are_charged(
    report: AgentReport, ending: Ending, outcome: Claimed, failure: AttemptFailure | None
) -> None:
    found = verdict(report, ending, outcome)
    assert found.failure == failure
    own = ("agent_failed", "agent_error", "no_outcome", "time_limit", "output_limit", "out_of_memory")
    assert (found.status in CHARGED) == (failure in own or found.status == "completed")


@pytest.mark.parametrize(("report", "ending", "outcome", "expected"), TABLE.values(), ids=TABLE)
def test_the_status(report: AgentReport, ending: Ending, outcome: Claimed, expected: AttemptStatus) -> None:
    found = verdict(report, ending, outcome)
    assert found.status == expected
    assert found.reason if expected != "completed" else found.reason is None
    assert (found.cause is not None) == (expected == "parked")


@pytest.mark.parametrize(
    ("calls", "least", "expected"),
    [(0, 1, "unclear"), (1, 1, "completed"), (2, 3, "unclear"), (0, 0, "completed")],
)
def test_success_needs_enough_tool_calls(calls: int, least: int, expected: AttemptStatus) -> None:
    assert verdict(FINE, OK, COMPLETED, calls=calls, least=least).status == expected


def test_tool_calls_are_asked_of_a_claim_to_be_completed_only() -> None:
    assert verdict(FINE, OK, ASKS, calls=0).status == "needs_human"
    assert verdict(FINE, OK, FAILED, calls=0).status == "failed"


def test_the_question_is_the_reason() -> None:
    found = verdict(FINE, OK, ASKS)
    assert found.reason == "Which?"
    assert found.claim is not None and found.claim.options == ("a", "b") and found.claim.recommendation == "a"


def test_a_refused_credential_is_named_in_the_reason() -> None:
    assert verdict(REFUSED, BAD, SILENT).reason == "credential refused: 401"


def test_a_usage_limit_says_until_when() -> None:
    assert verdict(SPENT, BAD, SILENT).until == "2025-01-01T00:00:00.000Z"


@pytest.mark.parametrize("until", [float("inf"), float("-inf"), float("nan"), 1e300, -1e300])
def test_an_impossible_time_is_left_out(until: float) -> None:
    report = AgentReport(limit=ProviderRefusal(kind="usage_limit", detail="", until=until))
    assert verdict(report, BAD, SILENT).until is None


STOP = LimitSeen(cause="usage_limit", effect="stop", status=429, until="2026-11-28T09:00:00.000Z")
AWAY = LimitSeen(cause="model_away", effect="outage")
DENIED = LimitSeen(cause="credential_refused", effect="end", status=401)
ODD = LimitSeen(cause="billing", effect="end_if_claimed", status=400)
MISSING = LimitSeen(cause="model_unknown", effect="end", status=404, model="m-9")
SAYS_BILLING = AgentReport(limit=ProviderRefusal(kind="billing", detail="no credit"))


@pytest.mark.parametrize(
    ("limits", "report", "cause"),
    [
        ((), NOTHING, None),
        ((), SPENT, None),
        ((STOP, AWAY), NOTHING, "usage_limit"),
        ((DENIED, AWAY), NOTHING, "model_away"),
        ((DENIED, MISSING), NOTHING, "model_unknown"),
        ((ODD,), NOTHING, None),
        ((ODD,), SPENT, None),
        ((ODD,), SAYS_BILLING, "billing"),
    ],
    ids=["nothing", "only a claim", "the first", "stopping", "the last", "a 400", "another claim", "billing"],
)
def test_what_the_gateway_saw_decides(
    limits: tuple[LimitSeen, ...], report: AgentReport, cause: RunCause | None
) -> None:
    found = refusal_by_gateway(limits, report)
    assert (None if found is None else found.cause) == cause


def test_a_limit_parks_with_its_cause_and_end_unless_there_is_an_outcome() -> None:
    found = refusal_by_gateway((STOP,), NOTHING)
    parked = verdict(NOTHING, Ending(0, found), SILENT)
    assert (parked.status, parked.cause, parked.until) == ("parked", "usage_limit", STOP.until)
    assert parked.reason == "usage limit: the provider answered 429"
    assert verdict(FINE, Ending(0, found), COMPLETED).status == "completed"


def test_a_limit_without_an_owner_parks_instead_of_interrupting() -> None:
    found = refusal_by_gateway((AWAY,), NOTHING)
    killed = Interrupted(reason="killed", limit=found)
    assert verdict(NOTHING, Ending(None, killed), SILENT).status == "parked"
    assert verdict(NOTHING, Ending(None, Interrupted(reason="killed")), SILENT).status == "interrupted"


def test_a_claim_is_kept_bounded() -> None:
    long = "x" * (MAX_CLAIM_TEXT + 1)
    outcome = Outcome(status="completed", summary=long, handoff=long, options=(long,), recommendation=long)
    claim = verdict(FINE, OK, outcome).claim
    assert claim is not None
    texts = (claim.summary, claim.handoff, *claim.options, claim.recommendation or "")
    assert {len(text) for text in texts} == {MAX_CLAIM_TEXT}


def test_reasons_are_one_line_without_control_codes() -> None:
    report = AgentReport(finished=Finished(is_error=True, detail="\x1b[31mred\nand more"))
    reason = verdict(report, BAD, SILENT).reason
    assert reason == "the agent ended with an error: red and more"


def test_an_error_without_detail_takes_the_fault() -> None:
    report = AgentReport(finished=Finished(is_error=True), fault="overloaded")
    assert "overloaded" in (verdict(report, BAD, SILENT).reason or "")


def report_after(*events: AgentEvent) -> AgentReport:
    report = AgentReport()
    for event in events:
        report = report.with_event(event)
    return report


def test_a_report_counts_calls_and_usage_and_keeps_the_last_result() -> None:
    last = Finished(is_error=False, detail="second")
    report = report_after(
        SessionStarted(session="s"),
        Text(text="hello"),
        ToolCall(id="1", name="Bash", summary="ls"),
        ToolResult(id="1", is_error=True),
        UsageReported(usage=Usage(input_tokens=1)),
        Finished(is_error=True, detail="first"),
        ToolCall(id="2", name="Bash", summary="ls"),
        UsageReported(usage=Usage(input_tokens=2, output_tokens=5)),
        AgentFault(detail="fault"),
        Unknown(line="?"),
        last,
    )
    assert report == AgentReport(
        finished=last,
        fault="fault",
        tool_calls=2,
        usage=Usage(input_tokens=3, output_tokens=5),
        is_at_rest=True,
    )


@pytest.mark.parametrize(
    ("kind", "parks"),
    [
        ("usage_limit", True),
        ("billing", True),
        ("credential_refused", True),
        ("rate_limit", False),
        ("overloaded", False),
    ],
)
def test_only_limits_that_last_are_kept(kind: str, parks: bool) -> None:
    assert (report_after(ProviderRefusal(kind=kind, detail="x")).limit is not None) == parks  # type: ignore[arg-type]


ANY_OUTCOME = st.sampled_from([SILENT, INVALID, COMPLETED, FAILED, ASKS])
ANY_ENDING = st.builds(
    Ending,
    exit_code=st.integers(0, 255),
    stopped=st.sampled_from([None, OverTime(), Lingered(), OverOutput(), OutOfMemory()]),
) | st.just(GONE)
ANY_REPORT = st.sampled_from([NOTHING, FINE, ERROR, REFUSED, SPENT])


@given(ANY_REPORT, ANY_ENDING, ANY_OUTCOME, st.integers(0, 3))
def test_success_needs_a_clean_end_and_a_claim(
    report: AgentReport, ending: Ending, outcome: Claimed, calls: int
) -> None:
    if verdict(report, ending, outcome, calls=calls).status == "completed":
        assert outcome is COMPLETED and calls >= 1
        stopped_by_us = isinstance(ending.stopped, OverTime | Lingered)
        assert stopped_by_us or (ending.exit_code == 0 and ending.stopped is None)
        assert report.finished is None or not report.finished.is_error


@pytest.mark.parametrize(
    ("kind", "status", "cause"),
    [
        ("credential", "parked", "credential_refused"),
        ("provider", "parked", "model_away"),
        ("installation", "failed", None),
    ],
)
def test_an_agent_that_does_not_start(kind: StartFailureKind, status: str, cause: str | None) -> None:
    report = AgentReport(finished=Finished(is_error=True)).with_event(StartFailure(kind=kind, detail="why"))
    found = verdict(report, BAD, SILENT, calls=0)
    assert (found.status, found.cause) == (status, cause)
    assert found.reason == "the agent did not start: why"


def test_kinds_of_unknown_lines_are_counted_up_to_a_number_of_names() -> None:
    report = AgentReport()
    for number in range(MAX_UNKNOWN_KINDS + 5):
        report = report.with_event(Unknown(line="{}", kind=f"system/{number}"))
    report = report.with_event(Unknown(line="{}", kind="system/0")).with_event(Unknown(line="words"))
    assert report.unknown["system/0"] == 2
    assert report.unknown[OTHER_KINDS] == 5
    assert len(report.unknown) == MAX_UNKNOWN_KINDS + 1


def test_a_turn_that_begins_after_the_result_keeps_the_agent_alive() -> None:
    finished = AgentReport().with_event(Finished(is_error=False))
    assert finished.is_at_rest
    assert not finished.with_event(TurnBegan()).is_at_rest
    assert finished.with_event(SessionLost(detail="d")).is_at_rest
