"""The Messages API as the agent's CLI expects it: answers in one piece, as a stream, and errors. Pure."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import asdict

from orchestrator.gateway.script import Answer

OUTCOME_TOOL = "StructuredOutput"
EMPTY_OUTCOME = {"summary": "", "handoff": ""}
"""The keys that the agent's CLI requires of every outcome; a script may leave them out."""
PIECE = 64  # characters of text in one event of a stream

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def error_body(status: int, message: str, *, kind: str | None = None) -> bytes:
    """An error in the provider's format; `kind` is its type, by default the usual one of the status."""
    usual = ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    error = {"type": kind or usual, "message": message}
    return json.dumps({"type": "error", "error": error}).encode()


def build_message(answer: Answer, *, model: str, seed: str) -> dict[str, Any]:
    """The answer as one message. Its ids are derived from `seed`, so a retry gets the same ids."""
    uses = [(tool.name, tool.input) for tool in answer.tools]
    if answer.outcome is not None:
        uses.append((OUTCOME_TOOL, {**EMPTY_OUTCOME, **answer.outcome}))
    content: list[dict[str, Any]] = []
    if answer.thinking:
        content.append({"type": "thinking", "thinking": answer.thinking, "signature": _id("sig", seed)})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    for number, (name, value) in enumerate(uses):
        identity = _id("toolu", f"{seed}/{number}")
        content.append({"type": "tool_use", "id": identity, "name": name, "input": value})
    return {
        "id": _id("msg", seed),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": answer.stop_reason or ("tool_use" if uses else "end_turn"),
        "stop_sequence": None,
        "usage": asdict(answer.usage),
    }


def stream_events(whole: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The same message as a stream: one server-sent event each."""
    return tuple(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in _events(whole)
    )


def _events(whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    usage = whole["usage"]
    start = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(whole["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": _empty_block(block)}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield {"type": "message_stop"}


def _empty_block(block: Mapping[str, Any]) -> dict[str, Any]:
    match block["type"]:
        case "text":
            return {"type": "text", "text": ""}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case _:
            return {**block, "input": {}}


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    match block["type"]:
        case "text":
            for piece in _pieces(block["text"]):
                yield {"type": "text_delta", "text": piece}
        case "thinking":
            for piece in _pieces(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": piece}
            yield {"type": "signature_delta", "signature": block["signature"]}
        case _:
            yield {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + PIECE] for start in range(0, len(text), PIECE))


def _id(prefix: str, seed: str) -> str:
    return f"{prefix}_{hashlib.sha256(seed.encode('utf-8', 'replace')).hexdigest()[:24]}"
