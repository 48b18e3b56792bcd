import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from gateway_kit import ASK, TOKEN, endpoint, post, talk

from orchestrator.gateway.script import Script, parse_script

STREAMED = {**ASK, "stream": True}


def script(*steps: dict[str, Any]) -> Script:
    return parse_script(json.dumps({"schema": 1, "tasks": {"3.1": {"steps": steps}}}), where="here")


async def test_in_one_piece_and_as_a_stream(sockets: Path) -> None:
    async with endpoint(sockets / "a", script({"text": "Hello", "tools": [{"name": "Bash"}]})) as path:
        whole, stream = await post(path), await post(path, ask=STREAMED)
    assert whole.json["content"][0] == {"type": "text", "text": "Hello"}
    assert (whole.json["model"], whole.json["stop_reason"]) == ("m", "tool_use")
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert whole.json["id"].encode() in stream.body and stream.body.endswith(b'{"type": "message_stop"}\n\n')


async def test_an_error_with_its_headers(sockets: Path) -> None:
    step = {"error": {"status": 429, "message": "slow", "headers": {"retry-after": "30"}}}
    async with endpoint(sockets / "a", script(step)) as path:
        got = await post(path, ask=STREAMED)
    assert (got.status, got.headers["retry-after"]) == (429, "30")
    assert got.json == {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}


async def test_a_dropped_connection(sockets: Path) -> None:
    async with endpoint(sockets / "a", script({"drop": True})) as path:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(path)


async def test_a_stream_cut_after_some_events(sockets: Path) -> None:
    async with (
        endpoint(sockets / "a", script({"text": "Hello", "cut_after": 3})) as path,
        talk(path) as session,
    ):
        async with session.post("/v1/messages", json=STREAMED, headers={"x-api-key": TOKEN}) as response:
            got = b""
            with pytest.raises(aiohttp.ClientPayloadError):
                while piece := await response.content.readany():
                    got += piece
        assert got.count(b"\n\n") == 3
        assert (await post(path)).json["content"][0]["text"] == "Hello"


@pytest.mark.parametrize("ask", [b"", b"[]", b"{}", b'{"messages": 1}', b"\xff", b"[" * 100_000])
async def test_an_invalid_request_is_refused(sockets: Path, ask: bytes) -> None:
    async with endpoint(sockets / "a", script({"text": "Hello"})) as path:
        got = await post(path, ask=ask)
    assert got.status == 400 and got.json["error"]["type"] == "invalid_request_error"


async def test_the_token_counts_here_too(sockets: Path) -> None:
    async with endpoint(sockets / "a", script({"text": "Hello"})) as path:
        assert (await post(path, headers={"x-api-key": "x"})).status == 401
        counted = await post(path, target="/v1/messages/count_tokens")
    assert counted.json["input_tokens"] > 0
