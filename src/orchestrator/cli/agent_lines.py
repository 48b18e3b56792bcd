"""Shows the output of an agent as lines for a reader: its text, its tool calls, and the answers of its tools.

An agent with output for humans is shown as it printed it. One with a stream of JSON is shown through the
events of its driver, with the words of a run's own lines; what the driver does not know is shown verbatim.
"""

from collections.abc import Iterator
from typing import assert_never

from orchestrator.agents.base import AgentDriver, Parser
from orchestrator.events import (
    AgentEvent,
    AgentFault,
    Finished,
    InvalidOutcome,
    ProviderRefusal,
    SessionLost,
    SessionStarted,
    StartFailure,
    Text,
    ToolCall,
    ToolResult,
    TurnBegan,
    Unknown,
    UsageReported,
)
from orchestrator.text import one_line

SHOWN_CHARACTERS = 10_000
"""Of one line. The rest is counted, and is in the stored bytes."""


def event_parser(driver: AgentDriver) -> Parser | None:
    """The parser of an agent's stream; None for an agent whose output is for humans already."""
    return None if driver.capabilities.tool_events == "ignored" else driver.parser()


def readable_lines(data: bytes, parser: Parser | None) -> Iterator[str]:
    """The lines that a reader sees of one line of output. They may hold control codes: print them visibly."""
    if parser is None:
        yield shorten(data.decode("utf-8", "replace"))
        return
    for event in parser.feed(data):
        for line in _lines_of(event):
            yield shorten(line)


def shorten(line: str) -> str:
    more = len(line) - SHOWN_CHARACTERS
    return line if more <= 0 else f"{line[:SHOWN_CHARACTERS]}… and {more} more characters"


def _lines_of(event: AgentEvent) -> Iterator[str]:  # noqa: C901 - a flat table, one case for each event
    match event:
        case Text(text=text):
            first, *others = text.strip().splitlines() or [""]
            if first:
                yield f"says  {first}"
            yield from (f"      {line}" for line in others)
        case ToolCall():
            yield f"does  {one_line(event.name, 40)}: {event.summary}"
        case ToolResult():
            yield f"{'fails' if event.is_error else 'gets '} {event.text or 'nothing'}"
        case Unknown(line=line):
            yield line
        case SessionStarted(model=model):
            if model:
                yield f"model {one_line(model)}"
        case ProviderRefusal():
            yield f"limit {event.kind.replace('_', ' ')}: {one_line(event.detail, 300)}"
        case AgentFault():
            yield f"error {one_line(event.detail, 300)}"
        case Finished():
            yield f"ends  {_describe_end(event)}"
        case SessionLost(detail=detail):
            yield f"error the session cannot be continued: {one_line(detail, 300)}"
        case StartFailure(detail=detail):
            yield f"error the agent did not start: {one_line(detail, 300)}"
        case UsageReported() | TurnBegan():
            return
        case _ as never:
            assert_never(never)


def _describe_end(event: Finished) -> str:
    outcome, detail = event.outcome, one_line(event.detail, 300)
    if event.is_error:
        return f"with an error: {detail or 'no detail'}"
    if outcome is None:
        return f"without an outcome{': ' if detail else ''}{detail}"
    if isinstance(outcome, InvalidOutcome):
        return f"with an invalid outcome: {one_line(outcome.reason, 300)}"
    text = one_line(outcome.question or outcome.summary, 300)
    return outcome.status.replace("_", " ") + (f": {text}" if text else "")
