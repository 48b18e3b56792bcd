"""Claude Code's stream: what the real CLI printed, and what it must never be able to do to us."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agents.claude_code_stream import ClaudeCodeParser
from orchestrator.agents.json_object import MAX_DEPTH
from orchestrator.events import (
    AgentEvent,
    AgentFault,
    Finished,
    InvalidOutcome,
    Outcome,
    ProviderRefusal,
    SessionStarted,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
    Usage,
    UsageReported,
)

CAPTURED = Path(__file__).parent / "fixtures" / "claude-code-2.1.330"
SESSION = "5e5510e0-0000-4000-8000-000000000001"


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
        case Unknown():
            return f"unknown {event.line}"
        case Finished(outcome=None):
            return f"finished {'badly' if event.is_error else 'without outcome'}: {event.detail}"
        case Finished(outcome=InvalidOutcome(reason=reason)):
            return f"finished invalid: {reason}"
        case Finished(is_error=False, detail="", outcome=Outcome() as outcome):
            return f"finished {outcome.status}: {outcome.summary}"
    raise AssertionError(event)


ONE, TWO = "used 1000 50 20 300 $0.001305", "used 2000 100 40 600 $0.002610"
STARTED = "session on claude-haiku-4-5"
DONE = "finished completed: did it"
BAD_OUTPUT = (
    "finished badly: structured_output_retry_exhausted: Failed to provide valid structured output after 5 "
    "attempts — last StructuredOutput error: Output does not match required schema: root: must have required "
    "property 'handoff', /status: must be equal to one of the allowed values: "
    '["completed","failed","needs_human"],…'
)
REFUSED = "limit credential_refused None: the model answered 401 (authentication_failed), attempt 1 of 10"
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
        f"finished badly: error_during_execution: No conversation found with session ID: {SESSION}"
    ],
    "needs-human": [STARTED, ONE, "finished needs_human: s"],
    "needs-human-without-question": [STARTED, ONE, "finished invalid: needs_human without a question"],
    "invalid-output-mended": [STARTED, TWO, DONE],  # plain-english: allowed, the name of a captured file
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
        "limit rate_limit None: the model answered 429 (rate_limit), attempt 1 of 10",
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
    "http-500-once": [STARTED, "fault the model answered 500 (server_error), attempt 1 of 10", ONE, DONE],
    "http-404-model": [STARTED, f"fault {NO_MODEL}", f"finished badly: api_error: {NO_MODEL}"],
    "http-400-prompt-too-long": [
        STARTED,
        f"fault {TOO_LONG}",
        f"finished badly: prompt_too_long: {TOO_LONG}",
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
LONG_TEXTS = ("http-400-prompt-too-long", "model-refusal")
"""The table holds the beginning of the CLI's text."""


def captured(name: str) -> list[bytes]:
    return (CAPTURED / f"{name}.jsonl").read_bytes().splitlines()


def events(lines: list[bytes]) -> list[AgentEvent]:
    parser = ClaudeCodeParser()
    return [event for line in lines for event in parser.feed(line)]


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def assistant(*blocks: object) -> bytes:
    return line(type="assistant", message={"model": "m", "content": list(blocks)})


def result(**fields: object) -> bytes:
    good = {"type": "result", "subtype": "success", "is_error": False, "terminal_reason": "completed"}
    return line(**(good | fields))


@pytest.mark.parametrize("name", EXPECTED)
def test_captured_stream_becomes_these_events(name: str) -> None:
    seen = [in_short(event) for event in events(captured(name))]
    if name in LONG_TEXTS:
        assert len(seen) == len(EXPECTED[name])
        seen = [entry[: len(start)] for entry, start in zip(seen, EXPECTED[name], strict=True)]
    assert seen == EXPECTED[name]


def test_every_captured_stream_is_in_the_table() -> None:
    assert {path.stem for path in CAPTURED.glob("*.jsonl")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_result_belongs_to_a_call(name: str) -> None:
    seen = events(captured(name))
    called = [event.id for event in seen if isinstance(event, ToolCall)]
    answered = [event.id for event in seen if isinstance(event, ToolResult)]
    assert sorted(called) == sorted(answered)
    assert all(called)


def test_a_resumed_session_reports_only_what_it_used_itself() -> None:
    totals = [
        json.loads(captured(name)[-1])["total_cost_usd"] for name in ("session-first", "session-resumed")
    ]
    assert totals[1] == pytest.approx(2 * totals[0]), "the CLI's own figure is cumulative"
    used = [event for event in events(captured("session-resumed")) if isinstance(event, UsageReported)]
    assert [event.usage.cost_usd for event in used] == [pytest.approx(totals[0])]


def test_usage_of_several_models_is_added_up() -> None:
    by_model = {
        "a": {"inputTokens": 1, "outputTokens": 2, "cacheCreationInputTokens": 3, "cacheReadInputTokens": 4},
        "b": {"inputTokens": 10, "costUSD": 0.5},
    }
    (reported, _) = events([result(model_usage_since_last_result=by_model)])
    assert reported == UsageReported(
        usage=Usage(input_tokens=11, output_tokens=2, cache_write_tokens=3, cache_read_tokens=4, cost_usd=0.5)
    )


@pytest.mark.parametrize(
    "count",
    [True, -1, 2**63, 10**400, 1.5, "7", None, [], {}],
    ids=["bool", "negative", "63-bit", "huge", "fraction", "text", "null", "list", "object"],
)
def test_a_token_count_that_is_none_is_not_counted(count: object) -> None:
    assert not any(
        isinstance(event, UsageReported)
        for event in events([result(model_usage_since_last_result={"m": {"inputTokens": count}})])
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"is_error": True},
        {"is_error": None},
        {"terminal_reason": "api_error"},
        {"terminal_reason": "something new"},
        {"api_error_status": 500},
        {"api_error": "connection_failed"},
    ],
    ids=lambda fields: "-".join(f"{key}={value}" for key, value in fields.items()),
)
def test_any_sign_of_an_error_makes_the_result_one(fields: dict[str, object]) -> None:
    good = {"status": "completed", "summary": "s"}
    (finished,) = events([result(structured_output=good, **fields)])
    assert isinstance(finished, Finished)
    assert finished.is_error


def test_subtype_and_text_decide_nothing() -> None:
    (finished,) = events([result(subtype="error_during_execution", result="I failed")])
    assert isinstance(finished, Finished)
    assert not finished.is_error
    assert finished.outcome is None


@pytest.mark.parametrize(
    ("resets_at", "until"),
    [(1893456000, 1893456000.0), (None, None), ("soon", None), (-5, None), (True, None), (10**400, None)],
    ids=["seconds", "absent", "text", "negative", "bool", "huge"],
)
def test_a_usage_limit_says_until_when(resets_at: object, until: float | None) -> None:
    info = {"status": "rejected", "rateLimitType": "seven_day", "resetsAt": resets_at}
    seen = events([line(type="rate_limit_event", rate_limit_info=info)])
    assert seen == [ProviderRefusal(kind="usage_limit", detail="seven_day", until=until)]


@pytest.mark.parametrize(
    ("name", "inputs", "summary"),
    [
        ("Bash", {"command": "make\n  test"}, "run make … (2 lines)"),
        ("Bash", {"command": "/workspace/a.sh"}, "run /workspace/a.sh"),
        ("Bash", {"command": "\x1b[31m\u202eecho\x07"}, "run echo"),
        ("Bash", {"command": "x" * 5_000_000}, "run " + "x" * 115 + "…"),
        ("Bash", {}, "use Bash {}"),
        ("Read", {"file_path": "/etc/passwd"}, "read /etc/passwd"),
        ("Edit", {"file_path": "/workspace/ä b.py"}, "edit ä b.py"),
        ("Write", {"file_path": 7}, 'use Write {"file_path": 7}'),
        ("Agent", {"description": "Look"}, "hand to a sub-agent: Look"),
        ("Odd\nname", {"a": "ä"}, 'use Odd name {"a": "ä"}'),
    ],
    ids=["two lines", "path", "codes", "long", "empty", "outside", "umlaut", "type", "agent", "other"],
)
def test_a_tool_call_in_words(name: str, inputs: object, summary: str) -> None:
    (call,) = events([assistant({"type": "tool_use", "id": "t", "name": name, "input": inputs})])
    assert isinstance(call, ToolCall)
    assert call.summary == summary


def test_text_is_given_without_control_codes() -> None:
    text = {"type": "text", "text": "[/workspace/a.py]\n\x1b[2J\ud800"}
    assert events([assistant(text)]) == [Text(text="[/workspace/a.py]\n?")]


@pytest.mark.parametrize(
    "raw",
    [
        b"not JSON",
        b'{"type": "system", "subtype": "of tomorrow"}',
        b'{"type": "of tomorrow"}',
        b'{"type": "assistant", "message": {"content": [{"type": "of tomorrow"}]}}',
        b'{"type": "system", "subtype": "init"}',
        b'{"type": "result", "type": "result"}',
        b'{"type": "result", "num_turns": NaN}',
        b'{"type": "result", "errors": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
        b"[" * 200_000,
        b"\xff\xfe",
    ],
    ids=["words", "subtype", "type", "block", "no-session", "duplicate", "nan", "deep", "very-deep", "bytes"],
)
def test_what_is_not_known_is_kept_as_it_came(raw: bytes) -> None:
    assert events([raw]) == [Unknown(line=raw.decode("utf-8", "replace"))]


def test_a_line_of_megabytes_is_read() -> None:
    block = {"type": "tool_result", "tool_use_id": "t", "content": "x" * 20_000_000, "is_error": True}
    assert events([line(type="user", message={"content": [block]})]) == [
        ToolResult(id="t", is_error=True, text="x" * 159 + "…")
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a\n\x1b[31mb", "a … (2 lines)"),
        ([{"type": "text", "text": "a"}, {"type": "image"}], "a … (2 lines)"),
        ([{"type": "image"}], "[image]"),
        (None, ""),
        (7, ""),
        ([7, {}], "[]"),
    ],
    ids=["text", "blocks", "no text", "none", "number", "noise"],
)
def test_the_answer_of_a_tool_in_one_line(content: object, text: str) -> None:
    block = {"type": "tool_result", "tool_use_id": "t", "content": content}
    (seen,) = events([line(type="user", message={"content": [block]})])
    assert seen == ToolResult(id="t", is_error=False, text=text)


# fmt: off
KEYS = st.sampled_from(
    [
        "type", "subtype", "message", "content", "model", "session_id", "error", "error_status",
        "api_error", "api_error_status", "is_error", "id", "api_error_type", "api_error_params",
        "is_api_error_message", "rate_limit_info", "status", "resetsAt", "errors", "result", "name",
        "terminal_reason", "structured_output", "model_usage_since_last_result", "inputTokens", "costUSD",
        "input", "command", "attempt", "tool_use_id", "options", "question",
    ]
)
WORDS = st.sampled_from(
    [
        "init", "api_retry", "text", "tool_use", "tool_result", "thinking", "StructuredOutput", "Bash",
        "rejected", "needs_human",
    ]
)
# fmt: on
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def assert_storable(event: AgentEvent) -> None:
    """Neither a lone surrogate nor a number that JSON or the journal does not have."""
    json.dumps(msgspec.to_builtins(event), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("kind", ["system", "assistant", "user", "rate_limit_event", "result"])
@given(fields=st.dictionaries(KEYS, JSON, max_size=6))
def test_no_field_of_a_known_line_makes_it_raise(kind: str, fields: dict[str, object]) -> None:
    for event in ClaudeCodeParser().feed(line(**(fields | {"type": kind}))):
        assert_storable(event)


@given(st.binary())
def test_no_bytes_make_the_parser_raise(raw: bytes) -> None:
    for event in events([raw]):
        assert_storable(event)


@given(st.sampled_from(sorted(EXPECTED)), st.data())
def test_no_cut_or_bent_line_makes_the_parser_raise(name: str, data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(captured(name))))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    ClaudeCodeParser().feed(bytes(raw))
    ClaudeCodeParser().feed(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
