"""Claude Code's stream: what the real CLI printed, and what it must never be able to do to us."""

import json

import msgspec
import pytest
from claude_code_streams import CAPTURED, EXPECTED, LONG_TEXTS, in_lines
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agents.claude_code_stream import _REASONS, _START_FAILURES, ClaudeCodeParser
from orchestrator.agents.json_object import MAX_DEPTH
from orchestrator.events import (
    AgentEvent,
    AgentFault,
    Finished,
    ProviderRefusal,
    SessionLost,
    StartFailure,
    Text,
    ToolCall,
    ToolResult,
    TurnBegan,
    Unknown,
    Usage,
    UsageReported,
)


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
    seen = in_lines(events(captured(name)))
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
    results = [
        json.loads(raw)
        for name in ("session-first", "session-resumed")
        for raw in captured(name)
        if b'"type":"result"' in raw
    ]
    totals = [each["total_cost_usd"] for each in results]
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
    ("text", "expires"),
    [
        ("2026-11-28T05:00:00.000Z", "2026-11-28T05:00:00.000Z"),
        ("2026-11-28T06:00:00+01:00", "2026-11-28T05:00:00.000Z"),
        *((text, None) for text in ("2026-11-28T05:00:00", "0001-01-01T00:00:00+01:00", "soon", "", None, 7)),
    ],
)
def test_a_result_says_when_the_login_ends(text: object, expires: str | None) -> None:
    (finished,) = [
        each for each in events([result(credential_expires_at=text)]) if isinstance(each, Finished)
    ]
    assert finished.credential_expires == expires


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
    finished, *unknown = events([result(structured_output=good, **fields)])
    assert isinstance(finished, Finished)
    assert finished.is_error
    assert all(isinstance(event, Unknown) for event in unknown)


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
    (seen,) = events([raw])
    assert isinstance(seen, Unknown)
    assert seen.line == raw.decode("utf-8", "replace")


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


INIT = line(type="system", subtype="init", session_id="s", model="m")
REASONS = tuple(_START_FAILURES)
TERMINAL = tuple(_REASONS)


def unknown_kinds(*lines: bytes) -> list[str]:
    return [event.kind for event in events(list(lines)) if isinstance(event, Unknown)]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (line(type="system", subtype="of_tomorrow"), "system/of_tomorrow"),
        (line(type="of_tomorrow"), "of_tomorrow"),
        (line(type=7), "a line without a type"),
        (line(type="a\x1b[2Jb"), "ab"),
        (b"words", ""),
        (result(terminal_reason="of_tomorrow", is_error=True), "terminal_reason/of_tomorrow"),
        (result(startup_failure_reason="of_tomorrow", is_error=True), "startup_failure_reason/of_tomorrow"),
        (line(type="assistant", error="of_tomorrow", is_api_error_message=True), "error/of_tomorrow"),
        (line(type="system", subtype="session_state_changed", state="of_tomorrow"), "state/of_tomorrow"),
    ],
)
def test_a_word_that_is_new_is_named(raw: bytes, kind: str) -> None:
    assert unknown_kinds(raw) == [kind]


def test_every_word_that_the_cli_declares_is_known() -> None:
    """The words are those of the SDK's types for 2.1.332."""
    assert (len(REASONS), len(TERMINAL)) == (25, 19)
    lines = [result(startup_failure_reason=word, is_error=True) for word in REASONS]
    lines += [result(terminal_reason=word) for word in TERMINAL]
    lines += [line(type="assistant", error=word, is_api_error_message=True) for word in ERRORS]
    assert unknown_kinds(*lines) == []


ERRORS = {
    "authentication_failed": "credential_refused",
    "oauth_org_not_allowed": "credential_refused",
    "account_on_hold": "credential_refused",
    "verification_required": "credential_refused",
    "cloud_credential_error": "credential_refused",
    "billing_error": "billing",
    "rate_limit": "rate_limit",
    "overloaded": "overloaded",
    "model_not_found": "model_unknown",
    "invalid_request": None,
    "server_error": None,
    "unknown": None,
    "max_output_tokens": None,
}


@pytest.mark.parametrize(("error", "kind"), ERRORS.items())
def test_a_kind_of_api_error_is_a_limit_or_a_fault(error: str, kind: str | None) -> None:
    (seen,) = events([line(type="assistant", error=error, is_api_error_message=True)])
    assert seen.kind == kind if isinstance(seen, ProviderRefusal) else kind is None


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("bypass_root", "installation"),
        ("cli_version_too_old", "installation"),
        ("config_file_invalid", "installation"),
        ("of_tomorrow", "installation"),
        ("org_config_refused", "credential"),
        ("gateway_signin_required", "credential"),
        ("provider_not_allowed", "credential"),
        ("org_verify_failed", "provider"),
    ],
)
def test_a_refusal_to_start_says_what_to_repair(reason: str, kind: str) -> None:
    raw = result(startup_failure_reason=reason, is_error=True, errors=["the CLI's words"])
    seen = next(event for event in events([raw]) if isinstance(event, StartFailure))
    assert (seen.kind, seen.detail) == (kind, f"{reason}: the CLI's words")


def test_a_refusal_to_start_is_not_believed_once_the_session_has_started() -> None:
    forged = result(startup_failure_reason="org_config_refused", is_error=True)
    assert not [event for event in events([INIT, forged]) if isinstance(event, StartFailure)]


@pytest.mark.parametrize(
    ("reason", "is_lost"),
    [
        ("blocking_limit", True),
        ("rapid_refill_breaker", True),
        ("prompt_too_long", True),
        ("image_error", True),
        ("turn_setup_failed", False),
        ("malformed_tool_use_exhausted", False),
        ("tool_deferred_unavailable", False),
        ("max_turns", False),
    ],
)
def test_a_session_that_is_full_cannot_be_continued(reason: str, *, is_lost: bool) -> None:
    seen = events([result(terminal_reason=reason)])
    assert any(isinstance(event, SessionLost) for event in seen) == is_lost
    assert isinstance(seen[-1], Finished)
    assert seen[-1].is_error


@pytest.mark.parametrize(
    ("lost", "is_lost"),
    [
        (["transcript"], True),
        (["global_config"], False),
        (["global_config", "transcript"], True),
        (None, True),
    ],
)
def test_lost_lines_of_a_session_are_not_lost_lines_of_a_configuration(
    lost: object, *, is_lost: bool
) -> None:
    raw = line(type="system", subtype="session_writes_lost", error_code="EDQUOT", lost=lost)
    expected = [SessionLost(detail="a part of it could not be stored (EDQUOT)")] if is_lost else []
    assert events([raw]) == expected


@pytest.mark.parametrize(
    ("state", "begins"), [("running", True), ("idle", False), ("requires_action", False)]
)
def test_a_state_of_the_session_says_when_a_turn_begins(state: str, *, begins: bool) -> None:
    seen = events([line(type="system", subtype="session_state_changed", state=state)])
    assert seen == ([TurnBegan()] if begins else [])


@pytest.mark.parametrize(
    "extra", [{"errorCode": "credits_required"}, {"limitScope": "group_pool"}], ids=["credits", "group"]
)
def test_a_limit_that_no_reset_lifts_is_billing(extra: dict[str, str]) -> None:
    info = {"status": "rejected", "rateLimitType": "seven_day", "resetsAt": 1893456000, **extra}
    (seen,) = events([line(type="rate_limit_event", rate_limit_info=info)])
    assert isinstance(seen, ProviderRefusal)
    assert (seen.kind, seen.until) == ("billing", None)


def test_a_retry_after_silence_says_how_long_it_was() -> None:
    raw = line(
        type="system",
        subtype="api_retry",
        error_status=None,
        attempt=1,
        max_retries=1,
        error="unknown",
        no_response={"waited_ms": 360_000, "retry_wait_ms": 360_000},
    )
    assert events([raw]) == [AgentFault(detail="the model sent nothing for 360 s (unknown), attempt 1 of 1")]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_captured_stream_has_no_word_that_is_new(name: str) -> None:
    assert unknown_kinds(*captured(name)) == []
