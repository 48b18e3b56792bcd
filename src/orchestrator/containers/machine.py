"""The host settings that a container needs to reach the network: proxies and certificate authorities."""

import ipaddress
import urllib.parse
from collections.abc import Collection, Mapping
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
    return bool(address) and _explain_not_passed_on(address) is None


def describe_withheld_proxies(environ: Mapping[str, str], replaced: Collection[str] = ()) -> tuple[str, ...]:
    """A sentence for each reason why proxies of the caller do not reach containers, without their addresses.

    Variables that the settings give to containers (`replaced`) are not among them, in either spelling.
    """
    known = {name.upper() for name in replaced}
    reasons: dict[str, list[str]] = {}
    for name in PROXY_VARIABLES:
        address = environ.get(name, "")
        reason = _explain_not_passed_on(address) if address and name.upper() not in known else None
        if reason is not None:
            reasons.setdefault(reason, []).append(name)
    return tuple(
        f"{', '.join(names)}: not passed to containers, because {reason}" for reason, names in reasons.items()
    )


def _explain_not_passed_on(address: str) -> str | None:
    """None when it can be passed on."""
    try:
        parts = urllib.parse.urlsplit(address if "//" in address else f"//{address}")
        host, user = parts.hostname, parts.username
    except ValueError:
        host, user = None, None
    if user is not None:
        return "the address contains a name or password"
    if host is None:
        return "it is not a valid address"
    if _is_loopback(host):
        return "it is a loopback address, which in a container is the container itself"
    return None


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None) or address
    # A connection to the unspecified address (0.0.0.0) goes to the loopback interface.
    return bool(mapped.is_loopback or mapped.is_unspecified)
