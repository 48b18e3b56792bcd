"""The real CLI of the agent image takes the driver's command line. No model is needed for that."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple
from uuid import uuid4

import pytest
from claude_code_cli import IMAGE, SESSION, VERSION

from orchestrator.agents.base import LaunchRequest, Session
from orchestrator.agents.claude_code import ClaudeCode
from orchestrator.agents.conformance import parse_lines
from orchestrator.events import AgentEvent, AgentFault, Finished, SessionLost, SessionStarted, TurnBegan
from orchestrator.subprocesses import run

pytestmark = pytest.mark.docker


class Ended(NamedTuple):
    exit_code: int
    lines: list[bytes]
    events: tuple[AgentEvent, ...]


Start = Callable[[bool], Awaitable[Ended]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Run the CLI to its end, without a network and without a gateway."""
    container = f"ktrdr-test-agents-{uuid4().hex[:8]}"

    async def started(resumed: bool) -> Ended:
        driver, session = ClaudeCode(), Session(id=SESSION, resumed=resumed)
        launch = driver.launch(
            LaunchRequest(
                run="r", task="1", attempt=1, session=session, model=None, max_turns=3, token="t0ken"
            )
        )
        env = {**launch.env, "HOME": "/tmp/home", "CLAUDE_CODE_MAX_RETRIES": "1"}
        done = await run(
            [
                *("docker", "run", "--name", container, "--init", "--network", "none", "--user", "1234:1234"),
                *(word for key, value in env.items() for word in ("--env", f"{key}={value}")),
                *("--workdir", "/workspace", "--entrypoint", "sh", IMAGE),
                *("-c", 'echo "do it" | "$@"', "sh", *launch.argv),
            ],
            timeout=120,
        )
        lines = done.stdout.splitlines()
        assert lines, done.stderr.decode()
        return Ended(exit_code=done.exit_code, lines=lines, events=parse_lines(driver, lines))

    yield started
    await run(["docker", "rm", "--force", "--volumes", container], timeout=60)


async def test_the_cli_starts_our_session_and_reports_a_gateway_that_is_away(start: Start) -> None:
    ended = await start(False)
    assert ended.exit_code == 1
    turn, first, *faults, last = ended.events
    assert isinstance(turn, TurnBegan)
    assert isinstance(first, SessionStarted)
    assert first.session == SESSION
    assert faults
    assert all(isinstance(fault, AgentFault) for fault in faults)
    assert isinstance(last, Finished)
    assert last.is_error


async def test_a_session_that_is_gone_ends_at_once(start: Start) -> None:
    ended = await start(True)
    assert ended.exit_code == 1
    lost, last = ended.events
    assert isinstance(lost, SessionLost) and lost.before_start
    assert isinstance(last, Finished)
    assert last.is_error
    assert SESSION in last.detail


async def test_the_version_and_its_tools_are_those_the_parser_was_written_for(start: Start) -> None:
    lines = map(json.loads, (await start(False)).lines)
    first = next(line for line in lines if line.get("subtype") == "init")
    assert first["claude_code_version"] == VERSION
    assert sorted(first["tools"]) == ["Bash", "Edit", "Read", "StructuredOutput", "Task", "Write"]
    assert first["mcp_servers"] == []
    assert first["permissionMode"] == "bypassPermissions"
