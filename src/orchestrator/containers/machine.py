"""The host settings that a container needs to reach the network: proxies and certificate authorities."""

import ipaddress
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.mounts import Bind

HTTP_PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")
PROXY_VARIABLES = (*HTTP_PROXY_VARIABLES, "ALL_PROXY", "all_proxy")
EXCEPTION_VARIABLES = ("NO_PROXY", "no_proxy")
BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
BUNDLE_TARGET = "/etc/ssl/certs/ca-certificates.crt"
"""Where the image's variables point its programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    proxies: Mapping[str, str]
    bundle: Path | None
    """A file of certificate authorities that this machine names in its environment."""

    @property
    def mounts(self) -> tuple[Bind, ...]:
        if self.bundle is None:
            return ()
        return (Bind(source=self.bundle, target=BUNDLE_TARGET, read_only=True),)


def read_machine(environ: Mapping[str, str]) -> Machine:
    """The caller's proxies and certificate bundle.

    A proxy with a password is not passed on, because the password is a secret; nor is one at a loopback
    address, because inside a container that address is the container itself.
    """
    proxies = {name: environ[name] for name in PROXY_VARIABLES if can_be_passed_on(environ.get(name, ""))}
    exceptions = {name: environ[name] for name in EXCEPTION_VARIABLES if environ.get(name)}
    named = [Path(environ[name]) for name in BUNDLE_VARIABLES if environ.get(name)]
    bundle = next((path.resolve() for path in named if path.is_absolute() and path.is_file()), None)
    return Machine(proxies=proxies | exceptions if proxies else {}, bundle=bundle)


def can_be_passed_on(address: str) -> bool:
    """Whether a proxy's address means the same in a container and holds no secret."""
    if not address:
        return False
    try:
        parts = urllib.parse.urlsplit(address if "//" in address else f"//{address}")
    except ValueError:
        return False
    return parts.username is None and parts.hostname is not None and not _is_loopback(parts.hostname)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
