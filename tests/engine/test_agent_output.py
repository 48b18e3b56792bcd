"""An agent's output as facts of limited size and number."""

import asyncio
from collections.abc import Sequence

import pytest

from orchestrator.clock import SystemClock
from orchestrator.engine.agent_output import COLLECT_SECONDS, MAX_CHARACTERS, AgentOutputRecorder
from orchestrator.events import AgentEvent, SessionStarted, Text, ToolCall, ToolResult, Unknown
from orchestrator.run.facts import AgentText, AgentTool

Facts = list[AgentText | AgentTool]


def recorder_of(facts: Facts) -> AgentOutputRecorder:
    async def append(new: Sequence[AgentText | AgentTool]) -> None:
        facts.extend(new)

    return AgentOutputRecorder(append, SystemClock())


def received(*events: AgentEvent) -> Facts:
    """Facts after all these events at once."""

    async def receive() -> Facts:
        facts: Facts = []
        recorder = recorder_of(facts)
        for number, event in enumerate(events, 1):
            await recorder.record([event], 10 * number)
        await recorder.flush()
        return facts

    return asyncio.run(receive())


def call(summary: str = "ls", name: str = "Bash") -> ToolCall:
    return ToolCall(id="1", name=name, summary=summary)


def test_text_is_collected_until_the_next_tool_call() -> None:
    facts = received(Text(text="one"), Text(text="two"), call(), Unknown(line="three"))
    assert facts == [
        AgentText(text="one\ntwo", stdout_bytes=30),
        AgentTool(name="Bash", summary="ls", stdout_bytes=30),
        AgentText(text="three", stdout_bytes=40),
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
    assert text == AgentText(text="gone?", stdout_bytes=20)
    assert isinstance(tool, AgentTool)
    assert tool.name == "Ba sh" and tool.summary.startswith("rm xx") and len(tool.summary) == 300


async def test_collected_text_is_appended_after_a_while() -> None:
    written = asyncio.Event()
    facts: Facts = []

    async def append(new: Sequence[AgentText | AgentTool]) -> None:
        facts.extend(new)
        written.set()

    recorder = AgentOutputRecorder(append, SystemClock())
    await recorder.record([Text(text="a")], 2)
    await recorder.record([Text(text="b")], 4)
    assert facts == []
    await asyncio.wait_for(written.wait(), 60 * COLLECT_SECONDS)
    assert facts == [AgentText(text="a\nb", stdout_bytes=4)]
    await recorder.flush()
    assert len(facts) == 1


@pytest.mark.parametrize("times", [1, 2])
async def test_a_flush_leaves_no_timer_behind(times: int) -> None:
    facts: Facts = []
    recorder = recorder_of(facts)
    await recorder.record([Text(text="a")], 2)
    for _ in range(times):
        await recorder.flush()
    await asyncio.sleep(2 * COLLECT_SECONDS)
    assert facts == [AgentText(text="a", stdout_bytes=2)]


def test_everything_from_one_line_is_appended_at_once() -> None:
    """A kill between two of these facts would lose what the second says, or report the first twice."""
    batches: list[Facts] = []

    async def record() -> None:
        async def append(new: Sequence[AgentText | AgentTool]) -> None:
            batches.append(list(new))

        recorder = AgentOutputRecorder(append, SystemClock())
        await recorder.record([Text(text="a"), call(), Text(text="b")], 7)
        await recorder.flush()

    asyncio.run(record())
    assert batches == [
        [
            AgentText(text="a", stdout_bytes=7),
            AgentTool(name="Bash", summary="ls", stdout_bytes=7),
            AgentText(text="b", stdout_bytes=7),
        ]
    ]


def test_what_facts_cover_already_is_not_recorded_again() -> None:
    facts: Facts = []

    async def record() -> None:
        async def append(new: Sequence[AgentText | AgentTool]) -> None:
            facts.extend(new)

        recorder = AgentOutputRecorder(append, SystemClock(), reported=10)
        for end in (5, 10, 15):
            await recorder.record([Text(text=f"up to {end}")], end)
        await recorder.flush()

    asyncio.run(record())
    assert facts == [AgentText(text="up to 15", stdout_bytes=15)]
