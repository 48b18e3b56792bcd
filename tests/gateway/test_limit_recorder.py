"""Limits that an endpoint records from the provider's answers, and the moment of each record."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from gateway_kit import ASK, KEY, post, provider, serving, upstream

from orchestrator.clock import SystemClock
from orchestrator.gateway.endpoint import Endpoint
from orchestrator.gateway.gateway_journal import GatewayJournal
from orchestrator.gateway.limit_recorder import MAX_EPISODES, LimitFact, LimitRecorder
from orchestrator.gateway.limits import ProviderAnswer
from orchestrator.gateway.passing import upstream_session
from orchestrator.journal.journal import Journal
from orchestrator.run.facts import LimitPassed, LimitSeen, LimitWindow, WindowsSeen
from orchestrator.subprocesses import Identity
from orchestrator.testing.clock import FakeClock

OK = ProviderAnswer(status=200, headers={}, model="m")
DENIED = ProviderAnswer(status=403, headers={}, model="m")
BUSY = ProviderAnswer(status=529, headers={}, model="m")
LIMITED = ProviderAnswer(status=429, headers={"anthropic-ratelimit-unified-status": "rejected"}, model="m")
Bodies = list[LimitFact]


def recorder(clock: FakeClock) -> tuple[LimitRecorder, Bodies]:
    bodies: Bodies = []
    keys: set[tuple[str, str]] = set()

    async def append(body: LimitFact, key: str) -> None:
        assert (body.kind, key) not in keys
        keys.add((body.kind, key))
        bodies.append(body)

    return LimitRecorder(append, clock), bodies


async def test_the_first_of_each_cause_is_recorded() -> None:
    limits, bodies = recorder(FakeClock())
    for answer in (LIMITED, LIMITED, DENIED, OK, LIMITED):
        await limits.take(answer, 600)
    assert [(type(body), body.cause) for body in bodies if not isinstance(body, WindowsSeen)] == [
        (LimitSeen, "usage_limit"),
        (LimitSeen, "credential_refused"),
        (LimitPassed, "credential_refused"),
    ]


async def test_only_a_success_of_the_same_model_lets_a_refusal_pass() -> None:
    limits, bodies = recorder(FakeClock())
    await limits.take(DENIED, 600)
    await limits.take(ProviderAnswer(status=200, headers={}, model="other"), 600)
    assert len(bodies) == 1
    await limits.take(OK, 600)
    await limits.take(DENIED, 600)
    assert [type(body) for body in bodies] == [LimitSeen, LimitPassed, LimitSeen]


async def test_an_agent_cannot_fill_the_journal() -> None:
    limits, bodies = recorder(FakeClock())
    for _ in range(10 * MAX_EPISODES):
        await limits.take(DENIED, 600)
        await limits.take(OK, 600)
    assert len(bodies) == 2 * MAX_EPISODES


async def failures(clock: FakeClock, *seconds: float, between: ProviderAnswer = BUSY) -> Bodies:
    """Send requests that fail, each after one of these pauses, and return the recorded facts.

    The answer `between` comes once, in the middle.
    """
    limits, bodies = recorder(clock)
    for number, pause in enumerate(seconds):
        clock.advance(pause)
        await limits.take(between if number == len(seconds) // 2 else BUSY, 600)
    return bodies


async def test_the_use_of_the_windows_is_recorded_when_it_has_moved() -> None:
    limits, bodies = recorder(FakeClock())
    for used in ("0.5", "0.5", "0.51", "0.53", "0.53"):
        headers = {"anthropic-ratelimit-unified-5h-utilization": used}
        assert limits.is_news(headers) == (used in ("0.5", "0.53") and f"={used}" not in str(bodies[-1:]))
        await limits.take(ProviderAnswer(status=200, headers=headers, model="m"), 600)
    await limits.take(OK, 600)
    assert bodies == [
        WindowsSeen(windows=(LimitWindow(window="five_hour", utilization=used),)) for used in (0.5, 0.53)
    ]


async def test_answers_without_a_limit_for_an_hour_are_an_outage_however_small_their_pauses() -> None:
    busy = ProviderAnswer(status=429, headers={}, model="m")
    clock = FakeClock()
    limits, bodies = recorder(clock)
    for _ in range(60):
        await limits.take(busy, 600)
        clock.advance(60)
    assert bodies == [LimitSeen(cause="model_away", effect="outage", status=429, model="m")]


async def test_an_outage_is_recorded_once_there_was_no_success_for_so_long() -> None:
    assert await failures(FakeClock(), 0, 300, 299) == []
    (seen,) = await failures(FakeClock(), 0, 300, 300, 300)
    assert seen == LimitSeen(cause="model_away", effect="outage", status=529, model="m")
    assert await failures(FakeClock(), 0, 300, 300, 300, between=OK) == []


async def test_a_long_pause_between_two_failures_is_not_an_outage() -> None:
    assert await failures(FakeClock(), 0, 0, 601) == []


async def test_a_model_that_cannot_be_reached_has_no_status() -> None:
    clock = FakeClock()
    limits, bodies = recorder(clock)
    for _ in range(2):
        await limits.take(ProviderAnswer(status=None, headers={}, model="m"), 600)
        clock.advance(600)
    assert [(body.cause, body.status) for body in bodies if isinstance(body, LimitSeen)] == [
        ("model_away", None)
    ]


@asynccontextmanager
async def recording_endpoint(folder: Path, url: str) -> AsyncIterator[tuple[Path, Bodies]]:
    bodies: Bodies = []

    async def append(body: LimitFact, _key: str) -> None:
        bodies.append(body)

    async with upstream_session() as session:
        served = Endpoint(serving(provider(url)), session, SystemClock(), append)
        await served.listen(folder, Identity(uid=os.geteuid(), gid=os.getegid()))
        try:
            yield folder / "api.sock", bodies
        finally:
            await served.close()


async def test_a_refusal_reaches_the_journal_and_then_the_agent_unchanged(sockets: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body["model"] == "m":
            return web.json_response({"error": {"type": "billing_error"}}, status=403, headers={"x-a": "b"})
        return web.json_response({})

    async with upstream(answer) as seen, recording_endpoint(sockets / "a", seen.url) as (path, bodies):
        got = await post(path)
        assert bodies == [LimitSeen(cause="billing", effect="end", status=403)]
        assert (got.status, got.headers["x-a"]) == (403, "b")
        assert got.json == {"error": {"type": "billing_error"}}
        await post(path, ask={**ASK, "model": "other"})
        await post(path, target="/v1/messages/count_tokens")
    assert len(bodies) == 1 and len(seen.requests) == 3


async def test_an_error_is_read_although_it_comes_in_pieces(sockets: Path) -> None:
    text = b'{"error": {"type": "t", "details": {"error_code": "credits_required"}}}'

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=429)
        await response.prepare(request)
        for at in (0, 30):
            await response.write(text[at : at + 30] if at == 0 else text[at:])
            await asyncio.sleep(0.05)
        return response

    async with upstream(answer) as seen, recording_endpoint(sockets / "a", seen.url) as (path, bodies):
        got = await post(path)
    assert got.body == text
    assert bodies == [LimitSeen(cause="billing", effect="end", status=429)]


async def test_the_gateway_writes_each_key_once_and_survives_a_bad_journal(tmp_path: Path) -> None:
    body = LimitSeen(cause="billing", effect="end", status=402)
    async with (
        GatewayJournal(tmp_path, SystemClock()) as first,
        GatewayJournal(tmp_path, SystemClock()) as next,
    ):
        await asyncio.gather(first.append(KEY, body, "k"), next.append(KEY, body, "k"))
        await next.append(KEY, body, "other")
    journal = Journal.open(tmp_path / "journal.sqlite", SystemClock())
    facts = journal.facts(KEY.run)
    journal.close()
    assert [(fact.task, fact.attempt, fact.body) for fact in facts] == [(KEY.task, KEY.attempt, body)] * 2
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "journal.sqlite").write_text("not a journal" * 1000)
    async with GatewayJournal(tmp_path / "damaged", SystemClock()) as damaged:
        await damaged.append(KEY, body, "k")
