"""Every event of an agent in words for a reader."""

import pytest

from orchestrator.agents.base import Parser
from orchestrator.agents.registry import agent_driver
from orchestrator.cli.agent_lines import SHOWN_CHARACTERS, event_parser, readable_lines
from orchestrator.events import (
    AgentEvent,
    AgentFault,
    Finished,
    InvalidOutcome,
    Outcome,
    ProviderRefusal,
    SessionStarted,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
    Usage,
    UsageReported,
)

DONE = Outcome(status="completed", summary="It\nworks.")
ASKS = Outcome(status="needs_human", question="Which?")
WORDS: list[tuple[AgentEvent, list[str]]] = [
    (SessionStarted(session="s", model="m"), ["model m"]),
    (SessionStarted(session="s"), []),
    (Text(text="one\n\n  two\n"), ["says  one", "      ", "        two"]),
    (Text(text="\n"), []),
    (ToolCall(id="1", name="Bash", summary="run make"), ["does  Bash: run make"]),
    (ToolResult(id="1", is_error=False, text="ok … (9 lines)"), ["gets  ok … (9 lines)"]),
    (ToolResult(id="1", is_error=True, text="exit 1"), ["fails exit 1"]),
    (ToolResult(id="1", is_error=False), ["gets  nothing"]),
    (UsageReported(usage=Usage()), []),
    (ProviderRefusal(kind="usage_limit", detail="seven_day"), ["limit usage limit: seven_day"]),
    (AgentFault(detail="oh"), ["error oh"]),
    (Finished(is_error=True, detail="api"), ["ends  with an error: api"]),
    (Finished(is_error=False), ["ends  without an outcome"]),
    (
        Finished(is_error=False, outcome=InvalidOutcome(reason="no status")),
        ["ends  with an invalid outcome: no status"],
    ),
    (Finished(is_error=False, outcome=DONE), ["ends  completed: It works."]),
    (Finished(is_error=False, outcome=ASKS), ["ends  needs human: Which?"]),
    (Unknown(line="?"), ["?"]),
]


class Given:
    """A parser that finds this event in every line."""

    def __init__(self, event: AgentEvent) -> None:
        self._event = event

    def feed(self, line: bytes) -> tuple[AgentEvent, ...]:
        return (self._event,)


@pytest.mark.parametrize(("event", "lines"), WORDS)
def test_the_words_of_an_event(event: AgentEvent, lines: list[str]) -> None:
    assert list(readable_lines(b"", Given(event))) == lines


@pytest.mark.parametrize(("agent", "has_stream"), [("claude-code", True), ("command", False), ("nop", False)])
def test_output_for_humans_is_shown_as_it_was_printed(agent: str, has_stream: bool) -> None:
    parser: Parser | None = event_parser(agent_driver(agent))
    assert (parser is not None) == has_stream
    assert list(readable_lines(b"  a\xff", parser)) == ["  a\ufffd"]


def test_a_long_line_is_shortened() -> None:
    (line,) = readable_lines(b"x" * (SHOWN_CHARACTERS + 7), None)
    assert line.endswith("x… and 7 more characters")
