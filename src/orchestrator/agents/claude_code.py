"""Claude Code, headless: its command line. `claude_code_stream` reads its output."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.agents.base import (
    GATEWAY_SOCKET,
    Capabilities,
    CredentialKind,
    Launch,
    LaunchRequest,
)
from orchestrator.agents.claude_code_stream import ClaudeCodeParser
from orchestrator.agents.outcomes import OUTCOME_SCHEMA

# Without an explicit list the CLI offers tools that keep its process alive after the final result.
_TOOLS: Final = "Bash,Edit,Read,Task,Write"

# Settings, hooks and servers that the repository defines are ignored. CLAUDE.md is still read, through
# --add-dir and CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD.
_ISOLATION: Final = ("--setting-sources", "", "--strict-mcp-config", "--add-dir", "/workspace")

_ENV: Final = {
    "ANTHROPIC_UNIX_SOCKET": GATEWAY_SOCKET,
    # Without a base URL no request reaches the socket; its host does not matter.
    "ANTHROPIC_BASE_URL": "http://gateway",
    # The repository's settings cannot divert requests, and a refused credential ends the CLI at once.
    "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    # A provider that is away for minutes does not end the attempt. Alone, the CLI would also sleep through a
    # limit of hours: the orchestrator stops it when its gateway sees one.
    "CLAUDE_CODE_RETRY_WATCHDOG": "1",
    # Sub-agents and long commands end before the result does: one result, one end.
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "CLAUDE_CODE_DISABLE_CRON": "1",
    # A refusal to start is reported on standard output, with its reason as a word.
    "CLAUDE_CODE_STARTUP_FAILURE_RESULTS": "1",
    # Says when a turn begins and ends.
    "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
    "CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD": "1",
    # Notes in HOME are thrown away with it; asking for them costs 13 KB of prompt in every request.
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
}

# In the order in which the CLI itself prefers them when both are set (2.1.332). A subscriber's token may be
# used by this CLI only.
_CREDENTIALS: Final[tuple[CredentialKind, ...]] = ("api_key", "oauth_token")

# The variable decides how the CLI authenticates: by x-api-key, or by a bearer token with its beta flag.
_TOKEN_VARIABLE: Final[Mapping[CredentialKind, str]] = {
    "api_key": "ANTHROPIC_API_KEY",
    "oauth_token": "CLAUDE_CODE_OAUTH_TOKEN",
}


@dataclass(frozen=True, slots=True)
class ClaudeCode:
    """Written and tested against Claude Code 2.1.332."""

    name = "claude-code"
    needs_model = True
    needs_outcome = True
    takes_command = False
    credentials = _CREDENTIALS
    capabilities = Capabilities(
        resume="native",
        model="native",
        turn_limit="native",
        structured_outcome="native",
        tool_events="native",
    )

    def program(self, request_command: tuple[str, ...]) -> str:  # noqa: ARG002 - the protocol has it
        return "claude"

    def launch(self, request: LaunchRequest) -> Launch:
        token = {} if request.token is None else {_TOKEN_VARIABLE[request.credential]: request.token}
        return Launch(argv=_argv(request), env=_ENV | token)

    def session_files(self, session: str) -> tuple[str, ...]:
        # The folder is named after the working directory; it holds long tool results and sub-agents.
        stem = f".claude/projects/-workspace/{session}"
        return (f"{stem}.jsonl", stem)

    def parser(self) -> ClaudeCodeParser:
        return ClaudeCodeParser()


def _argv(request: LaunchRequest) -> tuple[str, ...]:
    model = () if request.model is None else ("--model", request.model)
    session = "--resume" if request.session.resumed else "--session-id"
    return (
        *("claude", "-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"),
        *_ISOLATION,
        *("--tools", _TOOLS, "--max-turns", str(request.max_turns)),
        *model,
        *(session, request.session.id),
        *("--json-schema", json.dumps(OUTCOME_SCHEMA)),
    )
