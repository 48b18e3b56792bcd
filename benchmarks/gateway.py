"""Latency that the gateway adds to a model's answer, as ratios to a direct connection, in the same run.

Two processes answer: a provider on 127.0.0.1 (a stream of 50 events), and the real gateway in front of it.
Requests to both alternate, so that what else the machine does weighs on both. No container is started.
Run: python benchmarks/gateway.py [REQUESTS]
"""

import asyncio
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiohttp import web

from orchestrator.clock import SystemClock
from orchestrator.gateway.access import AttemptAccess, Credential, Provider, hash_token
from orchestrator.gateway.client import GatewayClient

EVENTS = 50
EVENT = b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0}\n\n'
ASK = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 50_000}]}
TOKEN = "benchmark"  # noqa: S105 - worth nothing


class Sample(NamedTuple):
    first: float
    """Seconds to the first piece of the answer."""
    total: float


def provider(port: "Connection[int, int]") -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(EVENTS):
            await response.write(EVENT)
        return response

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/messages", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


async def sample(session: aiohttp.ClientSession) -> Sample:
    begun = time.perf_counter()
    async with session.post("/v1/messages", json=ASK, headers={"x-api-key": TOKEN}) as response:
        piece = await response.content.readany()
        first = time.perf_counter() - begun
        rest = await response.content.read()
        assert response.status == 200 and len(piece + rest) == EVENTS * len(EVENT)
    return Sample(first, time.perf_counter() - begun)


async def rate(session: aiohttp.ClientSession, requests: int, at_once: int = 32) -> float:
    """Requests a second with so many at once."""
    begun = time.perf_counter()
    for _ in range(0, requests, at_once):
        await asyncio.gather(*(sample(session) for _ in range(at_once)))
    return requests / (time.perf_counter() - begun)


async def measure(url: str, requests: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        async with GatewayClient.connect(Path(folder), "benchmark", os.environ, SystemClock()) as client:
            print(f"gateway started in {time.perf_counter() - begun:.2f} s")
            credential = Credential(kind="api_key", value="benchmark")
            model = Provider(upstream=url, credential=credential)
            access = AttemptAccess(
                run="b",
                task="1",
                attempt=1,
                token_hash=hash_token(TOKEN),
                uid=os.geteuid(),
                gid=os.getegid(),
                model=model,
            )
            path = await client.open_attempt(access) / "api.sock"
            async with (
                aiohttp.ClientSession(url) as direct,
                aiohttp.ClientSession("http://gateway", connector=aiohttp.UnixConnector(str(path))) as passed,
            ):
                await compare(direct, passed, requests)
            await client.close_attempt("b", "1", 1)


async def compare(direct: aiohttp.ClientSession, passed: aiohttp.ClientSession, requests: int) -> None:
    samples: dict[str, list[Sample]] = {"direct": [], "gateway": []}
    for _ in range(requests):
        samples["direct"].append(await sample(direct))
        samples["gateway"].append(await sample(passed))
    for name, field in (("first byte", 0), ("whole answer", 1)):
        columns = [[entry[field] for entry in samples[side]] for side in ("direct", "gateway")]
        report(name, columns[0], columns[1])
    rates = [await rate(session, max(32, requests)) for session in (direct, passed)]
    print(f"32 at once: direct {rates[0]:.0f}/s, gateway {rates[1]:.0f}/s = {rates[1] / rates[0]:.2f} x")


def report(name: str, direct: Sequence[float], passed: Sequence[float]) -> None:
    for label, cut in (("p50", 50), ("p99", 99)):
        one, two = (statistics.quantiles(values, n=100)[cut - 1] * 1000 for values in (direct, passed))
        figures = f"direct {one:.2f} ms, gateway {two:.2f} ms"
        print(f"{name} {label}: {figures} = {two / one:.2f} x, +{two - one:.2f} ms")


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=provider, args=(there,), daemon=True)
    server.start()
    try:
        asyncio.run(measure(f"http://127.0.0.1:{here.recv()}", requests))
    finally:
        server.kill()
        server.join()


if __name__ == "__main__":
    main()
