import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.anthropic import build_message, error_body, stream_events
from orchestrator.gateway.script import Answer, StepUsage, ToolUse

WORDS = st.text(max_size=200)
INPUTS = st.dictionaries(WORDS, WORDS | st.integers() | st.lists(WORDS, max_size=2), max_size=3)
ANSWERS = st.builds(
    Answer,
    text=WORDS,
    thinking=WORDS,
    tools=st.lists(st.builds(ToolUse, name=st.just("Bash"), input=INPUTS), max_size=2).map(tuple),
    outcome=st.none() | INPUTS,
    usage=st.builds(StepUsage, input_tokens=st.integers(0, 10**6), output_tokens=st.integers(0, 10**6)),
)


def assembled(stream: tuple[bytes, ...]) -> dict[str, Any]:
    """The message that a client of the API assembles from a stream's events."""
    whole: dict[str, Any] = {}
    pieces: dict[int, str] = {}
    for raw in stream:
        name, data = raw.decode().rstrip("\n").split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}" and raw.endswith(b"\n\n")
        match event["type"]:
            case "message_start":
                whole = event["message"]
            case "content_block_start":
                assert event["index"] == len(whole["content"])
                whole["content"].append(event["content_block"])
            case "content_block_delta":
                block, delta = whole["content"][event["index"]], event["delta"]
                if delta["type"] == "input_json_delta":
                    pieces[event["index"]] = pieces.get(event["index"], "") + delta["partial_json"]
                else:
                    field = delta["type"].removesuffix("_delta")
                    block[field] = block[field] + delta[field]
            case "content_block_stop":
                if event["index"] in pieces:
                    whole["content"][event["index"]]["input"] = json.loads(pieces[event["index"]])
            case "message_delta":
                whole |= {**event["delta"], "usage": event["usage"]}
    return whole


@given(ANSWERS)
def test_a_stream_and_the_answer_in_one_piece_say_the_same(answer: Answer) -> None:
    whole = build_message(answer, model="m", seed="s")
    assert assembled(stream_events(whole)) == whole


def test_ids_depend_on_the_seed_and_differ_within_an_answer() -> None:
    answer = Answer(tools=(ToolUse(name="Bash"), ToolUse(name="Bash")), outcome={"status": "completed"})
    once, again, other = (build_message(answer, model="m", seed=seed) for seed in ("a", "a", "b"))
    ids = [once["id"], *(block["id"] for block in once["content"])]
    assert once == again
    assert len(set(ids)) == 4
    assert not set(ids) & {other["id"], *(block["id"] for block in other["content"])}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(Answer(text="a"), "end_turn", id="text"),
        pytest.param(Answer(tools=(ToolUse(name="Bash"),)), "tool_use", id="tool"),
        pytest.param(Answer(outcome={}), "tool_use", id="outcome"),
        pytest.param(Answer(text="a", stop_reason="max_tokens"), "max_tokens", id="given"),
    ],
)
def test_stop_reason(answer: Answer, reason: str) -> None:
    assert build_message(answer, model="m", seed="s")["stop_reason"] == reason


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication_error"),
        (529, "overloaded_error"),
        (502, "api_error"),
        (418, "invalid_request_error"),
    ],
)
def test_errors_have_the_type_of_their_status(status: int, kind: str) -> None:
    assert json.loads(error_body(status, "no")) == {"type": "error", "error": {"type": kind, "message": "no"}}
