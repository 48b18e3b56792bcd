"""The real Claude Code CLI in real containers, without a network: only the model is scripted."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from gateway_kit import ended, gateway_pids, lives, post

from orchestrator.agents.base import GATEWAY_FOLDER, GATEWAY_SOCKET
from orchestrator.clock import SystemClock
from orchestrator.gateway.access import AttemptAccess, AttemptKey, Scripted, hash_token
from orchestrator.gateway.client import GatewayClient
from orchestrator.gateway.running import list_running_attempts
from orchestrator.subprocesses import Completed, run

pytestmark = pytest.mark.docker

IMAGE = "ktrdr-coding-agent:latest"
UID = 12345 if os.geteuid() == 0 else os.geteuid()
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"status": {"type": "string"}, "summary": {"type": "string"}},
        "required": ["status"],
    }
)
CLAUDE = [
    *("claude", "-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"),
    *(
        "--setting-sources",
        "",
        "--strict-mcp-config",
        "--tools",
        "Bash,Read,Edit,Write,Task",
        "--json-schema",
        SCHEMA,
    ),
]
STEPS = [
    {"text": "I write it.", "tools": [{"name": "Bash", "input": {"command": "echo one > /workspace/a.txt"}}]},
    {"outcome": {"status": "completed", "summary": "first"}},
    {"tools": [{"name": "Bash", "input": {"command": "cat /workspace/a.txt"}}]},
    {"outcome": {"status": "completed", "summary": "second"}},
]
REFUSED = {"error": {"status": 403}}
LIMITED = [[STEPS[0], REFUSED], STEPS[2:]]


async def docker(*argv: str, stdin: bytes | None = None) -> Completed:
    return await run(["docker", *argv], timeout=120, stdin=stdin)


@dataclass
class Agent:
    """The folders of a task: what its attempts share."""

    workspace: Path
    home: Path
    session: str
    state_id: str

    async def attempt(self, folder: Path, token: str, *, resumed: bool) -> list[dict[str, Any]]:
        """Run the CLI in a container of its own and give the events it printed."""
        environment = {
            "ANTHROPIC_API_KEY": token,
            "ANTHROPIC_BASE_URL": "http://gateway",
            "ANTHROPIC_UNIX_SOCKET": GATEWAY_SOCKET,
            "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "HOME": "/home/agent",
        }
        mounts = {f"{self.workspace}": "/workspace", f"{self.home}": "/home/agent"}
        argv = ["run", "--rm", "-i", "--network", "none", "--user", f"{UID}:{UID}", "-w", "/workspace"]
        argv += [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
        argv += [word for source, target in mounts.items() for word in ("-v", f"{source}:{target}")]
        argv += ["-v", f"{folder}:{GATEWAY_FOLDER}:ro", "--cap-drop", "ALL", IMAGE, *CLAUDE]
        argv += ["--resume" if resumed else "--session-id", self.session]
        ran = await docker(*argv, stdin=b"Do the task.\n")
        assert ran.stdout, ran.stderr.decode()
        return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest_asyncio.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    for name in ("workspace", "home"):
        (tmp_path / name).mkdir()
        if os.geteuid() == 0:
            os.chown(tmp_path / name, UID, UID)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    yield Agent(tmp_path / "workspace", tmp_path / "home", str(uuid.uuid4()), uuid.uuid4().hex)


def access(tmp_path: Path, task: dict[str, Any], attempt: int) -> AttemptAccess:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"schema": 1, "tasks": {"1": task}}))
    return AttemptAccess(
        run="r",
        task="1",
        attempt=attempt,
        token_hash=hash_token(f"token-{attempt}"),
        uid=UID,
        gid=UID,
        model=Scripted(path=path),
    )


def result(events: list[dict[str, Any]]) -> dict[str, Any]:
    return [event for event in events if event["type"] == "result"][-1]


def tool_output(events: list[dict[str, Any]]) -> str:
    return "\n".join(
        str(block["content"])
        for event in events
        if event["type"] == "user"
        for block in event["message"]["content"]
        if block["type"] == "tool_result"
    )


async def test_a_session_with_a_tool_an_outcome_and_a_second_attempt(
    agent: Agent, state: Path, tmp_path: Path
) -> None:
    async with GatewayClient.connect(state, agent.state_id, os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(tmp_path, {"steps": STEPS}, 1))
        first = await agent.attempt(folder, "token-1", resumed=False)
        await client.close_attempt("r", "1", 1)
        assert result(first)["structured_output"] == {
            "status": "completed",
            "summary": "first",
            "handoff": "",
        }
        assert (agent.workspace / "a.txt").read_text() == "one\n"

        folder = await client.open_attempt(access(tmp_path, {"steps": STEPS}, 2))
        second = await agent.attempt(folder, "token-2", resumed=True)
        assert result(second)["structured_output"] == {
            "status": "completed",
            "summary": "second",
            "handoff": "",
        }
        assert {event["session_id"] for event in (*first, *second)} == {agent.session}
        assert "one" in tool_output(second)


async def test_the_attempt_after_one_that_ended_in_an_error_uses_the_next_list(
    agent: Agent, state: Path, tmp_path: Path
) -> None:
    async with GatewayClient.connect(state, agent.state_id, os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(tmp_path, {"attempts": LIMITED}, 1))
        first = await agent.attempt(folder, "token-1", resumed=False)
        assert (result(first)["is_error"], result(first)["api_error_status"]) == (True, 403)
        folder = await client.open_attempt(access(tmp_path, {"attempts": LIMITED}, 2))
        second = await agent.attempt(folder, "token-2", resumed=True)
        assert "one" in tool_output(second)
        assert result(second)["structured_output"] == {
            "status": "completed",
            "summary": "second",
            "handoff": "",
        }


async def test_an_answer_in_prose_gets_its_reminder_and_no_outcome(
    agent: Agent, state: Path, tmp_path: Path
) -> None:
    steps = [{"text": '{"status": "completed"}'}, *STEPS[1:2]]
    async with GatewayClient.connect(state, agent.state_id, os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(tmp_path, {"steps": steps}, 1))
        first = await agent.attempt(folder, "token-1", resumed=False)
        assert "structured_output" not in result(first)
        folder = await client.open_attempt(access(tmp_path, {"steps": steps}, 2))
        second = await agent.attempt(folder, "token-2", resumed=True)
        assert result(second)["structured_output"]["summary"] == "first"


async def test_a_sub_agent_plays_its_own_list(agent: Agent, state: Path, tmp_path: Path) -> None:
    call = {"description": "look", "prompt": "Look around.", "subagent_type": "general-purpose"}
    task = {
        "steps": [{"tools": [{"name": "Agent", "input": call}]}, STEPS[1]],
        "subagents": [STEPS[0], {"text": "The sub-agent has looked."}],
    }
    async with GatewayClient.connect(state, agent.state_id, os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(tmp_path, task, 1))
        events = await agent.attempt(folder, "token-1", resumed=False)
        assert "The sub-agent has looked." in tool_output(events)
        assert (agent.workspace / "a.txt").read_text() == "one\n"
        assert result(events)["structured_output"]["summary"] == "first"


async def test_a_wrong_token_ends_the_cli_at_once(agent: Agent, state: Path, tmp_path: Path) -> None:
    async with GatewayClient.connect(state, agent.state_id, os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(tmp_path, {"steps": STEPS}, 1))
        events = await agent.attempt(folder, "token-2", resumed=False)
        assert result(events)["api_error_status"] == 401
        log = (state / "gateway.log").read_text()
        assert log.count(" 401\n") == 1


@pytest.fixture
def containers() -> Iterator[list[str]]:
    """Names of containers that are removed after the test."""
    names: list[str] = []
    yield names
    if names:
        asyncio.run(docker("rm", "-f", *names))


async def start_labelled(
    name: str, state_id: str, *, kind: str = "attempt", running: bool = True, attempt: int = 1
) -> None:
    labels = {"state": state_id, "kind": kind, "run": "r", "task": "1", "attempt": str(attempt)}
    options = [word for key, value in labels.items() for word in ("--label", f"ktrdr.{key}={value}")]
    ran = await docker(
        "run" if running else "create",
        *(["-d"] if running else []),
        *("--name", name, "--network", "none", *options, "--entrypoint", "sleep", IMAGE, "300"),
    )
    assert ran.exit_code == 0, ran.stderr.decode()


async def test_running_attempts_are_those_of_this_state_folder(containers: list[str]) -> None:
    ours, other = uuid.uuid4().hex, uuid.uuid4().hex
    names = [f"gateway-test-{uuid.uuid4().hex[:8]}" for _ in range(5)]
    containers.extend(names)
    await start_labelled(names[0], other)
    await start_labelled(names[1], ours, kind="gate")
    await start_labelled(names[2], ours, attempt=3)
    await docker("kill", names[2])
    assert await list_running_attempts(ours) == frozenset()
    await start_labelled(names[3], ours)
    await start_labelled(names[4], ours, running=False, attempt=2)
    expected = frozenset({AttemptKey("r", "1", 1), AttemptKey("r", "1", 2)})
    assert await list_running_attempts(ours) == expected


async def test_no_engine_is_not_the_same_as_no_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("HOME", str(tmp_path))  # no Docker context of the caller's
    assert await list_running_attempts("any") is None


async def test_it_lives_as_long_as_its_container(
    agent: Agent, state: Path, tmp_path: Path, containers: list[str]
) -> None:
    name = f"gateway-test-{uuid.uuid4().hex[:8]}"
    containers.append(name)
    async with GatewayClient.connect(state, agent.state_id, os.environ, SystemClock()) as client:
        folder = await client.open_attempt(access(tmp_path, {"steps": STEPS}, 1))
        await start_labelled(name, agent.state_id)
    (pid,) = gateway_pids(state)
    await asyncio.sleep(6)  # longer than it stays without a container
    assert lives(pid)
    assert (await post(folder / "api.sock", headers={"x-api-key": "token-1"})).status == 200
    async with GatewayClient.connect(state, agent.state_id, os.environ, SystemClock()):
        assert gateway_pids(state) == [pid]
    assert (await docker("rm", "-f", name)).exit_code == 0
    await ended(pid)
