"""The model of an attempt: a scripted one, or a provider with the credential that stays on the host."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from orchestrator.agents.base import CredentialKind
from orchestrator.errors import ConfigurationError
from orchestrator.run.facts import Billing

PROVIDER_URL = "https://api.anthropic.com"
VARIABLES: Mapping[CredentialKind, str] = {
    "api_key": "ANTHROPIC_API_KEY",
    "oauth_token": "CLAUDE_CODE_OAUTH_TOKEN",
}
"""The variable of the caller's environment that holds each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The real key of a provider, or a subscriber's own token. Its `repr` does not show the value.

    Raises ValueError (without the value) when it cannot be sent as a header.
    """

    kind: CredentialKind
    value: str = field(repr=False)
    source: str = field(default="", compare=False)
    """The variable or setting that it comes from; empty where only its value was handed over."""

    def __post_init__(self) -> None:
        if not self.value or not all("!" <= character <= "~" for character in self.value):
            raise ValueError("a credential is one word of printable ASCII characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """A scripted model: answers come from this file, nothing leaves the machine."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider's API. Raises ConfigurationError when the upstream cannot be used as a base URL."""

    upstream: str
    """Base URL. A path in it is kept, in front of the API's own path."""
    credential: Credential

    def __post_init__(self) -> None:
        if not _is_base_url(self.upstream):
            raise ConfigurationError(
                "the upstream is not an http or https URL without user, password and query",
                where="gateway.upstream",
                hint=f"For example: {PROVIDER_URL}",
            )


ModelSource = Scripted | Provider


class AttemptKey(NamedTuple):
    run: str
    task: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptAccess:
    run: str
    task: str
    attempt: int
    token_hash: str
    """Of the token that the agent presents instead of a key; see `hash_token`.

    The token is valid for this attempt only, through its own socket.
    """
    uid: int
    """The user of the container, which must be able to connect."""
    gid: int
    model: ModelSource
    outage_seconds: float = 600.0
    """How long the model may be away before the gateway records it."""
    chosen: str | None = None
    """The setting `agent.model`."""

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.run, self.task, self.attempt)


def _is_base_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    bare = url.username is None and url.password is None and not url.query and not url.fragment
    return url.scheme in ("http", "https") and bool(url.hostname) and bare and port != 0


def hash_token(token: str) -> str:
    """The hash that the gateway checks a token by; an agent cannot use it."""
    return sha256(token.encode()).hexdigest()


def credential_kind(model: ModelSource | None) -> CredentialKind:
    """How the agent has to present its token; a scripted model accepts both ways."""
    return model.credential.kind if isinstance(model, Provider) else "api_key"


def billing_of(model: ModelSource) -> Billing:
    """Who is billed for the requests of a run."""
    if isinstance(model, Scripted):
        return "scripted"
    return "api" if model.credential.kind == "api_key" else "subscription"
