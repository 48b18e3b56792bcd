"""An agent's output as facts of limited size and number."""

import asyncio

import pytest

from orchestrator.clock import SystemClock
from orchestrator.engine.agent_output import COLLECT_SECONDS, MAX_CHARACTERS, AgentOutputRecorder
from orchestrator.events import AgentEvent, SessionStarted, Text, ToolCall, ToolResult, Unknown
from orchestrator.run.facts import AgentText, AgentTool

Facts = list[AgentText | AgentTool]


def recorder_of(facts: Facts) -> AgentOutputRecorder:
    async def append(fact: AgentText | AgentTool) -> None:
        facts.append(fact)

    return AgentOutputRecorder(append, SystemClock())


def received(*events: AgentEvent) -> Facts:
    """Facts after all these events at once."""

    async def receive() -> Facts:
        facts: Facts = []
        recorder = recorder_of(facts)
        for event in events:
            await recorder.record(event)
        await recorder.flush()
        return facts

    return asyncio.run(receive())


def call(summary: str = "ls", name: str = "Bash") -> ToolCall:
    return ToolCall(id="1", name=name, summary=summary)


def test_text_is_collected_until_the_next_tool_call() -> None:
    facts = received(Text(text="one"), Text(text="two"), call(), Unknown(line="three"))
    assert facts == [
        AgentText(text="one\ntwo"),
        AgentTool(name="Bash", summary="ls"),
        AgentText(text="three"),
    ]


def test_empty_text_and_other_events_make_no_facts() -> None:
    assert (
        received(
            Text(text=" \n"), Unknown(line=""), SessionStarted(session="s"), ToolResult(id="1", is_error=True)
        )
        == []
    )


def test_a_million_lines_become_one_fact_of_limited_size() -> None:
    (fact,) = received(*(Text(text="x" * 99) for _ in range(10_000)))
    assert isinstance(fact, AgentText)
    assert len(fact.text) < MAX_CHARACTERS + 100
    assert fact.text.endswith(f"… and {10_000 * 100 - 1 - MAX_CHARACTERS} more characters")


def test_control_codes_and_line_ends_are_removed() -> None:
    facts = received(Text(text="\x1b[2Jgone\ud800"), call(summary="rm\n\x1b[1A" + "x" * 1000, name="Ba\nsh"))
    text, tool = facts
    assert text == AgentText(text="gone?")
    assert isinstance(tool, AgentTool)
    assert tool.name == "Ba sh" and tool.summary.startswith("rm xx") and len(tool.summary) == 300


async def test_collected_text_is_appended_after_a_while() -> None:
    written = asyncio.Event()
    facts: Facts = []

    async def append(fact: AgentText | AgentTool) -> None:
        facts.append(fact)
        written.set()

    recorder = AgentOutputRecorder(append, SystemClock())
    await recorder.record(Text(text="a"))
    await recorder.record(Text(text="b"))
    assert facts == []
    await asyncio.wait_for(written.wait(), 60 * COLLECT_SECONDS)
    assert facts == [AgentText(text="a\nb")]
    await recorder.flush()
    assert len(facts) == 1


@pytest.mark.parametrize("times", [1, 2])
async def test_a_flush_leaves_no_timer_behind(times: int) -> None:
    facts: Facts = []
    recorder = recorder_of(facts)
    await recorder.record(Text(text="a"))
    for _ in range(times):
        await recorder.flush()
    await asyncio.sleep(2 * COLLECT_SECONDS)
    assert facts == [AgentText(text="a")]
