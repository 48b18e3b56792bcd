"""A provider of our own to stand behind the gateway, and ways to talk to the gateway's sockets."""

import asyncio
import hashlib
import io
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from orchestrator.clock import SystemClock
from orchestrator.gateway.access import (
    AttemptAccess,
    AttemptKey,
    Credential,
    ModelSource,
    Provider,
    hash_token,
)
from orchestrator.gateway.endpoint import Endpoint, Serving
from orchestrator.gateway.passing import upstream_session
from orchestrator.gateway.script import Script
from orchestrator.subprocesses import Identity

TOKEN = "attempt-token-4711"
CANARY = "sk-canary-0815"
KEY = AttemptKey("r1", "3.1", 1)
ASK = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Do it."}]}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def access(model: ModelSource, *, attempt: int = 1, token: str = TOKEN) -> AttemptAccess:
    return AttemptAccess(
        run=KEY.run,
        task=KEY.task,
        attempt=attempt,
        token_hash=hash_token(token),
        uid=os.geteuid(),
        gid=os.getegid(),
        model=model,
    )


@dataclass
class Upstream:
    url: str = ""
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@asynccontextmanager
async def upstream(handler: Handler) -> AsyncIterator[Upstream]:
    """A provider on a free port that remembers what reached it."""
    seen = Upstream()

    async def record(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen.requests.append((request.method, request.path_qs, headers, await request.read()))
        return await handler(request)

    app = web.Application(client_max_size=2**27)
    app.router.add_route("*", "/{path:.*}", record)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    seen.url = f"http://127.0.0.1:{port}"
    try:
        yield seen
    finally:
        await runner.cleanup()


def provider(url: str) -> Provider:
    return Provider(upstream=url, credential=Credential(kind="api_key", value=CANARY))


def serving(model: Script | Provider) -> Serving:
    return Serving(key=KEY, token_hash=hashlib.sha256(TOKEN.encode()).digest(), model=model)


@asynccontextmanager
async def endpoint(folder: Path, model: Script | Provider) -> AsyncIterator[Path]:
    """An attempt's endpoint in this process; gives its socket."""
    async with upstream_session(os.environ.get("NODE_EXTRA_CA_CERTS")) as session:
        served = Endpoint(serving(model), session, SystemClock())
        await served.listen(folder, Identity(uid=os.geteuid(), gid=os.getegid()))
        try:
            yield folder / "api.sock"
        finally:
            await served.close()


@asynccontextmanager
async def talk(path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession(
        "http://gateway", connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=30)
    ) as session:
        yield session


@dataclass(frozen=True)
class Got:
    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any


async def post(
    path: Path,
    *,
    target: str = "/v1/messages?beta=true",
    headers: Mapping[str, str] | None = None,
    ask: Mapping[str, Any] | bytes = ASK,
    method: str = "POST",
) -> Got:
    given = {"x-api-key": TOKEN} if headers is None else dict(headers)
    body: dict[str, Any] = {"data": io.BytesIO(ask)} if isinstance(ask, bytes) else {"json": ask}
    async with (
        talk(path) as session,
        session.request(method, target, headers=given, allow_redirects=False, **body) as response,
    ):
        raw = await response.read()
        is_json = response.content_type == "application/json" and method != "HEAD"
        return Got(response.status, response.headers, raw, await response.json() if is_json else None)


def gateway_pids(state: Path) -> list[int]:
    """Process ids of the gateways that served this state folder, in order."""
    log = state / "gateway.log"
    text = log.read_text() if log.exists() else ""
    return [int(pid) for pid in re.findall(r"gateway\.ready pid=(\d+)", text)]


def lives(pid: int) -> bool:
    """Whether it runs; one that has ended and waits to be collected by init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def ended(pid: int, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while lives(pid):
            await asyncio.sleep(0.05)


async def end_all(state: Path) -> None:
    for pid in gateway_pids(state):
        if lives(pid):
            os.kill(pid, signal.SIGTERM)
            await ended(pid)
