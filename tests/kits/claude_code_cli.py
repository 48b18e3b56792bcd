"""The real Claude Code in a container, with a provider of the model that plays the answers of a case.

The command line and the environment are those of the driver; a case says what is different. `IMAGE` is the
agent image, unless AGENT_IMAGE names another one (`make contract CLI=VERSION`).
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web

from orchestrator.agents.base import CredentialKind, Launch, LaunchRequest, Session
from orchestrator.agents.claude_code import ClaudeCode
from orchestrator.gateway import anthropic
from orchestrator.gateway.script import Answer, StepUsage, ToolUse
from orchestrator.subprocesses import run

ROOT = Path(__file__).parents[2]
_RECIPE = (ROOT / "deploy/docker/coding-agent/Dockerfile").read_text("utf-8")
_PIN = re.search(r"^ARG CLAUDE_CODE_VERSION=(\S+)$", _RECIPE, re.MULTILINE)
assert _PIN is not None
VERSION = _PIN[1]
"""The version in the agent image."""
IMAGE = os.environ.get("AGENT_IMAGE", "ktrdr-coding-agent:latest")

SESSION = "5e5510e0-0000-4000-8000-000000000001"
MODEL = "claude-haiku-4-5"
USAGE = StepUsage(
    input_tokens=1000, output_tokens=50, cache_creation_input_tokens=20, cache_read_input_tokens=300
)
_TOKEN = "t0ken"
_UID = 12345 if os.geteuid() == 0 else os.geteuid()


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An HTTP error of the provider."""

    status: int
    message: str = "No."
    kind: str | None = None
    details: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        whole = json.loads(anthropic.error_body(self.status, self.message, kind=self.kind))
        return json.dumps(whole | {"error": whole["error"] | _optional("details", self.details)}).encode()


def _optional(key: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if value is None else {key: dict(value)}


def says(text: str = "", *tools: ToolUse, outcome: dict[str, Any] | None = None, **fields: Any) -> Answer:
    return Answer(text=text, tools=tools, outcome=outcome, usage=USAGE, **fields)


@dataclass(frozen=True, kw_only=True)
class Case:
    answers: tuple[Answer | Refused, ...] = ()
    """One for each request of the main agent; the last one is repeated."""
    subagent: tuple[Answer, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of every good answer."""
    model: str | None = MODEL
    credential: CredentialKind = "api_key"
    max_turns: int = 100
    without: tuple[str, ...] = ()
    """Variables of the driver's environment that are not set."""
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = f"{_UID}:{_UID}"
    home_bytes: int | None = None
    """The size of the file system that HOME is in."""
    signal: str | None = None
    """Sent to the CLI when it has printed its first tool call."""
    earlier: "Case | None" = None
    """The case that has used the same HOME and session before."""
    resumes: bool = False


@dataclass(frozen=True, kw_only=True)
class Printed:
    exit_code: int
    lines: list[bytes]
    stderr: str
    requests: int


async def run_case(case: Case, folder: Path) -> Printed:
    """Run the CLI of the image to its end; `folder` is new and empty."""
    home, sockets = folder / "home", folder / "sockets"
    for made in (home, sockets, folder / "workspace"):
        made.mkdir()
        made.chmod(0o777)
    if case.earlier is not None:
        await _run_once(case.earlier, folder)
    return await _run_once(case, folder)


async def _run_once(case: Case, folder: Path) -> Printed:
    container = f"ktrdr-test-contract-{uuid4().hex[:8]}"
    async with _provider(case, folder / "sockets") as requests:
        stopping = asyncio.create_task(_signal_at_first_tool(case, container))
        try:
            done = await run(_docker_command(case, folder, container), timeout=180)
        finally:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)
            await run(["docker", "rm", "--force", "--volumes", container], timeout=60)
    lines = done.stdout.splitlines()
    return Printed(exit_code=done.exit_code, lines=lines, stderr=done.stderr.decode(), requests=len(requests))


def _launch(case: Case) -> Launch:
    resumed = case.resumes
    return ClaudeCode().launch(
        LaunchRequest(
            run="r",
            task="1",
            attempt=1,
            session=Session(id=SESSION, resumed=resumed),
            model=case.model,
            max_turns=case.max_turns,
            token=_TOKEN,
            credential=case.credential,
        )
    )


def _docker_command(case: Case, folder: Path, container: str) -> list[str]:
    launch = _launch(case)
    env = {name: value for name, value in launch.env.items() if name not in case.without}
    env |= {"HOME": "/run/orchestrator/home", **case.env}
    home = ["--volume", f"{folder}/home:/run/orchestrator/home"]
    if case.home_bytes is not None:
        home = ["--tmpfs", f"/run/orchestrator/home:mode=1777,size={case.home_bytes}"]
    return [
        *("docker", "run", "--name", container, "--init", "--network", "none", "--user", case.user),
        *(word for name, value in env.items() for word in ("--env", f"{name}={value}")),
        *home,
        *("--volume", f"{folder}/sockets:/run/orchestrator/gateway"),
        *("--volume", f"{folder}/workspace:/workspace"),
        *("--workdir", "/workspace", "--entrypoint", "bash", IMAGE),
        # The CLI takes the shell's place, so that it gets the signals; it reads its prompt from a file.
        *("-c", 'echo "do it" >/tmp/prompt; exec "$@" </tmp/prompt', "bash", *launch.argv),
    ]


async def _signal_at_first_tool(case: Case, container: str) -> None:
    while case.signal is not None:
        printed = await run(["docker", "logs", container], timeout=60)
        if b'"tool_use"' in printed.stdout:
            await asyncio.sleep(1)  # until the tool runs
            await run(["docker", "kill", "--signal", case.signal, container], timeout=60)
            return
        await asyncio.sleep(0.2)


@asynccontextmanager
async def _provider(case: Case, folder: Path) -> AsyncIterator[list[str]]:
    """Serve the case at the driver's socket; gives the list of requests, which grows."""
    requests: list[str] = []
    counted = {"main": 0, "subagent": 0}

    async def handle(request: web.Request) -> web.StreamResponse:
        requests.append(request.path_qs)
        asked = await request.json()
        side = "subagent" if "x-claude-code-agent-id" in request.headers else "main"
        answers = case.subagent if side == "subagent" else case.answers
        number = min(counted[side], len(answers) - 1)
        counted[side] += 1
        answer = answers[number]
        if isinstance(answer, Refused):
            return web.Response(
                status=answer.status,
                body=answer.body(),
                headers={"content-type": "application/json", **answer.headers},
            )
        seed = f"{side}/{counted[side]}/{len(asked['messages'])}"
        message = anthropic.build_message(answer, model=str(asked.get("model")), seed=seed)
        if not asked.get("stream"):
            return web.json_response(message, headers=case.headers)
        body = b"".join(anthropic.stream_events(message))
        return web.Response(body=body, headers={"content-type": "text/event-stream", **case.headers})

    app = web.Application(client_max_size=2**27)
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    socket = folder / "api.sock"
    socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(socket)).start()
    socket.chmod(0o777)
    try:
        yield requests
    finally:
        await runner.cleanup()
