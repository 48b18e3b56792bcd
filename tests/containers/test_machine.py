"""What of the caller's surroundings reaches a container."""

from pathlib import Path

import pytest

from orchestrator.containers.machine import BUNDLE_TARGET, can_be_passed_on, read_machine


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
        pytest.param("http://[broken", False, id="no address"),
        pytest.param("", False, id="empty"),
    ],
)
def test_which_proxies_are_passed_on(address: str, passed: bool) -> None:
    assert can_be_passed_on(address) is passed


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
