"""Passing a request on to the provider, with the real credential in place of the attempt's token."""

import io
import logging
import ssl
from typing import assert_never

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from orchestrator.gateway.access import Credential, Provider
from orchestrator.gateway.anthropic import error_body

log = logging.getLogger(__name__)

CONNECT_SECONDS = 30
BETA = "anthropic-beta"
OAUTH_BETA = "oauth-2025-04-20"

# RFC 9110, section 7.6.1, and what belongs to one of the two connections only.
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
NOT_UPSTREAM = HOP_BY_HOP | {"host", "content-length", "expect", "authorization", "x-api-key", "cookie"}
NOT_DOWNSTREAM = HOP_BY_HOP | {"set-cookie"}
# Only what the agent sent goes on; aiohttp adds none of its own.
NO_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


def upstream_session(certificates: str | None = None) -> aiohttp.ClientSession:
    """One for all attempts: proxies from the environment, no cookies kept, bodies as they come.

    `certificates` names a file of authorities that the agent's CLI trusts besides the host's.
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
    """The host's certificates (OpenSSL reads SSL_CERT_FILE itself), and those of a file besides."""
    context = ssl.create_default_context()
    if extra:
        try:
            context.load_verify_locations(extra)
        except OSError as error:  # ssl.SSLError is one
            log.warning("gateway.certificates file=%s unreadable: %s", extra, error)
    return context


async def pass_on(
    request: web.Request, provider: Provider, session: aiohttp.ClientSession
) -> web.StreamResponse:
    """The provider's answer as it is, piece by piece; redirects are not followed.

    A provider that cannot be reached is 502. An answer that breaks off breaks off here too.
    """
    body = await request.read()
    target = URL(provider.upstream.rstrip("/") + request.rel_url.raw_path_qs, encoded=True)
    try:
        upstream = await session.request(
            request.method,
            target,
            headers=headers_upstream(request.headers, provider.credential),
            data=io.BytesIO(body),  # bytes would be sent in one piece, and hold up the loop
            allow_redirects=False,
        )
    except (aiohttp.ClientError, OSError) as error:
        log.warning("gateway.unreachable host=%s error=%s", target.host, type(error).__name__)
        text = f"The gateway cannot reach {target.host} ({type(error).__name__})."
        return web.Response(status=502, body=error_body(502, text), content_type="application/json")
    async with upstream:
        return await _stream(request, upstream)


async def _stream(request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(
        status=upstream.status, reason=upstream.reason, headers=headers_downstream(upstream.headers)
    )
    await response.prepare(request)
    try:
        async for piece in upstream.content.iter_any():
            await response.write(piece)
    except aiohttp.ClientError as error:
        log.warning("gateway.cut host=%s error=%s", upstream.url.host, type(error).__name__)
        cut(request)
        return response
    await response.write_eof()
    return response


def cut(request: web.Request) -> None:
    """Close the connection after what was written, so that the client cannot take it for the whole."""
    if request.transport is not None:
        request.transport.close()


def headers_upstream(headers: CIMultiDictProxy[str], credential: Credential) -> CIMultiDict[str]:
    passed = _without(headers, NOT_UPSTREAM)
    match credential.kind:
        case "api_key":
            passed["x-api-key"] = credential.value
        case "oauth_token":
            passed["Authorization"] = f"Bearer {credential.value}"
            _add_beta(passed, OAUTH_BETA)
        case kind:
            assert_never(kind)
    return passed


def _add_beta(headers: CIMultiDict[str], name: str) -> None:
    """The provider takes a subscriber's token only together with its beta flag."""
    flags = [flag.strip() for value in headers.getall(BETA, []) for flag in value.split(",") if flag.strip()]
    if name not in flags:
        headers[BETA] = ",".join([*flags, name])


def headers_downstream(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    return _without(headers, NOT_DOWNSTREAM)


def _without(headers: CIMultiDictProxy[str], names: frozenset[str]) -> CIMultiDict[str]:
    listed = {name.strip().lower() for value in headers.getall("connection", []) for name in value.split(",")}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in names | listed)
