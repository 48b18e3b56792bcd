"""The caller's environment and configuration reach a container only as far as they should."""

from pathlib import Path

import pytest

from orchestrator.containers.machine import (
    BUNDLE_TARGET,
    can_be_passed_on,
    describe_withheld_proxies,
    read_machine,
)


@pytest.mark.parametrize(
    ("address", "passed"),
    [
        pytest.param("http://proxy.example:3128", True, id="a host"),
        pytest.param("proxy.example:3128", True, id="without a scheme"),
        pytest.param("192.0.2.7:3128", True, id="an address"),
        pytest.param("http://ada:secret@proxy.example:3128", False, id="with a password"),
        pytest.param("http://ada@proxy.example:3128", False, id="with a name"),
        pytest.param("http://127.0.0.1:3128", False, id="loopback"),
        pytest.param("http://[::1]:3128", False, id="loopback of IPv6"),
        pytest.param("http://localhost:3128", False, id="localhost"),
        pytest.param("socks5://127.8.9.10:1080", False, id="another loopback address"),
        pytest.param("http://[::ffff:127.0.0.1]:3128", False, id="loopback as an IPv6 address"),
        pytest.param("http://0.0.0.0:3128", False, id="unspecified"),
        pytest.param("http://LOCALHOST.:3128", False, id="localhost with a dot"),
        pytest.param("127.0.0.1:3128", False, id="loopback without a scheme"),
        pytest.param("http://[broken", False, id="no address"),
        pytest.param("", False, id="empty"),
    ],
)
def test_which_proxies_are_passed_on(address: str, passed: bool) -> None:
    assert can_be_passed_on(address) is passed


def test_proxies_that_containers_do_not_get_are_named_with_the_reason_and_without_the_address() -> None:
    environ = {
        "HTTPS_PROXY": "http://127.0.0.1:3128",
        "https_proxy": "http://127.0.0.1:3128",
        "HTTP_PROXY": "http://ada:secret@proxy.example:3128",
        "ALL_PROXY": "http://proxy.example:3128",
    }
    by_password, by_loopback = describe_withheld_proxies(environ)
    assert by_password.startswith("HTTP_PROXY: not passed") and "secret" not in by_password
    assert by_loopback.startswith("HTTPS_PROXY, https_proxy: not passed") and "loopback" in by_loopback
    assert describe_withheld_proxies(environ, ("HTTPS_PROXY", "http_proxy")) == ()
    assert describe_withheld_proxies({"ALL_PROXY": "http://proxy.example:3128"}) == ()


def test_exceptions_go_with_a_proxy_only() -> None:
    assert read_machine({"NO_PROXY": "internal.example"}).proxies == {}
    with_proxy = read_machine({"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "internal.example"})
    assert with_proxy.proxies == {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "internal.example"}


def test_a_bundle_that_is_named_is_mounted(tmp_path: Path) -> None:
    bundle = tmp_path / "authorities.pem"
    bundle.write_text("")
    machine = read_machine({"SSL_CERT_FILE": str(tmp_path / "absent"), "REQUESTS_CA_BUNDLE": str(bundle)})
    assert [(m.source, m.target, m.read_only) for m in machine.mounts] == [(bundle, BUNDLE_TARGET, True)]
    assert read_machine({}).mounts == ()
