"""The captured streams, and what the driver of Claude Code must read from each."""

from collections.abc import Iterable
from pathlib import Path

from claude_code_cli import SESSION, VERSION

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
    Text,
    ToolCall,
    ToolResult,
    TurnBegan,
    Unknown,
    UsageReported,
)

CAPTURED = Path(__file__).parents[1] / "agents/fixtures" / f"claude-code-{VERSION}"


def in_short(event: AgentEvent) -> str:
    """An event as one line of the tables below; ids, which the CLI makes up, are left out."""
    match event:
        case SessionStarted():
            assert event.session == SESSION
            return f"session on {event.model}"
        case Text():
            return f"text {event.text}"
        case ToolCall():
            return f"call {event.name}: {event.summary}"
        case ToolResult():
            return "result error" if event.is_error else "result"
        case UsageReported():
            used = event.usage
            tokens = (
                f"{used.input_tokens} {used.output_tokens} {used.cache_write_tokens} {used.cache_read_tokens}"
            )
            return f"used {tokens} ${used.cost_usd:.6f}"
        case ProviderRefusal():
            return f"limit {event.kind} {event.until}: {event.detail}"
        case AgentFault():
            return f"fault {event.detail}"
        case SessionLost():
            return f"lost {event.detail}"
        case StartFailure():
            return f"no start, {event.kind}: {event.detail}"
        case Unknown():
            return f"unknown {event.kind or event.line}"
        case Finished(outcome=None):
            return f"finished {'badly' if event.is_error else 'without outcome'}: {event.detail}"
        case Finished(outcome=InvalidOutcome(reason=reason)):
            return f"finished invalid: {reason}"
        case Finished(is_error=False, detail="", outcome=Outcome() as outcome):
            return f"finished {outcome.status}: {outcome.summary}"
    raise AssertionError(event)


def in_lines(events: Iterable[AgentEvent]) -> list[str]:
    """Events as lines of the tables below, without the beginnings of turns."""
    return [in_short(event) for event in events if not isinstance(event, TurnBegan)]


ONE, TWO = "used 1000 50 20 300 $0.001305", "used 2000 100 40 600 $0.002610"
STARTED = "session on claude-haiku-4-5"
DONE = "finished completed: did it"
BAD_OUTPUT = (
    "finished badly: structured_output_retry_exhausted: Failed to provide valid structured output after 5 "
    "attempts — last StructuredOutput error: Output does not match required schema: root: must have required "
    "property 'handoff', /status: must be equal to one of the allowed values: "
    '["completed","failed","needs_human"],…'
)
REFUSED = "limit credential_refused None: the model answered 401 (authentication_failed), attempt 1 of 300"
BAD_KEY = "Invalid API key · Fix external API key"
LOOP = "call Bash: run for i in $(seq 600); do read -t 0.1 < <(:) || :; sleep 0.1; done"
BUSY = "limit overloaded None: the model answered 529 (overloaded), attempt"
REPEATED = (
    "API Error: Repeated 529 Overloaded errors. The API is at capacity — this is usually temporary. "
    "Try again in a moment. If it persists, check your inference gateway (gateway)."
)
HIT = "You've hit your 5-hour limit · resets Jan 1, 2030, 12am (UTC)"
NO_MODEL = (
    "There's an issue with the selected model (claude-haiku-4-5). It may not exist or you may not have "
    "access to it. Run --model to pick a different model."
)
AS_ROOT = "--dangerously-skip-permissions cannot be used with root/sudo privileges for security reasons"
BAD_PROXY = 'Invalid proxy URL in HTTPS_PROXY: "no address" cannot be parsed as a URL.'
TOO_LONG = "Prompt is too long · the request is ~300000 tokens (limit 200000)"

EXPECTED: dict[str, list[str]] = {
    "normal": [
        STARTED,
        "text I look first.",
        "call Bash: run echo hello; printf '\\033[31mred\\033[0m\\n' >&2",
        "result",
        "call Write: write src/a.py",
        "call Read: read src/a.py",
        "result",
        "result",
        "call Edit: edit src/a.py",
        "result",
        "call Bash: run false",
        "result error",
        "text Done.",
        "used 5000 250 100 1500 $0.006525",
        DONE,
    ],
    "sub-agent": [
        STARTED,
        "call Task: hand to a sub-agent: Look around",
        "call Bash: run echo sub",
        "result",
        "result",
        "used 4000 200 80 1200 $0.005220",
        DONE,
    ],
    "thinking": [STARTED, ONE, DONE],
    "unknown-tool": [
        STARTED,
        'call Nope: use Nope {"a": {"b": "\\u001b[31m[/workspace/a.py]"}}',
        "result error",
        TWO,
        DONE,
    ],
    "background-two-results": [
        STARTED,
        "call Bash: run for i in 1 2 3; do sleep 0.5; done; echo done",
        "result",
        TWO,
        DONE,
        ONE,
        "finished failed: second",
    ],
    "session-first": [STARTED, ONE, DONE],
    "session-resumed": [STARTED, ONE, DONE],
    "session-resumed-after-sigint": [STARTED, ONE, DONE],
    "session-unknown": [
        "lost its file is not a readable session",
        f"finished badly: error_during_execution: No conversation found with session ID: {SESSION}",
    ],
    "session-writes-lost": [
        STARTED,
        "call Bash: run echo one",
        "result",
        TWO,
        DONE,
        "lost a part of it could not be stored (ENOSPC)",
    ],
    "start-bypass-root": [
        f"no start, installation: bypass_root: {AS_ROOT}",
        f"finished badly: error_during_execution: {AS_ROOT}",
    ],
    "start-proxy-invalid": [
        f"no start, installation: proxy_invalid: {BAD_PROXY}",
        f"finished badly: error_during_execution: {BAD_PROXY}",
    ],
    "needs-human": [STARTED, ONE, "finished needs_human: s"],
    "needs-human-without-question": [STARTED, ONE, "finished invalid: needs_human without a question"],
    "invalid-output-repaired": [STARTED, TWO, DONE],
    "invalid-output-always": [STARTED, "used 5000 250 100 1500 $0.006525", BAD_OUTPUT],
    "no-structured-output": [
        STARTED,
        'text {"status":"completed","summary":"prose"}',
        'text {"status":"completed","summary":"prose"}',
        TWO,
        'finished without outcome: completed: {"status":"completed","summary":"prose"}',
    ],
    "max-turns": [
        STARTED,
        "call Bash: run echo 0",
        "result",
        "call Bash: run echo 1",
        "result",
        TWO,
        "finished badly: max_turns: Reached maximum number of turns (2)",
    ],
    "sigint-in-a-tool": [
        STARTED,
        LOOP,
        "result error",
        ONE,
        "finished badly: aborted_tools: [ede_diagnostic] result_type=user last_content_type=n/a "
        "stop_reason=tool_use",
    ],
    "sigterm-in-a-tool": [STARTED, LOOP, "result error"],
    "http-401": [
        STARTED,
        REFUSED,
        f"limit credential_refused None: {BAD_KEY}",
        f"finished badly: api_error: {BAD_KEY}",
    ],
    "http-401-in-mid-session": [
        STARTED,
        "call Bash: run echo one",
        "result",
        REFUSED,
        f"limit credential_refused None: {BAD_KEY}",
        ONE,
        f"finished badly: api_error: {BAD_KEY}",
    ],
    "http-403": [
        STARTED,
        "limit credential_refused None: Failed to authenticate. API Error: 403 not allowed",
        "finished badly: api_error: Failed to authenticate. API Error: 403 not allowed",
    ],
    "http-403-verification": [
        STARTED,
        "limit credential_refused None: API Error: verify your organization",
        "finished badly: api_error: API Error: verify your organization",
    ],
    "http-402": [
        STARTED,
        "limit billing None: API Error: 402 over budget",
        "finished badly: api_error: API Error: 402 over budget",
    ],
    "http-400-credit-balance": [
        STARTED,
        "limit billing None: Credit balance is too low",
        "finished badly: api_error: Credit balance is too low",
    ],
    "usage-limit-oauth": [
        STARTED,
        "limit usage_limit 1893456000.0: five_hour",
        f"limit usage_limit 1893456000.0: {HIT}",
        f"finished badly: api_error: {HIT}",
    ],
    "usage-warning-oauth": [STARTED, ONE, DONE],
    "http-429-retry-after-120": [
        STARTED,
        "limit rate_limit None: API Error: Request rejected (429) · slow down",
        "finished badly: api_error: API Error: Request rejected (429) · slow down",
    ],
    "http-429-once": [
        STARTED,
        "limit rate_limit None: the model answered 429 (rate_limit), attempt 1 of 300",
        ONE,
        DONE,
    ],
    "http-529-always": [
        "session on claude-opus-5-5",
        f"{BUSY} 1 of 10",
        f"{BUSY} 2 of 10",
        f"limit overloaded None: {REPEATED}",
        f"finished badly: api_error: {REPEATED}",
    ],
    "http-500-once": [STARTED, "fault the model answered 500 (server_error), attempt 1 of 300", ONE, DONE],
    "http-404-model": [
        STARTED,
        f"limit model_unknown None: {NO_MODEL}",
        f"finished badly: api_error: {NO_MODEL}",
    ],
    "http-400-prompt-too-long": [
        STARTED,
        f"fault {TOO_LONG}",
        "lost the session is full",
        f"finished badly: prompt_too_long: the session is full: {TOO_LONG}",
    ],
    "model-refusal": [
        STARTED,
        "text no",
        "text no",
        "fault API Error: Haiku 4.5 can't help with this.",
        TWO,
        "finished badly: api_error: API Error: Haiku 4.5 can't help with this.",
    ],
    "connection-failed": [
        STARTED,
        "fault the model could not be reached (unknown), attempt 1 of 1",
        "fault API Error: Unable to connect to API (ENOENT)",
        "finished badly: api_error: API Error: Unable to connect to API (ENOENT)",
    ],
}
LONG_TEXTS = ("http-400-prompt-too-long", "model-refusal", "start-proxy-invalid")
"""The table holds the beginning of the CLI's text."""
