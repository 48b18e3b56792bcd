"""A coding agent that follows a script, one for each of its attempts."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.agents.base import Capabilities, CredentialKind, Launch, LaunchRequest
from orchestrator.agents.command import attempt_env
from orchestrator.agents.json_object import decode_object
from orchestrator.events import AgentEvent, LimitKind, ProviderRefusal, SessionLost, Text, ToolCall, Unknown
from orchestrator.testing.processes import OutOfMemory, Process
from orchestrator.text import one_line, plain

Step = Callable[[Process], Awaitable[None] | None]
"""One thing that an agent does, in its own process."""


class Attempt(NamedTuple):
    task: str
    number: int
    resumed: bool
    """Whether it continues the session of the previous attempt."""
    prompt: str


_ANSWERS = {"usage_limit": 429, "billing": 402, "credential_refused": 401}


class _Exit(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


def writes(path: str, text: str) -> Step:
    """Use a tool that writes this file; the path is relative to the code folder."""

    def step(process: Process) -> None:
        _print_event(process, tool="Write", summary=path)
        file = process.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return step


def says(text: str) -> Step:
    return lambda process: process.print(text)


def waits(seconds: float) -> Step:
    """Print nothing, and end at the first signal that is not ignored."""
    return lambda process: process.clock.sleep(seconds)


def ignores(*signals: str) -> Step:
    return lambda process: process.handlers.update({name: lambda: None for name in signals})


def floods(lines: int) -> Step:
    """Print this many lines of 1,000 bytes, one a second."""

    async def step(process: Process) -> None:
        for _ in range(lines):
            process.print("x" * 999)
            await process.clock.sleep(1)

    return step


def reports(status: str = "completed", **more: Any) -> Step:
    """Write the outcome file."""

    def step(process: Process) -> None:
        outcome = {"status": status, "summary": f"It is {status}.", **more}
        process.path(process.env["ORCHESTRATOR_OUTCOME"]).write_text(json.dumps(outcome))

    return step


def hits_limit(kind: LimitKind, until: float | None = None) -> Step:
    """Print that the provider refuses, then hang, like an agent that tries again and again."""

    async def step(process: Process) -> None:
        _print_event(process, limit=kind, until=until)
        await process.clock.sleep(86_400)

    return step


def loses_session(detail: str = "the disk is full") -> Step:
    """Print that the agent's session was not stored completely."""
    return lambda process: _print_event(process, lost=detail)


def prints_unknown(kind: str) -> Step:
    """Print a line of a kind that the driver does not know."""
    return lambda process: _print_event(process, unknown=kind)


def exits(code: int) -> Step:
    def step(_process: Process) -> None:
        raise _Exit(code)

    return step


def runs_out_of_memory() -> Step:
    def step(_process: Process) -> None:
        raise OutOfMemory

    return step


def works(task: str) -> Sequence[Step]:
    """The script of an attempt that has no other: write the file that the task's gate looks for."""
    return (writes(f"task-{task}.txt", f"the work of {task}\n"), reports())


class ScriptedAgent:
    """An AgentDriver, and the Program of its containers."""

    name = "scripted"
    capabilities = Capabilities(
        resume="native",
        model="ignored",
        turn_limit="ignored",
        structured_outcome="translated",
        tool_events="native",
    )
    needs_model = False
    takes_command = False
    credentials: tuple[CredentialKind, ...] = ()

    def __init__(
        self,
        attempts: Mapping[tuple[str, int], Sequence[Step]] | None = None,
        *,
        needs_outcome: bool = True,
    ) -> None:
        """`attempts` has a script for each task and attempt number;

        an attempt without one follows `works`.
        """
        self.needs_outcome = needs_outcome
        self._attempts = attempts or {}
        self.attempts: list[Attempt] = []
        """Every attempt that was started, in order."""

    def program(self, request_command: tuple[str, ...]) -> str:  # noqa: ARG002 - the protocol has it
        return self.name

    def launch(self, request: LaunchRequest) -> Launch:
        how = "--resume" if request.session.resumed else "--session"
        return Launch(argv=(self.name, how, request.session.id), env=attempt_env(request))

    def session_files(self, session: str) -> tuple[str, ...]:
        return (f".scripted/{session}",)

    def parser(self) -> "ScriptedParser":
        return ScriptedParser()

    async def __call__(self, process: Process) -> int:
        task, number = process.env["ORCHESTRATOR_TASK"], int(process.env["ORCHESTRATOR_ATTEMPT"])
        _, how, session = process.argv
        prompt = (process.stdin or b"").decode()
        self.attempts.append(Attempt(task, number, how == "--resume", prompt))
        remembered = process.path(f"{process.env['HOME']}/.scripted/{session}")
        remembered.parent.mkdir(exist_ok=True)
        remembered.write_text(prompt)
        try:
            for step in self._attempts.get((task, number), works(task)):
                if (doing := step(process)) is not None:
                    await doing
            return 0
        except _Exit as end:
            return end.code


@dataclass(frozen=True, slots=True)
class ScriptedParser:
    def feed(self, line: bytes) -> tuple[AgentEvent, ...]:
        try:
            said = decode_object(line)
        except ValueError:
            return (Text(text=plain(line.decode("utf-8", "replace"))),)
        match said:
            case {"tool": str(name), "summary": str(summary)}:
                return (ToolCall(id="", name=one_line(name), summary=one_line(summary)),)
            case {
                "limit": "usage_limit" | "billing" | "credential_refused" as kind,
                "until": int() | float() | None as until,
            }:
                detail = f"the provider answered {_ANSWERS[kind]}"
                return (ProviderRefusal(kind=kind, detail=detail, until=until),)
            case {"lost": str(detail)}:
                return (SessionLost(detail=detail),)
            case {"unknown": str(kind)}:
                return (Unknown(line=line.decode("utf-8", "replace"), kind=kind),)
            case _:
                return (Text(text=plain(line.decode("utf-8", "replace"))),)


def _print_event(process: Process, **said: Any) -> None:
    process.print(json.dumps(said))
