"""How an attempt ended: decided from the agent's report, its exit code, and why it was stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import assert_never

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
from orchestrator.run.facts import AttemptFailure, AttemptStatus, Claim, LimitEffect, LimitSeen, RunCause
from orchestrator.text import one_line, utc_text

_CAUSES: Mapping[str, RunCause] = {
    "usage_limit": "usage_limit",
    "billing": "billing",
    "credential_refused": "credential_refused",
    "model_unknown": "model_unknown",
}
_START_CAUSES: Mapping[StartFailureKind, RunCause] = {
    "credential": "credential_refused",
    "provider": "model_away",
}
"""Failures to start that no further attempt repairs; the others fail the attempt."""
PARKING_LIMITS = frozenset(_CAUSES)
STOPPING: frozenset[LimitEffect] = frozenset({"stop", "outage"})
"""Effects of limits for which a living agent is stopped, once the gateway has recorded them."""
MAX_CLAIM_TEXT = 20_000
MAX_UNKNOWN_KINDS = 20
"""Of unknown lines, that are counted by name: an agent's processes can make up names without end."""
OTHER_KINDS = "other kinds"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """The sum of an agent's events."""

    finished: Finished | None = None
    limit: ProviderRefusal | None = None
    """The last reported limit of a kind that ends an attempt."""
    is_at_rest: bool = False
    """Whether nothing but `finished` is known of its last turn: no new turn has begun after the result."""
    fault: str | None = None
    tool_calls: int = 0
    usage: Usage = field(default_factory=Usage)
    start_failure: StartFailure | None = None
    session_lost: str | None = None
    """Why no attempt may continue the agent's session; None where it can be continued."""
    is_without_session: bool = False
    """Whether the session was lost before the agent could begin, so that it has done nothing."""
    unknown: Mapping[str, int] = field(default_factory=dict)
    """How many well-formed lines of each kind the driver did not know."""

    def with_event(self, event: AgentEvent) -> "AgentReport":
        match event:
            case Finished():
                return replace(self, finished=event, is_at_rest=True)
            case ProviderRefusal() if event.kind in PARKING_LIMITS:
                return replace(self, limit=event)
            case AgentFault():
                return replace(self, fault=event.detail)
            case ToolCall():
                return replace(self, tool_calls=self.tool_calls + 1, is_at_rest=False)
            case SessionStarted() | Text() | ToolResult() | TurnBegan():
                return replace(self, is_at_rest=False)
            case SessionLost(detail=detail, before_start=before_start):
                return replace(self, session_lost=detail, is_without_session=before_start)
            case StartFailure():
                return replace(self, start_failure=event)
            case UsageReported():
                return replace(self, usage=self.usage + event.usage)
            case Unknown(kind=kind) if kind:
                return replace(self, unknown=_count_kind(self.unknown, kind))
            case Unknown() | ProviderRefusal():
                return self


def _count_kind(counts: Mapping[str, int], kind: str) -> Mapping[str, int]:
    name = kind if kind in counts or len(counts) < MAX_UNKNOWN_KINDS else OTHER_KINDS
    return {**counts, name: counts.get(name, 0) + 1}


@dataclass(frozen=True, slots=True)
class OverTime:
    """It took longer than limits.attempt_seconds."""


@dataclass(frozen=True, slots=True)
class Lingered:
    """It reported its result and did not end within limits.after_result_seconds."""


@dataclass(frozen=True, slots=True)
class OverOutput:
    """It printed more than limits.output_bytes."""


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The provider refuses the agent's requests. The agent may have reported an outcome before."""

    cause: RunCause
    detail: str
    until: str | None = None
    renewed: bool = False
    """Whether the source of the refused credential gives another one now."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Another program removed its container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedFromOutside:
    """Another program, or the engine as it shut down, stopped its container."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class Starved:
    """It could not reach its model any more, because the folder of its socket had been made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The run was asked to stop, by a signal, a request to cancel, or the time given to it."""

    reason: str
    is_parked: bool = False
    """Whether the time given by `--until` had come."""
    by_request: bool = False
    """Whether it was a request to cancel, and the run ends with it."""

    @property
    def failure(self) -> AttemptFailure:
        if self.by_request:
            return "cancelled"
        return "stopped_by_person"  # plain-english: allowed, a stored value


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """Its end was not observed, because the owner of the run was killed."""

    reason: str
    failure: AttemptFailure = "stopped_from_outside"
    limit: Refused | None = None
    """A limit that the gateway saw while the run had no owner: the attempt is parked instead."""


StopReason = (
    OverTime
    | Lingered
    | OverOutput
    | OutOfMemory
    | Refused
    | Removed
    | StoppedFromOutside
    | Starved
    | Cancelled
    | Interrupted
)
"""Why an attempt was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOutcome:
    """The agent reported nothing."""

    place: str = ""
    """Where its report was expected; empty where only the driver has to know."""
    has_worked: bool = False
    """Whether it is a program that need not report, and it has changed files: exit code 0 is then success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An attempt whose container has ended."""

    report: AgentReport
    exit_code: int | None
    """None: unknown."""
    stopped: StopReason | None = None
    """None: the agent ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptVerdict:
    status: AttemptStatus
    reason: str | None = None
    failure: AttemptFailure | None = None
    claim: Claim | None = None
    until: str | None = None
    cause: RunCause | None = None
    """The limit, if it has parked."""


def refusal_by_agent(claim: ProviderRefusal) -> Refused | None:
    """The limit that an agent reports; it decides only where no gateway sees the provider's answers.

    None for a limit that parks nothing.
    """
    cause = _CAUSES.get(claim.kind)
    until = None if claim.until is None else _time_text(claim.until)
    return None if cause is None else Refused(cause=cause, detail=claim.detail, until=until)


def refusal_by_gateway(limits: Sequence[LimitSeen], report: AgentReport) -> Refused | None:
    """The provider's limit that ends an attempt without an outcome, as the gateway saw it; None without one.

    A limit that stops an agent outranks the others, and the first of them counts. Of the others the last one
    counts; one that needs the agent's own word counts only with it.
    """
    stopping = [each for each in limits if each.effect in STOPPING]
    claimed = None if report.limit is None else _CAUSES.get(report.limit.kind)
    ending = [each for each in limits if each.effect == "end" or each.cause == claimed]
    for seen in (*stopping[:1], *ending[-1:]):
        answer = "no connection" if seen.status is None else f"the provider answered {seen.status}"
        model = "" if seen.model is None else f" for the model {seen.model}"
        return Refused(cause=seen.cause, detail=f"{answer}{model}", until=seen.until)
    return None


def attempt_verdict(
    ended: Ended, outcome: Outcome | InvalidOutcome | NoOutcome, *, calls_in_session: int, min_tool_calls: int
) -> AttemptVerdict:
    """The status of an attempt that has ended.

    An agent is often wrong about its own success, and its prose ("all tests pass") proves nothing. So
    `completed` takes a structured outcome, exit code 0 and `min_tool_calls` tool calls in the session; even
    then it is only a claim, and gates decide what lands. A program that need not report is `completed` by
    exit code 0 and a changed file. If the orchestrator stopped the agent after its report, the exit code
    is a consequence of that and is ignored. `outcome` is that structured outcome as the driver found it;
    `min_tool_calls` is zero if the driver reports no tool calls or the task need not change anything.
    """
    match ended.stopped:
        case Interrupted(limit=Refused() as limit):
            return attempt_verdict(
                replace(ended, stopped=limit), outcome, calls_in_session=0, min_tool_calls=min_tool_calls
            )
        case Cancelled(reason=reason, is_parked=True):
            return AttemptVerdict(status="parked", reason=reason, failure="limit", cause="until")
        case Cancelled(reason=reason, failure=failure) | Interrupted(reason=reason, failure=failure):
            return AttemptVerdict(status="interrupted", reason=reason, failure=failure)
        case Removed() | StoppedFromOutside() | Starved() as interruption:
            return _describe_interruption(interruption)
        # An agent that had reported its outcome before the refusal has done its work: the outcome counts.
        case Refused(renewed=True) if not isinstance(outcome, Outcome):
            reason = "the credential was replaced by a new one"
            return AttemptVerdict(status="interrupted", reason=reason, failure="limit")
        case Refused(cause=cause, detail=detail, until=until) if not isinstance(outcome, Outcome):
            reason = f"{cause.replace('_', ' ')}: {one_line(detail, 300)}"
            return AttemptVerdict(status="parked", reason=reason, failure="limit", until=until, cause=cause)
        case OverOutput():
            reason = "the agent printed more than limits.output_bytes"
            return AttemptVerdict(status="failed", reason=reason, failure="output_limit")
        case OverTime() if not (isinstance(outcome, Outcome) and _has_reported(ended.report)):
            reason = "it took longer than limits.attempt_seconds"
            return AttemptVerdict(status="timed_out", reason=reason, failure="time_limit")
        case OutOfMemory():
            reason = "the container ran out of memory (container.memory)"
            return AttemptVerdict(status="failed", reason=reason, failure="out_of_memory")
        case Lingered() | OverTime():
            return _judge_outcome(ended.report, 0, outcome, calls_in_session, min_tool_calls)
        case None | Refused():
            assert ended.exit_code is not None
            return _judge_outcome(ended.report, ended.exit_code, outcome, calls_in_session, min_tool_calls)
        case _ as never:
            assert_never(never)


def _describe_interruption(reason: Removed | StoppedFromOutside | Starved) -> AttemptVerdict:
    failure: AttemptFailure
    match reason:
        case Removed():
            failure, text = "container_removed", "another program removed the container"
        case StoppedFromOutside(exit_code=exit_code):
            failure = "stopped_from_outside"
            text = f"another program, or the engine, stopped the container (exit code {exit_code})"
        case Starved():
            failure = "starved"
            text = "it could not reach its model any more: the folder of its socket had been made again"
    return AttemptVerdict(status="interrupted", reason=text, failure=failure)


def _has_reported(report: AgentReport) -> bool:
    """Whether the outcome is the agent's last word; one that reports by file never sends a result."""
    return report.finished is None or report.is_at_rest


def _time_text(seconds: float) -> str | None:
    """None when the provider's number is not a time."""
    try:
        return utc_text(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, OSError, ValueError):
        return None


def _judge_outcome(
    report: AgentReport,
    exit_code: int,
    outcome: Outcome | InvalidOutcome | NoOutcome,
    calls_in_session: int,
    min_tool_calls: int,
) -> AttemptVerdict:
    not_clear: AttemptStatus = "unclear" if exit_code == 0 else "failed"
    # First of all, even if the agent exits with an error afterwards: only the user can answer its question.
    if isinstance(outcome, Outcome) and outcome.status == "needs_human":
        return AttemptVerdict(status="needs_human", reason=outcome.question, claim=_claim(outcome))
    if report.is_without_session:
        reason = f"the agent could not continue its session: {one_line(report.session_lost or '', 300)}"
        return AttemptVerdict(status="interrupted", reason=reason, failure="session_lost")
    if report.start_failure is not None:
        return _by_start_failure(report.start_failure)
    if report.finished is not None and report.finished.is_error:
        detail = one_line(report.finished.detail or report.fault or "no detail", 300)
        reason = f"the agent ended with an error: {detail}"
        return AttemptVerdict(status="failed", reason=reason, failure="agent_error")
    if isinstance(outcome, NoOutcome):
        if outcome.has_worked and exit_code == 0:
            return AttemptVerdict(status="completed")
        place = f"; expected: {outcome.place}" if outcome.place else ""
        reason = f"the agent reported no outcome (exit code {exit_code}){place}"
        return AttemptVerdict(status=not_clear, reason=reason, failure="no_outcome")
    if isinstance(outcome, InvalidOutcome):
        reason = f"invalid outcome: {outcome.reason}"
        return AttemptVerdict(status=not_clear, reason=reason, failure="no_outcome")
    claim = _claim(outcome)
    if outcome.status == "failed":
        reason = one_line(outcome.summary, 300) or "the agent reported a failure without a summary"
        return AttemptVerdict(status="failed", reason=reason, failure="agent_failed", claim=claim)
    if exit_code != 0:
        reason = f"the agent reported success, but its exit code is {exit_code}"
        return AttemptVerdict(status="failed", reason=reason, failure="agent_error", claim=claim)
    if calls_in_session < min_tool_calls:
        reason = f"the agent reported success after {calls_in_session} tool calls (agent.min_tool_calls)"
        return AttemptVerdict(status="unclear", reason=reason, failure="no_outcome", claim=claim)
    return AttemptVerdict(status="completed", claim=claim)


def _by_start_failure(failure: StartFailure) -> AttemptVerdict:
    cause = _START_CAUSES.get(failure.kind)
    reason = f"the agent did not start: {one_line(failure.detail, 300)}"
    if cause is None:
        return AttemptVerdict(status="failed", reason=reason, failure="agent_error")
    return AttemptVerdict(status="parked", reason=reason, failure="limit", cause=cause)


def _claim(outcome: Outcome) -> Claim:
    return Claim(
        status=outcome.status,
        summary=outcome.summary[:MAX_CLAIM_TEXT],
        handoff=outcome.handoff[:MAX_CLAIM_TEXT],
        question=None if outcome.question is None else outcome.question[:MAX_CLAIM_TEXT],
        options=tuple(option[:MAX_CLAIM_TEXT] for option in outcome.options),
        recommendation=None if outcome.recommendation is None else outcome.recommendation[:MAX_CLAIM_TEXT],
        no_change=None if outcome.no_change is None else outcome.no_change[:MAX_CLAIM_TEXT],
        checks=outcome.checks,
    )
