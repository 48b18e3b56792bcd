"""What an attempt may reach: a scripted model, or a provider with the credential that stays on the host."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from orchestrator.errors import ConfigurationError, EnvironmentInvalid

PROVIDER_URL = "https://api.anthropic.com"
API_KEY_VARIABLE = "ANTHROPIC_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The real key of a provider. Its `repr` does not show the value.

    Raises ValueError (without the value) when it cannot be sent as a header.
    """

    kind: Literal["api_key"]
    value: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.value or not all("!" <= character <= "~" for character in self.value):
            raise ValueError("a credential is one word of printable ASCII characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """A scripted model: answers come from this file, nothing leaves the machine."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider's API. Raises ConfigurationError when the upstream is no base URL that can be used."""

    upstream: str
    """Base URL; a path in it is kept in front of the API's own."""
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
    token: str = field(repr=False)
    """What the agent presents instead of a key; worth this attempt, through its own socket."""
    uid: int
    """The container's user, who must be able to connect."""
    gid: int
    model: ModelSource

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


def credential_from(environ: Mapping[str, str]) -> Credential | None:
    """The API key of the caller's environment, or None when it is absent or blank."""
    value = environ.get(API_KEY_VARIABLE, "").strip()
    if not value:
        return None
    try:
        return Credential(kind="api_key", value=value)
    except ValueError as error:
        raise EnvironmentInvalid(
            f"the value is no API key: {error}",
            where=API_KEY_VARIABLE,
            hint="Set it to the key as the provider shows it, without quotes or line breaks.",
        ) from None
