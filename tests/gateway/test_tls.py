"""Certificates of the host: an upstream that is signed by a private authority."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from gateway_kit import endpoint, post, provider

from orchestrator.subprocesses import run


@pytest_asyncio.fixture
async def signed(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """An https upstream and its certificate."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    argv += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    made = await run(argv, timeout=60)
    assert made.exit_code == 0, made.stderr.decode()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def hello(request: web.Request) -> web.StreamResponse:
        return web.json_response({"hello": 1})

    runner = web.ServerRunner(web.Server(hello))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=context)
    await site.start()
    yield f"https://localhost:{runner.addresses[0][1]}", certificate
    await runner.cleanup()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"])
async def test_the_hosts_certificates_count(
    signed: tuple[str, Path], sockets: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    url, certificate = signed
    monkeypatch.setenv(variable, str(certificate))
    async with endpoint(sockets / "a", provider(url)) as path:
        assert (await post(path)).json == {"hello": 1}


@pytest.mark.parametrize("extra", [None, "/nonexistent.pem"], ids=["unknown", "unreadable"])
async def test_an_untrusted_certificate_is_502(
    signed: tuple[str, Path], sockets: Path, monkeypatch: pytest.MonkeyPatch, extra: str | None
) -> None:
    monkeypatch.delenv("NODE_EXTRA_CA_CERTS", raising=False)
    if extra is not None:
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", extra)
    async with endpoint(sockets / "a", provider(signed[0])) as path:
        got = await post(path)
    assert got.status == 502 and "Certificate" in got.json["error"]["message"]
