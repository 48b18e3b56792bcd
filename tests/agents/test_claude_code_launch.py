"""How Claude Code is started."""

import json
from dataclasses import replace

import pytest

from orchestrator.agents.base import CredentialKind, LaunchRequest, Session
from orchestrator.agents.claude_code import ClaudeCode
from orchestrator.agents.outcomes import OUTCOME_SCHEMA

SESSION = "5e5510e0-0000-4000-8000-000000000001"
REQUEST = LaunchRequest(
    run="r",
    task="1",
    attempt=1,
    session=Session(id=SESSION, resumed=False),
    model=None,
    max_turns=100,
    token="t0ken",
)


def option(argv: tuple[str, ...], name: str) -> str:
    assert argv.count(name) == 1
    return argv[argv.index(name) + 1]


@pytest.mark.parametrize(
    ("credential", "variable"),
    [("api_key", "ANTHROPIC_API_KEY"), ("oauth_token", "CLAUDE_CODE_OAUTH_TOKEN")],
)
def test_the_token_is_presented_like_the_real_credential(credential: CredentialKind, variable: str) -> None:
    env = ClaudeCode().launch(replace(REQUEST, credential=credential)).env
    assert [name for name, value in env.items() if value == "t0ken"] == [variable]


def test_the_whole_command_line() -> None:
    argv = ClaudeCode().launch(replace(REQUEST, model="claude-x")).argv
    assert argv[:-1] == (
        *("claude", "-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"),
        *("--setting-sources", "", "--strict-mcp-config", "--add-dir", "/workspace"),
        *("--tools", "Bash,Edit,Read,Task,Write", "--max-turns", "100", "--model", "claude-x"),
        *("--session-id", SESSION, "--json-schema"),
    )
    assert json.loads(argv[-1]) == OUTCOME_SCHEMA


def test_the_whole_environment() -> None:
    assert ClaudeCode().launch(REQUEST).env == {
        "ANTHROPIC_UNIX_SOCKET": "/run/orchestrator/gateway/api.sock",
        "ANTHROPIC_BASE_URL": "http://gateway",
        "ANTHROPIC_API_KEY": "t0ken",
        "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
        "CLAUDE_CODE_DISABLE_CRON": "1",
        "CLAUDE_CODE_RETRY_WATCHDOG": "1",
        "CLAUDE_CODE_STARTUP_FAILURE_RESULTS": "1",
        "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
        "CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD": "1",
        "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    }


def test_the_host_s_credential_does_not_reach_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", "canary")
    assert "canary" not in repr(ClaudeCode().launch(REQUEST))


def test_without_a_model_the_cli_chooses() -> None:
    assert "--model" not in ClaudeCode().launch(REQUEST).argv


def test_a_resumed_session_names_its_files() -> None:
    launch = ClaudeCode().launch(replace(REQUEST, session=Session(id=SESSION, resumed=True)))
    assert option(launch.argv, "--resume") == SESSION
    assert "--session-id" not in launch.argv
    assert ClaudeCode().session_files(SESSION) == (
        f".claude/projects/-workspace/{SESSION}.jsonl",
        f".claude/projects/-workspace/{SESSION}",
    )
