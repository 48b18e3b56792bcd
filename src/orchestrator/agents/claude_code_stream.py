"""The output of Claude Code with `--output-format stream-json`, as events of `orchestrator.events`.

One JSON object a line. Traps of the format (2.1.330):

* `subtype: "success"` says nothing: an API failure ends with it too. `is_error`, `terminal_reason` and the
  `api_error…` fields decide, never a subtype or a text.
* A result without `structured_output` exits 0 as well; only the key's presence is an outcome.
* `total_cost_usd` and `modelUsage` are totals of the session, over resumes;
  `model_usage_since_last_result` is the difference.
* Each content block is an event of its own; an API failure comes as an assistant message of the CLI's own.

Processes of the agent can write to this stream, and so forge any line: every field is checked before it is
used, and no line is trusted to mean success by itself.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from orchestrator.agents.json_object import decode_object
from orchestrator.events import (
    AgentEvent,
    AgentFault,
    Finished,
    LimitKind,
    ProviderRefusal,
    SessionStarted,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
    Usage,
    UsageReported,
    parse_outcome,
)
from orchestrator.text import first_line, one_line, plain

_OUTCOME_TOOL: Final = "StructuredOutput"

_QUIET_SYSTEM: Final = frozenset(
    {
        "background_tasks_changed",
        "compact_boundary",
        "informational",
        "model_fallback",
        "model_refusal_no_fallback",
        "permission_denied",
        "status",
        "task_notification",
        "task_progress",
        "task_started",
        "task_updated",
        "thinking_tokens",
    }
)

_LIMITS: Final[dict[object, LimitKind]] = {
    "usage_limit_reached": "usage_limit",
    "billing_error": "billing",
    "overloaded_error": "overloaded",
    "overloaded": "overloaded",
    "authentication_failed": "credential_refused",
    "rate_limit": "rate_limit",
    401: "credential_refused",
    402: "billing",
    403: "credential_refused",
    429: "rate_limit",
    529: "overloaded",
}
_LIMIT_FIELDS: Final = ("api_error", "api_error_type", "error", "api_error_status", "error_status")
"""Most specific first: 402 has error "unknown", 529 has error "server_error"."""

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
        events = self._events(entry)
        return (_unknown(line),) if events is None else tuple(events)

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
                info = _mapping(entry, "rate_limit_info")
                if info.get("status") != "rejected":
                    return []
                detail = one_line(_string(info, "rateLimitType") or "usage limit", _DETAIL_WIDTH)
                return [ProviderRefusal(kind="usage_limit", detail=detail, until=_resets_at(entry))]
            case "result":
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
                finished = _read_finish(entry)
                return [finished] if usage == Usage() else [UsageReported(usage=usage), finished]
        return None

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
    detail = _result_detail(entry) if is_error or outcome is None else ""
    return Finished(is_error=is_error, detail=detail, outcome=outcome)


def _result_detail(entry: _Entry) -> str:
    errors = entry.get("errors")
    messages = [error for error in errors if isinstance(error, str)] if isinstance(errors, list) else []
    reason = _string(entry, "terminal_reason") or _string(entry, "subtype")
    words = [reason, *messages, _string(entry, "result")]
    return one_line(": ".join(word for word in words if word), _DETAIL_WIDTH)


def _limit_kind(entry: _Entry) -> LimitKind | None:
    signs = (entry.get(field) for field in _LIMIT_FIELDS)
    return next((_LIMITS[sign] for sign in signs if isinstance(sign, str | int) and sign in _LIMITS), None)


def _resets_at(entry: _Entry) -> float | None:
    return _number(_mapping(entry, "rate_limit_info").get("resetsAt"))


def _unknown(line: bytes) -> Unknown:
    return Unknown(line=line.decode("utf-8", "replace"))


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
