"""The real CLI of the agent image takes the driver's command line. No model is needed for that."""

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest

from orchestrator.agents.base import LaunchRequest, Session
from orchestrator.agents.claude_code import ClaudeCode
from orchestrator.events import AgentEvent, AgentFault, Finished, SessionStarted
from orchestrator.subprocesses import run

pytestmark = pytest.mark.docker

IMAGE = "ktrdr-coding-agent:latest"
SESSION = "5e5510e0-0000-4000-8000-000000000001"
Started = Callable[[bool], Awaitable[tuple[int, list[AgentEvent]]]]


@pytest.fixture
async def start() -> AsyncIterator[Started]:
    """Start the CLI without a network and without a gateway; gives its exit code and events."""
    container = f"ktrdr-test-agents-{uuid4().hex[:8]}"

    async def started(resumed: bool) -> tuple[int, list[AgentEvent]]:
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
        parser = driver.parser()
        events = [event for line in done.stdout.splitlines() for event in parser.feed(line)]
        assert events, done.stderr.decode()
        return done.exit_code, events

    yield started
    await run(["docker", "rm", "--force", "--volumes", container], timeout=60)


async def test_the_cli_starts_our_session_and_reports_a_gateway_that_is_away(start: Started) -> None:
    exit_code, events = await start(False)
    assert exit_code == 1
    first, *faults, last = events
    assert isinstance(first, SessionStarted)
    assert first.session == SESSION
    assert faults
    assert all(isinstance(fault, AgentFault) for fault in faults)
    assert isinstance(last, Finished)
    assert last.is_error


async def test_a_session_that_is_gone_ends_at_once(start: Started) -> None:
    exit_code, events = await start(True)
    assert exit_code == 1
    (only,) = events
    assert isinstance(only, Finished)
    assert only.is_error
    assert SESSION in only.detail
