"""The events of a coding agent, in one vocabulary for all agents, and the outcome that it claims."""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

OutcomeStatus = Literal["completed", "failed", "needs_human"]
OUTCOME_MAX_BYTES = 1_000_000
OUTCOME_MAX_OPTIONS = 20
CHECK_MAX_BYTES = 100_000
"""bash takes a command as one argument, and Linux limits that to 128 KiB."""
_TEXTS = ("summary", "handoff", "question", "recommendation", "no_change")
"""Keys of an outcome whose values are strings."""


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens and US dollars. Numbers that the agent does not report are zero."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
        )


class Outcome(Struct, frozen=True, kw_only=True):
    """The agent's own report about its attempt: a claim, which proves nothing."""

    status: OutcomeStatus
    summary: str = ""
    handoff: str = ""
    question: str | None = None
    options: tuple[str, ...] = ()
    recommendation: str | None = None
    no_change: str | None = None
    """Why no file had to be changed; None if the agent does not say so."""
    checks: tuple[str, ...] = ()
    """Shell commands by which the user can see that the task is done."""
    extra: Mapping[str, Any] = field(default_factory=dict)


class InvalidOutcome(Struct, frozen=True, kw_only=True):
    """The agent's report does not meet the contract of outcomes; `reason` says why."""

    reason: str


class SessionStarted(Struct, frozen=True, kw_only=True):
    session: str
    model: str | None = None


class Text(Struct, frozen=True, kw_only=True):
    text: str


class ToolCall(Struct, frozen=True, kw_only=True):
    """A tool that the agent used. `summary` is one line without control codes.

    Drivers leave out the call by which an agent reports its outcome.
    """

    id: str
    name: str
    summary: str


class ToolResult(Struct, frozen=True, kw_only=True):
    """The answer of a tool. `text` is its first line, without control codes, and the number of its lines."""

    id: str
    is_error: bool
    text: str = ""


class UsageReported(Struct, frozen=True, kw_only=True):
    """The usage since the last event of this kind in the stream: a difference, not a total."""

    usage: Usage


LimitKind = Literal[
    "usage_limit", "rate_limit", "overloaded", "billing", "credential_refused", "model_unknown"
]


class ProviderRefusal(Struct, frozen=True, kw_only=True):
    """The provider of the model refuses requests; `until` is in seconds since the epoch."""

    kind: LimitKind
    detail: str
    until: float | None = None


class Finished(Struct, frozen=True, kw_only=True):
    """A final result of the agent; a later one in the stream replaces it.

    `outcome` is None when the agent reports by file, or did not report.
    """

    is_error: bool
    detail: str = ""
    outcome: Outcome | InvalidOutcome | None = None
    credential_expires: str | None = None
    """When the login of the agent ends, in the form of `utc_text`, if it says so."""


class AgentFault(Struct, frozen=True, kw_only=True):
    """The agent's command line reports an error of its own, not one of a tool."""

    detail: str


class TurnBegan(Struct, frozen=True, kw_only=True):
    """The agent works again: a result that came before is not its last word."""


class SessionLost(Struct, frozen=True, kw_only=True):
    """The agent's session cannot be continued: a part of it was not stored, or it takes no more text.

    The agent's work and its result stand.
    """

    detail: str
    before_start: bool = False
    """Whether the agent ended at once because of it, and did nothing."""


StartFailureKind = Literal["credential", "provider", "installation"]
"""The thing to repair before the agent can start.

    credential     the user's login or its organisation
    provider       nothing: the provider did not answer, so a later start can succeed
    installation   the image, the container, or the configuration in it
"""


class StartFailure(Struct, frozen=True, kw_only=True):
    """The agent refused to start, before its first request to the model.

    A driver reports it only where no process of the agent's can have written it.
    """

    kind: StartFailureKind
    detail: str


class Unknown(Struct, frozen=True, kw_only=True):
    """A line that the driver does not recognise, verbatim except that invalid UTF-8 is replaced."""

    line: str
    kind: str = ""
    """The name of what is new in a well-formed line, such as `system/of_tomorrow`; empty for other lines."""


AgentEvent = (
    SessionStarted
    | Text
    | ToolCall
    | ToolResult
    | UsageReported
    | ProviderRefusal
    | Finished
    | AgentFault
    | TurnBegan
    | SessionLost
    | StartFailure
    | Unknown
)


def parse_outcome(value: object) -> Outcome | InvalidOutcome:
    """Check a decoded JSON value against the contract of outcomes. Never raises.

    Unknown keys are kept in `extra`. `needs_human` without a question is invalid.
    """
    if not isinstance(value, dict):
        return InvalidOutcome(reason="the outcome is not a JSON object")
    status = value.get("status")
    if status not in ("completed", "failed", "needs_human"):
        return InvalidOutcome(reason="status is not completed, failed or needs_human")
    for key in _TEXTS:
        if value.get(key) is not None and not isinstance(value[key], str):
            return InvalidOutcome(reason=f"{key} is not a string")
    options = [] if value.get("options") is None else value["options"]
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        return InvalidOutcome(reason="options is not a list of strings")
    if len(options) > OUTCOME_MAX_OPTIONS:
        return InvalidOutcome(reason=f"more than {OUTCOME_MAX_OPTIONS} options")
    checks = [] if value.get("checks") is None else value["checks"]
    if not isinstance(checks, list) or not all(isinstance(check, str) for check in checks):
        return InvalidOutcome(reason="checks is not a list of strings")
    if len(checks) > OUTCOME_MAX_OPTIONS:
        return InvalidOutcome(reason=f"more than {OUTCOME_MAX_OPTIONS} checks")
    if any("\0" in check or len(check.encode("utf-8", "replace")) > CHECK_MAX_BYTES for check in checks):
        return InvalidOutcome(reason="a check has a NUL character or is too long")
    question = value.get("question") or None
    if status == "needs_human" and (question is None or not question.strip()):
        return InvalidOutcome(reason="needs_human without a question")
    known = {"status", "options", "checks", *_TEXTS}
    return Outcome(
        status=status,
        summary=value.get("summary") or "",
        handoff=value.get("handoff") or "",
        question=question,
        options=tuple(options),
        recommendation=value.get("recommendation") or None,
        no_change=(value.get("no_change") or "").strip() or None,
        checks=tuple(check for check in checks if check.strip()),
        extra={key: entry for key, entry in value.items() if key not in known},
    )
