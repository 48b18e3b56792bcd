"""The contract of an agent driver: it builds a command and parses lines; it starts nothing.

Rules for the reader of its events:

* `Finished` is a claim, and the last one of a stream counts: an agent may finish a turn, be woken up and
  finish again. The attempt ends when the process ends, or when the result was followed by no new turn for
  `limits.after_result_seconds`.
* `Finished.outcome` is None when that result carries no outcome. From a driver whose `structured_outcome` is
  native this means `unclear`; the text of the answer is not consulted.
* A stream without any `Finished` says "not completed" for drivers with a native outcome, at exit code 0 too.
  Drivers with a translated outcome never send `Finished`: exit code and outcome file speak for them, and
  without a file the exit code and the changed files, where the driver does not need an outcome.
* `Finished.is_error` is never success, not even with a `completed` outcome or exit code 0.
* `ProviderRefusal` and `AgentFault` are signs, not ends, and may repeat: the CLI may retry, then finish well.
  Only `credential_refused` never resolves itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from orchestrator.events import AgentEvent

Support = Literal["native", "translated", "ignored"]
CredentialKind = Literal["api_key", "oauth_token"]
"""How the provider is asked: with a key of its API, or with a subscriber's own long-lived token."""

IN_FOLDER = "/run/orchestrator/in"
OUT_FOLDER = "/run/orchestrator/out"
GATEWAY_FOLDER = "/run/orchestrator/gateway"
HOME_FOLDER = "/run/orchestrator/home"
PROMPT_FILE = f"{IN_FOLDER}/prompt.md"
OUTCOME_FILE = f"{OUT_FOLDER}/outcome.json"
GATEWAY_SOCKET = f"{GATEWAY_FOLDER}/api.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    resume: Support
    model: Support
    turn_limit: Support
    structured_outcome: Support
    """native: in the stream; translated: by the outcome file; ignored: none."""
    tool_events: Support


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The agent's conversation, with an id chosen by us (a UUID)."""

    id: str
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    run: str
    task: str
    attempt: int
    session: Session
    model: str | None
    max_turns: int
    token: str | None
    """The attempt's own token for the gateway; None for agents without a model."""
    credential: CredentialKind = "api_key"
    """The kind of the real credential: the agent presents its token in the same way."""
    command: tuple[str, ...] = ()
    """The configured program of the `command` driver; empty for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start the agent. The prompt comes on its standard input from PROMPT_FILE.

    HOME is not in `env`: the engine sets it to HOME_FOLDER, which is writable and empty.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Further files for IN_FOLDER, by name."""


class Parser(Protocol):
    def feed(self, line: bytes) -> tuple[AgentEvent, ...]:
        """Events of one line of standard output, without its newline. Never raises."""
        ...


class AgentDriver(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def needs_model(self) -> bool:
        """Whether it talks to a model through the gateway (and so needs a credential)."""
        ...

    @property
    def credentials(self) -> tuple[CredentialKind, ...]:
        """The kinds it can work with, the one it prefers first; empty for agents without a model."""
        ...

    @property
    def needs_outcome(self) -> bool:
        """Whether an attempt without an outcome is unclear.

        If not, exit code 0 and a changed file are success.
        """
        ...

    @property
    def takes_command(self) -> bool:
        """Whether the user configures its program (`agent.command`), which may be missing."""
        ...

    def program(self, request_command: tuple[str, ...]) -> str:
        """The first word of its command line, to be looked up in the image before the first attempt."""
        ...

    def launch(self, request: LaunchRequest) -> Launch: ...

    def session_files(self, session: str) -> tuple[str, ...]:
        """Files and folders of HOME, relative to it, that a resumed session needs; empty without sessions."""
        ...

    def parser(self) -> Parser: ...
