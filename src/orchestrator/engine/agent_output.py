"""Record an agent's output while it works, as facts of limited size.

The transcript has every byte; these facts are for the user who watches. Text is collected for half a second
before it becomes a fact, so an agent that prints a million lines does not write a million facts; characters
beyond the limit are counted and not stored. Each tool call is one short fact at once.
"""

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.clock import Clock
from orchestrator.events import AgentEvent, Text, ToolCall, Unknown
from orchestrator.run.facts import AgentText, AgentTool
from orchestrator.text import one_line, plain

COLLECT_SECONDS = 0.5
MAX_CHARACTERS = 4_000


class AgentOutputRecorder:
    def __init__(self, append: Callable[[AgentText | AgentTool], Awaitable[object]], clock: Clock) -> None:
        self._append = append
        self._clock = clock
        self._text = ""
        self._left_out = 0
        self._timer: asyncio.Task[None] | None = None

    async def record(self, event: AgentEvent) -> None:
        match event:
            case ToolCall():
                await self.flush()
                await self._append(AgentTool(name=one_line(event.name), summary=one_line(event.summary, 300)))
            # A kind of line that the driver does not know yet is counted when the attempt ends.
            case Text(text=text) | Unknown(line=text, kind="") if text.strip():
                joined = f"{self._text}\n{text}" if self._text else text
                self._text = joined[:MAX_CHARACTERS]
                self._left_out += len(joined) - len(self._text)
                if self._timer is None:
                    self._timer = asyncio.create_task(self._write_later())
            case _:
                pass

    async def flush(self) -> None:
        """Append the text that was collected so far."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            # Errors of the timer are ignored: if the journal takes no facts, the next append raises.
            await asyncio.gather(timer, return_exceptions=True)
        await self._write()

    async def _write_later(self) -> None:
        while self._text:
            await self._clock.sleep(COLLECT_SECONDS)
            await self._write()
        self._timer = None

    async def _write(self) -> None:
        text, left_out = self._text, self._left_out
        self._text, self._left_out = "", 0
        if text:
            more = f"\n… and {left_out} more characters" if left_out else ""
            await self._append(AgentText(text=plain(text) + more))
