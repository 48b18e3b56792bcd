"""Forwards a request to the provider, with the real credential instead of the attempt's token."""

import asyncio
import io
import logging
import ssl
from contextlib import suppress
from typing import assert_never

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from orchestrator.gateway.access import Credential, Provider
from orchestrator.gateway.anthropic import error_body
from orchestrator.gateway.limit_recorder import Answers

log = logging.getLogger(__name__)

CONNECT_SECONDS = 30
ERROR_BYTES = 65_536
ERROR_SECONDS = 5.0
"""How much of an error's body is read, and for how long, before the agent gets any of it."""
BETA = "anthropic-beta"
OAUTH_BETA = "oauth-2025-04-20"

# Headers that belong to one connection, not to the message: RFC 9110, section 7.6.1, and a few more.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
NOT_UPSTREAM = HOP_BY_HOP | {
    *("host", "content-length", "expect", "authorization", "x-api-key", "cookie"),
    "accept-encoding",
}
NOT_DOWNSTREAM = HOP_BY_HOP | {"set-cookie"}
# The provider sees the headers that the agent sent; aiohttp must not add its own.
NO_AUTOMATIC = ("Accept", "Content-Type", "User-Agent")


def upstream_session(certificates: str | None = None) -> aiohttp.ClientSession:
    """The HTTP client for all attempts: proxies of the environment, no cookies, bodies not decompressed.

    `certificates` is a file of certificate authorities that are trusted in addition to the host's.
    """
    return aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(ssl=tls_context(certificates), limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=NO_AUTOMATIC,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        trust_env=True,
    )


def tls_context(extra: str | None) -> ssl.SSLContext:
    """Trusts the host's authorities (OpenSSL reads SSL_CERT_FILE itself) and those of the file."""
    context = ssl.create_default_context()
    if extra:
        try:
            context.load_verify_locations(extra)
        except OSError as error:  # includes ssl.SSLError
            log.warning("gateway.certificates file=%s unreadable: %s", extra, error)
    return context


async def pass_on(
    request: web.Request,
    provider: Provider,
    session: aiohttp.ClientSession,
    answers: Answers | None = None,
) -> web.StreamResponse:
    """Forward the request and stream the answer back, unchanged and without buffering it.

    Redirects are not followed, because the credential would go to another host. When the provider cannot be
    reached, the agent gets 502. When the answer breaks off, the agent's connection is cut as well. `answers`
    learns of the answer before the agent does.
    """
    body = await request.read()
    # Encoded already: the path is passed on as the agent wrote it, and cannot change the host that receives
    # the credential.
    target = URL(provider.upstream.rstrip("/") + request.rel_url.raw_path_qs, encoded=True)
    try:
        upstream = await session.request(
            request.method,
            target,
            headers=_upstream_headers(request.headers, provider.credential),
            data=io.BytesIO(body),  # bytes would be sent in one piece, which blocks the event loop
            allow_redirects=False,
        )
    except (aiohttp.ClientError, OSError) as error:
        # Only the host and the kind of error are logged: the text of an error may contain a proxy's password.
        log.warning("gateway.unreachable host=%s error=%s", target.host, type(error).__name__)
        if answers is not None:
            await answers.take(None, {})
        text = f"The gateway cannot reach {target.host} ({type(error).__name__})."
        return web.Response(status=502, body=error_body(502, text), content_type="application/json")
    async with upstream:
        return await _stream_answer(request, upstream, answers)


async def _stream_answer(
    request: web.Request, upstream: aiohttp.ClientResponse, answers: Answers | None
) -> web.StreamResponse:
    first = b""
    if answers is not None:
        if upstream.status >= 400:
            first = await _read_beginning(upstream)
        # Before the agent sees the answer: its next request, or its end, may come at once, and the journal
        # must have the limit by then.
        await answers.take(upstream.status, upstream.headers, first)
    response = web.StreamResponse(
        status=upstream.status,
        reason=upstream.reason,
        headers=_remove_headers(upstream.headers, NOT_DOWNSTREAM),
    )
    await response.prepare(request)
    try:
        if first:
            await response.write(first)
        async for piece in upstream.content.iter_any():
            await response.write(piece)
    except aiohttp.ClientError as error:
        log.warning("gateway.cut host=%s error=%s", upstream.url.host, type(error).__name__)
        cut_connection(request)
        return response
    await response.write_eof()
    return response


async def _read_beginning(upstream: aiohttp.ClientResponse) -> bytes:
    """The beginning of an error's body. If it breaks off, that is noticed again when the rest is read."""
    found = b""
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(ERROR_SECONDS):
            while len(found) < ERROR_BYTES and (piece := await upstream.content.readany()):
                found += piece
    return found


def cut_connection(request: web.Request) -> None:
    """Close the connection without an end mark, so that the client sees that the answer is incomplete."""
    if request.transport is not None:
        request.transport.close()


def _upstream_headers(headers: CIMultiDictProxy[str], credential: Credential) -> CIMultiDict[str]:
    passed = _remove_headers(headers, NOT_UPSTREAM)
    # The gateway reads what an error says, and unpacks nothing.
    passed["Accept-Encoding"] = "identity"
    match credential.kind:
        case "api_key":
            passed["x-api-key"] = credential.value
        case "oauth_token":
            passed["Authorization"] = f"Bearer {credential.value}"
            # The provider accepts a subscriber's token only together with its beta flag.
            given = ",".join(passed.getall(BETA, [])).split(",")
            flags = [flag.strip() for flag in given if flag.strip()]
            if OAUTH_BETA not in flags:
                passed[BETA] = ",".join([*flags, OAUTH_BETA])
        case kind:
            assert_never(kind)
    return passed


def _remove_headers(headers: CIMultiDictProxy[str], names: frozenset[str]) -> CIMultiDict[str]:
    # A sender may declare further headers as its connection's own by naming them in `Connection`.
    listed = {name.strip().lower() for value in headers.getall("connection", []) for name in value.split(",")}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in names | listed)
