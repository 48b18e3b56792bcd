import asyncio
import json
import logging
import os
import zlib
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from gateway_kit import ASK, CANARY, TOKEN, endpoint, post, provider, serving, talk, upstream

from orchestrator.clock import SystemClock
from orchestrator.gateway.access import Credential, Provider
from orchestrator.gateway.endpoint import Endpoint
from orchestrator.gateway.passing import upstream_session
from orchestrator.subprocesses import Identity

REFUSALS = {
    401: {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
    403: {"type": "error", "error": {"type": "permission_error", "message": "no"}},
    429: {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
    529: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
}


async def hello(request: web.Request) -> web.StreamResponse:
    return web.json_response({"hello": 1}, headers={"request-id": "req_1", "Set-Cookie": "session=1"})


async def test_the_key_takes_the_place_of_the_token(sockets: Path) -> None:
    async with upstream(hello) as seen, endpoint(sockets / "a", provider(seen.url + "/prefix/")) as path:
        headers = {
            "X-Api-Key": TOKEN,
            "Authorization": f"Bearer {TOKEN}",
            "Cookie": "a=b",
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "1",
            "anthropic-version": "2023-06-01",
            "User-Agent": "claude-cli/2",
        }
        got = await post(path, headers=headers)
    method, target, reached, body = seen.requests[0]
    assert (got.status, got.json) == (200, {"hello": 1})
    assert (method, target, json.loads(body)) == ("POST", "/prefix/v1/messages?beta=true", ASK)
    assert reached["x-api-key"] == CANARY
    assert reached["anthropic-version"] == "2023-06-01" and reached["user-agent"] == "claude-cli/2"
    assert not {"authorization", "cookie", "x-hop"} & reached.keys()
    assert TOKEN not in str(seen.requests)
    assert got.headers["request-id"] == "req_1" and "Set-Cookie" not in got.headers
    assert CANARY not in str(got)


@pytest.mark.parametrize(
    ("flags", "reached"),
    [
        (None, "oauth-2025-04-20"),
        ("a-1,b-2", "a-1,b-2,oauth-2025-04-20"),
        ("a-1, oauth-2025-04-20,b-2", "a-1, oauth-2025-04-20,b-2"),
    ],
    ids=["none", "others", "there already"],
)
async def test_a_subscribers_token_goes_as_a_bearer_with_its_flag(
    sockets: Path, flags: str | None, reached: str
) -> None:
    credential = Credential(kind="oauth_token", value=CANARY)
    async with (
        upstream(hello) as seen,
        endpoint(sockets / "a", Provider(upstream=seen.url, credential=credential)) as path,
    ):
        headers = {"Authorization": f"Bearer {TOKEN}", **({} if flags is None else {"Anthropic-Beta": flags})}
        assert (await post(path, headers=headers)).status == 200
    got = seen.requests[0][2]
    assert (got["authorization"], got["anthropic-beta"]) == (f"Bearer {CANARY}", reached)
    assert "x-api-key" not in got and TOKEN not in str(seen.requests)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": TOKEN},
        {"Authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer  {TOKEN}"},
    ],
    ids=["key", "bearer", "bearer, odd"],
)
async def test_the_token_comes_as_key_or_bearer(sockets: Path, headers: dict[str, str]) -> None:
    async with upstream(hello) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        assert (await post(path, headers=headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": TOKEN + "1"},
        {"x-api-key": CANARY},
        {"Authorization": f"Basic {TOKEN}"},
    ],
    ids=["none", "empty", "longer", "the real key", "another scheme"],
)
async def test_a_wrong_token_is_refused_here(sockets: Path, headers: dict[str, str]) -> None:
    async with upstream(hello) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        got = await post(path, headers=headers)
    assert got.status == 401 and got.json["error"]["type"] == "authentication_error"
    assert seen.requests == []


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("HEAD", "/api/hello", 200),
        ("GET", "/api/hello", 200),
        ("POST", "/api/hello", 404),
        ("GET", "/v1/messages", 404),
        ("POST", "/v1/files", 404),
        ("POST", "/v1/messages/../files", 404),
        ("POST", "/v1/messages/%2e%2e/files", 404),
        ("POST", "//v1/messages", 404),
        ("POST", "/", 404),
    ],
)
async def test_nothing_but_the_models_api_is_passed(
    sockets: Path, method: str, target: str, status: int
) -> None:
    async with upstream(hello) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        assert (await post(path, method=method, target=target)).status == status
    assert seen.requests == []


async def test_counting_tokens_is_passed(sockets: Path) -> None:
    async with upstream(hello) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        assert (await post(path, target="/v1/messages/count_tokens?beta=true")).status == 200
    assert seen.requests[0][1] == "/v1/messages/count_tokens?beta=true"


@pytest.mark.parametrize("status", REFUSALS)
async def test_refusals_are_passed_on_as_they_are(sockets: Path, status: int) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        headers = {"retry-after": "7", "anthropic-ratelimit-unified-reset": "123", "x-should-retry": "false"}
        return web.json_response(REFUSALS[status], status=status, headers=headers)

    async with upstream(refuse) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        got = await post(path)
    assert (got.status, got.json) == (status, REFUSALS[status])
    assert (got.headers["retry-after"], got.headers["anthropic-ratelimit-unified-reset"]) == ("7", "123")


async def test_a_redirect_is_not_followed_with_the_key(sockets: Path) -> None:
    async with upstream(hello) as other:

        async def away(request: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": other.url + "/v1/messages"})

        async with upstream(away) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
            got = await post(path)
    assert got.status == 307
    assert other.requests == []


async def test_a_provider_that_is_not_there_is_502(sockets: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with upstream(hello) as seen:
        pass
    with caplog.at_level(logging.DEBUG):
        async with endpoint(sockets / "a", provider(seen.url)) as path:
            got = await post(path)
    assert got.status == 502 and got.json["error"]["type"] == "api_error"
    assert "127.0.0.1" in got.json["error"]["message"]
    assert CANARY not in caplog.text + str(got)


async def test_a_fault_of_our_own_is_503_and_quotes_nothing(
    sockets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with upstream_session() as session:
        pass  # closed: using it is a fault
    served = Endpoint(serving(provider("http://127.0.0.1:9")), session, SystemClock())
    await served.listen(sockets / "a", Identity(uid=os.geteuid(), gid=os.getegid()))
    got = await post(sockets / "a" / "api.sock")
    await served.close()
    assert got.status == 503 and got.json["error"]["type"] == "api_error"
    assert "gateway.fault" in caplog.text and "RuntimeError" in caplog.text
    assert CANARY not in caplog.text + str(got)


async def test_a_stream_arrives_while_it_is_made(sockets: Path) -> None:
    arrived = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: message_start\n\n")
        await arrived.wait()  # continues only when the client has the first event
        await response.write(b"event: message_stop\n\n")
        return response

    async with (
        upstream(slow) as seen,
        endpoint(sockets / "a", provider(seen.url)) as path,
        talk(path) as session,
        session.post("/v1/messages", json=ASK, headers={"x-api-key": TOKEN}) as response,
    ):
        assert await response.content.readany() == b"event: message_start\n\n"
        arrived.set()
        assert await response.content.read() == b"event: message_stop\n\n"


@pytest.mark.parametrize("begun", [True, False], ids=["in a stream", "before an answer"])
async def test_an_agent_that_hangs_up_ends_the_providers_work(sockets: Path, begun: bool) -> None:
    at_work, gone = asyncio.Event(), asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if begun:
            await response.prepare(request)
            await response.write(b"event: ping\n\n")
        at_work.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return response

    async with upstream(endless) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        async with talk(path) as session:
            asking = asyncio.create_task(session.post("/v1/messages", json=ASK, headers={"x-api-key": TOKEN}))
            await at_work.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(30):
            await gone.wait()


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "1000"}], ids=["chunked", "with a length"])
async def test_an_answer_that_breaks_off_breaks_off_here_too(sockets: Path, headers: dict[str, str]) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with upstream(broken) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(path)


async def test_big_bodies_both_ways(sockets: Path) -> None:
    big = b"x" * 30_000_000

    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read())

    async with upstream(echo) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        assert (await post(path, ask=big)).body == big


async def test_an_oversized_body_is_413(sockets: Path) -> None:
    async with upstream(hello) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        got = await post(path, ask=b"x" * (65 * 2**20))
    assert got.status == 413 and got.json["error"]["type"] == "request_too_large"
    assert seen.requests == []


async def test_answers_are_asked_for_as_they_are_and_a_compressed_one_stays_compressed(sockets: Path) -> None:
    packed = zlib.compress(b"hello" * 100)

    async def deflated(request: web.Request) -> web.StreamResponse:
        return web.Response(body=packed, headers={"Content-Encoding": "deflate"})

    async with upstream(deflated) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        got = await post(path, headers={"x-api-key": TOKEN, "Accept-Encoding": "deflate"})
    assert (got.body, got.headers["Content-Encoding"]) == (packed, "deflate")
    assert seen.requests[0][2]["accept-encoding"] == "identity"


async def test_many_at_once(sockets: Path) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read())

    async with upstream(echo) as seen, endpoint(sockets / "a", provider(seen.url)) as path:
        bodies = [os.urandom(1000) for _ in range(32)]
        got = await asyncio.gather(*(post(path, ask=body) for body in bodies))
    assert [answer.body for answer in got] == bodies
