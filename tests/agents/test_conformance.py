"""The conformance suite: every driver passes it, and it finds each broken promise."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.agents.base import AgentDriver, Capabilities, CredentialKind, Launch, LaunchRequest, Parser
from orchestrator.agents.conformance import CHECKS, problems
from orchestrator.agents.nop import Nop
from orchestrator.agents.registry import KNOWN, agent_driver
from orchestrator.events import AgentEvent, Finished, SessionStarted, Text, ToolCall, Unknown


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", KNOWN)
def test_a_driver_keeps(name: str, check: str) -> None:
    assert list(CHECKS[check](agent_driver(name))) == []


@dataclass(frozen=True)
class Reading:
    """A parser that answers every line alike."""

    answer: Callable[[bytes], tuple[AgentEvent, ...]]

    def feed(self, line: bytes) -> tuple[AgentEvent, ...]:
        return self.answer(line)


@dataclass
class Bent:
    """The nop driver with one thing wrong."""

    name: str = "nop"
    capabilities: Capabilities = Nop.capabilities
    needs_model: bool = False
    needs_outcome: bool = True
    takes_command: bool = False
    credentials: tuple[CredentialKind, ...] = ()
    first_word: str = "sh"
    bend: Callable[[Launch, LaunchRequest], Launch] = lambda launch, request: launch
    answer: Callable[[bytes], tuple[AgentEvent, ...]] = lambda line: ()

    def program(self, request_command: tuple[str, ...]) -> str:
        return self.first_word

    def launch(self, request: LaunchRequest) -> Launch:
        return self.bend(Nop().launch(request), request)

    def session_files(self, session: str) -> tuple[str, ...]:
        return ()

    def parser(self) -> Parser:
        return Reading(self.answer)


def _in_argv(word: Callable[[LaunchRequest], str]) -> Callable[[Launch, LaunchRequest], Launch]:
    return lambda launch, request: replace(launch, argv=(*launch.argv, word(request)))


def _raising(line: bytes) -> tuple[AgentEvent, ...]:
    raise RecursionError


def _counting() -> Callable[[bytes], tuple[AgentEvent, ...]]:
    seen: list[bytes] = []

    def answer(line: bytes) -> tuple[AgentEvent, ...]:
        seen.append(line)
        return (Text(text=str(len(seen))),)

    return answer


UNDECLARED = replace(Nop.capabilities, tool_events="perhaps")  # type: ignore[arg-type]  # a driver's mistake
BROKEN: dict[str, dict[str, Any]] = {
    "name_is_a_word": {"name": "No Op"},
    "capabilities_are_declared": {"capabilities": UNDECLARED},
    "program_is_the_first_word": {"first_word": "bash"},
    "launch_is_a_function": {"bend": _in_argv(lambda request: uuid4().hex)},
    "token_is_in_the_environment_only": {"bend": _in_argv(lambda request: f"--key={request.token}")},
    "files_stay_in_their_folders": {
        "bend": lambda launch, request: replace(launch, files={"../prompt.md": b""})
    },
    "request_reaches_the_agent": {"capabilities": replace(Nop.capabilities, model="native")},
    "resume_works_as_declared": {"bend": _in_argv(lambda request: str(request.session.resumed))},
    "outcome_comes_as_declared": {"bend": lambda launch, request: replace(launch, env={})},
    "noise_is_not_success": {"answer": lambda line: (Finished(is_error=False), SessionStarted(session="s"))},
    "every_line_becomes_events": {"answer": lambda line: ("not an event",)},
    "unknown_lines_are_kept": {"answer": lambda line: (Unknown(line="…"),)},
    "text_is_text": {"answer": lambda line: (ToolCall(id="1", name="n", summary="\x1b[31m"),)},
    "parsers_share_nothing": {"answer": _counting()},
}


def test_there_is_a_broken_driver_for_every_check() -> None:
    assert set(BROKEN) == set(CHECKS)


@pytest.mark.parametrize("check", BROKEN)
def test_the_suite_finds_what_is_broken(check: str) -> None:
    bent: AgentDriver = Bent(**BROKEN[check])
    assert [problem for problem in problems(bent) if problem.startswith(f"{check}: ")]


def test_a_parser_that_raises_is_found() -> None:
    found = list(CHECKS["every_line_becomes_events"](Bent(answer=_raising)))
    assert found
    assert "RecursionError" in found[0]


def test_a_driver_with_nothing_wrong_has_no_problem() -> None:
    assert problems(Bent()) == ()
