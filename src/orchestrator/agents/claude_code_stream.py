"""The output of Claude Code with `--output-format stream-json`, as events of `orchestrator.events`.

One JSON object a line. Traps of the format (2.1.332):

* `subtype: "success"` says nothing: an API failure ends with it too. `is_error`, `terminal_reason` and the
  `api_error…` fields decide, never a subtype or a text.
* A result without `structured_output` exits 0 as well; only the key's presence is an outcome.
* `total_cost_usd` and `modelUsage` are totals of the session, over resumes;
  `model_usage_since_last_result` is the difference.
* Each content block is an event of its own; an API failure comes as an assistant message of the CLI's own.
* A refusal to start is a result, too. It is believed only before the session was announced: later, a tool
  could have written it.

Processes of the agent can write to this stream, and so forge any line: every field is checked before it is
used, and no line is trusted to mean success by itself.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from orchestrator.agents.json_object import decode_object
from orchestrator.events import (
    AgentEvent,
    AgentFault,
    Finished,
    LimitKind,
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
    parse_outcome,
)
from orchestrator.text import first_line, one_line, plain, utc_text

_OUTCOME_TOOL: Final = "StructuredOutput"

_QUIET: Final = frozenset(
    {"auth_status", "keep_alive", "prompt_suggestion", "stream_event", "tool_progress", "tool_use_summary"}
)
_QUIET_SYSTEM: Final = frozenset(
    {
        "background_tasks_changed",
        "commands_changed",
        "compact_boundary",
        "elicitation_complete",
        "files_persisted",
        "hook_progress",
        "hook_response",
        "hook_started",
        "informational",
        "local_command_output",
        "memory_recall",
        "mirror_error",
        "model_fallback",
        "model_refusal_fallback",
        "model_refusal_no_fallback",
        "notification",
        "permission_denied",
        "plugin_install",
        "status",
        "task_notification",
        "task_progress",
        "task_started",
        "task_updated",
        "thinking_tokens",
        "worker_shutting_down",
    }
)
_STATES: Final = ("idle", "running", "requires_action")

_LIMITS: Final[dict[object, LimitKind]] = {
    "usage_limit_reached": "usage_limit",
    "billing_error": "billing",
    "credits_required": "billing",
    "overloaded_error": "overloaded",
    "overloaded": "overloaded",
    "authentication_failed": "credential_refused",
    "oauth_org_not_allowed": "credential_refused",
    "account_on_hold": "credential_refused",
    "verification_required": "credential_refused",
    "cloud_credential_error": "credential_refused",
    "model_not_found": "model_unknown",
    "rate_limit": "rate_limit",
    401: "credential_refused",
    402: "billing",
    403: "credential_refused",
    404: "model_unknown",
    429: "rate_limit",
    529: "overloaded",
}
_LIMIT_FIELDS: Final = ("api_error", "api_error_type", "error", "api_error_status", "error_status")
"""Most specific first: 402 has error "unknown", 529 has error "server_error"."""

_OTHER_ERRORS: Final = frozenset({"invalid_request", "server_error", "unknown", "max_output_tokens"})
"""Kinds of errors of the API, beside those in _LIMITS, that are faults of one request."""

_REASONS: Final[Mapping[str, str]] = {
    "completed": "",
    "api_error": "",
    "model_error": "",
    "image_error": "the session holds an image that the model does not take",
    "malformed_tool_use_exhausted": "the model's tool calls could not be read",
    "structured_output_retry_exhausted": "",
    "max_turns": "",
    "budget_exhausted": "",
    "aborted_streaming": "",
    "aborted_tools": "",
    "stop_hook_prevented": "a hook stopped the agent",
    "hook_stopped": "a hook stopped the agent",
    "tool_deferred": "a tool waits for an answer from outside",
    "tool_deferred_unavailable": "a tool waits for an answer from outside",
    "background_requested": "the agent was moved to the background",
    "turn_setup_failed": "the turn could not be prepared",
    "blocking_limit": "the session is full",
    "rapid_refill_breaker": "the session fills up again after each compaction",
    "prompt_too_long": "the session is full",
}
"""Every `terminal_reason` of a result, with what the CLI's own messages leave unsaid."""
_FULL: Final = frozenset({"blocking_limit", "rapid_refill_breaker", "prompt_too_long", "image_error"})
"""Reasons for which every further request of the same session fails again."""
_NO_SESSION: Final = "No conversation found with session ID"
"""How the error of a CLI begins that has no file for the session, or one that is not a session any more."""

_START_FAILURES: Final[Mapping[str, StartFailureKind]] = {
    "org_pin_api_key_conflict": "credential",
    "provider_not_allowed": "credential",
    "org_verify_failed": "provider",
    "org_pin_mismatch": "credential",
    "managed_settings_invalid": "installation",
    "remote_settings_required_unavailable": "provider",
    "gateway_signin_required": "credential",
    "gateway_access_denied": "credential",
    "proxy_invalid": "installation",
    "temp_dir_unusable": "installation",
    "cwd_unavailable": "installation",
    "shell_tool_missing": "installation",
    "session_held_by_background": "installation",
    "worktree_resume_refused": "installation",
    "worktree_unverified": "installation",
    "cli_version_too_old": "installation",
    "bypass_root": "installation",
    "org_config_required_unavailable": "provider",
    "org_config_refused": "credential",
    "sandbox_required_unavailable": "installation",
    "initialize_not_first": "installation",
    "config_file_invalid": "installation",
    "managed_settings_not_delivered": "installation",
    "initialize_fields_not_delivered": "installation",
    "sideload_flags_disabled": "installation",
}
"""Every `startup_failure_reason`, with what has to be repaired."""

_TOOL_WORDS: Final = {
    "Bash": ("run", "command"),
    "Edit": ("edit", "file_path"),
    "Read": ("read", "file_path"),
    "Write": ("write", "file_path"),
    "Task": ("hand to a sub-agent:", "description"),
    "Agent": ("hand to a sub-agent:", "description"),
}
_SUMMARY_SOURCE_CHARS: Final = 100_000
_RESULT_SOURCE_CHARS: Final = 100_000
_RESULT_WIDTH: Final = 160
_DETAIL_WIDTH: Final = 300
_LARGEST_COUNT: Final = 2**53

_Entry = Mapping[str, Any]


class ClaudeCodeParser:
    """Turns lines into events; remembers announced sessions, and the tool calls that reported the outcome."""

    def __init__(self) -> None:
        self._sessions: set[str] = set()
        self._outcome_calls: set[str] = set()

    def feed(self, line: bytes) -> tuple[AgentEvent, ...]:
        if not line.strip():
            return ()
        try:
            entry = decode_object(line)
        except ValueError:
            return (_unknown(line),)
        events, unknown = self._events(entry), _new_names(entry)
        if events is None:
            return (_unknown(line, _name_of(entry)),)
        return (*events, *(_unknown(line, name) for name in unknown))

    def _events(self, entry: _Entry) -> list[AgentEvent] | None:
        """None: a line whose meaning is not known."""
        match entry.get("type"):
            case "system":
                return self._system(entry)
            case "assistant":
                return _api_error(entry) if entry.get("is_api_error_message") else self._assistant(entry)
            case "user":
                return self._user(entry)
            case "rate_limit_event":
                return _rate_limit(entry)
            case "result":
                return self._result(entry)
            case str(kind) if kind in _QUIET:
                return []
        return None

    def _result(self, entry: _Entry) -> list[AgentEvent]:
        by_model = _mapping(entry, "model_usage_since_last_result")
        usage = Usage()
        for model in by_model:
            used = _mapping(by_model, model)
            usage += Usage(
                input_tokens=_count(used.get("inputTokens")),
                output_tokens=_count(used.get("outputTokens")),
                cache_write_tokens=_count(used.get("cacheCreationInputTokens")),
                cache_read_tokens=_count(used.get("cacheReadInputTokens")),
                cost_usd=_number(used.get("costUSD")) or 0.0,
            )
        events: list[AgentEvent] = [] if usage == Usage() else [UsageReported(usage=usage)]
        refusal = entry.get("startup_failure_reason")
        if isinstance(refusal, str) and not self._sessions:
            kind = _START_FAILURES.get(refusal, "installation")
            events.append(StartFailure(kind=kind, detail=_result_detail(entry, refusal)))
        if (reason := _string(entry, "terminal_reason")) in _FULL:
            events.append(SessionLost(detail=_REASONS[reason]))
        # Before the CLI has announced a session no tool of the agent can have printed this.
        if not self._sessions and any(error.startswith(_NO_SESSION) for error in _errors(entry)):
            events.append(SessionLost(detail="its file is not a readable session", before_start=True))
        return [*events, _read_finish(entry)]

    def _system(self, entry: _Entry) -> list[AgentEvent] | None:
        match entry.get("subtype"):
            case "init":
                session = _string(entry, "session_id")
                if not session:
                    return None
                if session in self._sessions:
                    return []  # the CLI announces its session once per turn, the driver once
                self._sessions.add(session)
                return [SessionStarted(session=session, model=_string(entry, "model") or None)]
            case "api_retry":
                return _api_retry(entry)
            case "session_state_changed":
                return [TurnBegan()] if entry.get("state") == "running" else []
            case "session_writes_lost":
                return _writes_lost(entry)
            case str(subtype) if subtype in _QUIET_SYSTEM:
                return []
        return None

    def _assistant(self, entry: _Entry) -> list[AgentEvent] | None:
        events: list[AgentEvent] = []
        for block in _blocks(_mapping(entry, "message")):
            match block.get("type"):
                case "text":
                    events.append(Text(text=plain(_string(block, "text"))))
                case "tool_use":
                    events.extend(self._tool_call(block))
                case "thinking" | "redacted_thinking":
                    pass
                case _:
                    return None
        return events

    def _tool_call(self, block: _Entry) -> Iterator[AgentEvent]:
        call, name = _string(block, "id"), one_line(_string(block, "name"))
        if name == _OUTCOME_TOOL:
            self._outcome_calls.add(call)
        else:
            yield ToolCall(id=call, name=name, summary=_summarise_call(name, _mapping(block, "input")))

    def _user(self, entry: _Entry) -> list[AgentEvent]:
        results = [
            ToolResult(
                id=_string(block, "tool_use_id"),
                is_error=block.get("is_error") is True,
                text=first_line(_text_of_result(block)[:_RESULT_SOURCE_CHARS], _RESULT_WIDTH),
            )
            for block in _blocks(_mapping(entry, "message"))
            if block.get("type") == "tool_result"
        ]
        return [result for result in results if result.id not in self._outcome_calls]


def _text_of_result(block: _Entry) -> str:
    """The content of a tool result is a string, or a list of blocks of which some are text."""
    content = block.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(_string(part, "text") or f"[{_string(part, 'type')}]" for part in _blocks(block))


def _summarise_call(name: str, inputs: _Entry) -> str:
    verb, key = _TOOL_WORDS.get(name, ("", ""))
    subject = _string(inputs, key)
    if key == "file_path":
        subject = subject.removeprefix("/workspace/")
    if not subject:
        verb, subject = f"use {name}", json.dumps(inputs, ensure_ascii=False)
    return first_line(f"{verb} {subject[:_SUMMARY_SOURCE_CHARS]}")


def _rate_limit(entry: _Entry) -> list[AgentEvent]:
    info = _mapping(entry, "rate_limit_info")
    if info.get("status") != "rejected":
        return []
    detail = one_line(_string(info, "rateLimitType") or "usage limit", _DETAIL_WIDTH)
    # No reset lifts these: the user has to buy credits, or to have the budget of the group raised.
    if info.get("errorCode") == "credits_required":
        return [ProviderRefusal(kind="billing", detail=f"{detail}: credits are required")]
    if info.get("limitScope") == "group_pool":
        return [ProviderRefusal(kind="billing", detail=f"{detail}: the budget of the group is used up")]
    return [ProviderRefusal(kind="usage_limit", detail=detail, until=_resets_at(entry))]


def _writes_lost(entry: _Entry) -> list[AgentEvent]:
    """Lost lines of the CLI's own configuration do not matter: HOME is thrown away."""
    lost = entry.get("lost")
    if isinstance(lost, list) and lost and "transcript" not in lost:
        return []
    code = one_line(_string(entry, "error_code") or "no reason", 40)
    return [SessionLost(detail=f"a part of it could not be stored ({code})")]


def _api_error(entry: _Entry) -> list[AgentEvent]:
    texts = [_string(block, "text") for block in _blocks(_mapping(entry, "message"))]
    detail = one_line(" ".join(texts), _DETAIL_WIDTH)
    kind = _limit_kind(entry)
    if kind is None:
        return [AgentFault(detail=detail)]
    return [ProviderRefusal(kind=kind, detail=detail, until=_resets_at(_mapping(entry, "api_error_params")))]


def _api_retry(entry: _Entry) -> list[AgentEvent]:
    status = entry.get("error_status")
    answer = f"answered {status}" if isinstance(status, int) else "could not be reached"
    tries = f"attempt {_count(entry.get('attempt'))} of {_count(entry.get('max_retries'))}"
    waited = _count(_mapping(entry, "no_response").get("waited_ms"))
    if waited:
        answer = f"sent nothing for {waited / 1000:g} s"
    detail = one_line(f"the model {answer} ({_string(entry, 'error') or 'unknown'}), {tries}", _DETAIL_WIDTH)
    kind = _limit_kind(entry)
    return [AgentFault(detail=detail) if kind is None else ProviderRefusal(kind=kind, detail=detail)]


def _read_finish(entry: _Entry) -> Finished:
    is_error = (
        entry.get("is_error") is not False
        or entry.get("terminal_reason") not in (None, "completed")
        or entry.get("api_error_status") is not None
        or entry.get("api_error") is not None
    )
    # Only the presence of the key is an outcome: null is an invalid one.
    outcome = parse_outcome(entry["structured_output"]) if "structured_output" in entry else None
    reason = _string(entry, "terminal_reason") or _string(entry, "subtype")
    detail = _result_detail(entry, reason) if is_error or outcome is None else ""
    expires = _read_time(_string(entry, "credential_expires_at"))
    return Finished(is_error=is_error, detail=detail, outcome=outcome, credential_expires=expires)


def _result_detail(entry: _Entry, reason: str) -> str:
    words = [reason, _REASONS.get(reason, ""), *_errors(entry), _string(entry, "result")]
    return one_line(": ".join(word for word in words if word), _DETAIL_WIDTH)


def _errors(entry: _Entry) -> list[str]:
    errors = entry.get("errors")
    return [error for error in errors if isinstance(error, str)] if isinstance(errors, list) else []


def _limit_kind(entry: _Entry) -> LimitKind | None:
    signs = (entry.get(field) for field in _LIMIT_FIELDS)
    return next((_LIMITS[sign] for sign in signs if isinstance(sign, str | int) and sign in _LIMITS), None)


def _resets_at(entry: _Entry) -> float | None:
    return _number(_mapping(entry, "rate_limit_info").get("resetsAt"))


def _read_time(text: str) -> str | None:
    """None for a text that is not a time with its zone."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else utc_text(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _unknown(line: bytes, kind: str = "") -> Unknown:
    return Unknown(line=line.decode("utf-8", "replace"), kind=kind)


def _name_of(entry: _Entry) -> str:
    """The name of a kind of line: `type`, or `type/subtype`."""
    words = [one_line(_string(entry, key), 60) for key in ("type", "subtype")]
    return "/".join(word for word in words if word) or "a line without a type"


def _new_names(entry: _Entry) -> list[str]:
    """Words of a known line that this driver was not written for; they decide nothing."""
    fields: tuple[tuple[str, Iterable[object]], ...] = ()
    match entry.get("type"), entry.get("subtype"):
        case "result", _:
            fields = (("terminal_reason", _REASONS), ("startup_failure_reason", _START_FAILURES))
        case "assistant", _:
            fields = (("error", (*_LIMITS, *_OTHER_ERRORS)),)
        case "system", "session_state_changed":
            fields = (("state", _STATES),)
    return [
        f"{key}/{one_line(word, 60)}"
        for key, known in fields
        if isinstance(word := entry.get(key), str) and word not in known
    ]


def _string(entry: _Entry, key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def _mapping(entry: _Entry, key: str) -> _Entry:
    value = entry.get(key)
    return value if isinstance(value, dict) else {}


def _blocks(message: _Entry) -> list[_Entry]:
    content = message.get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _count(value: object) -> int:
    """The value, or zero if it is not a count: the journal cannot store a number out of range."""
    return value if type(value) is int and 0 <= value <= _LARGEST_COUNT else 0


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= _LARGEST_COUNT else None
