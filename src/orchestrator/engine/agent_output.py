"""Record an agent's output while it works, as facts of limited size.

The transcript has every byte; these facts are for the user who watches. Text is collected for half a second
before it becomes a fact, so an agent that prints a million lines does not write a million facts; characters
beyond the limit are counted and not stored. Each tool call is one short fact at once.

After a kill the next owner reads the transcript from its beginning and must report what was not reported yet,
and nothing twice. So each fact says how many bytes of the output it and the facts before it cover, always to
the end of a line, and everything that comes from one line is stored in one transaction.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from orchestrator.clock import Clock
from orchestrator.events import AgentEvent, Text, ToolCall, Unknown
from orchestrator.run.facts import AgentText, AgentTool
from orchestrator.text import one_line, plain

COLLECT_SECONDS = 0.5
MAX_CHARACTERS = 4_000


_Facts = Sequence[AgentText | AgentTool]


class AgentOutputRecorder:
    def __init__(
        self, append: Callable[[_Facts], Awaitable[object]], clock: Clock, *, reported: int = 0
    ) -> None:
        """`append` stores several facts or none; facts cover the output's first `reported` bytes already."""
        self._append = append
        self._clock = clock
        self.reported = reported
        self._end = reported
        self._text = ""
        self._left_out = 0
        self._timer: asyncio.Task[None] | None = None

    async def record(self, events: Iterable[AgentEvent], end: int) -> None:
        """Record the events of one line, which ends at this byte of the output, unless facts cover it."""
        if end <= self.reported:
            return
        self._end = end
        facts: list[AgentText | AgentTool] = []
        for event in events:
            match event:
                case ToolCall():
                    facts += self._take_text()
                    name, summary = one_line(event.name), one_line(event.summary, 300)
                    facts.append(AgentTool(name=name, summary=summary, stdout_bytes=end))
                # A kind of line that the driver does not know yet is counted when the attempt ends.
                case Text(text=text) | Unknown(line=text, kind="") if text.strip():
                    joined = f"{self._text}\n{text}" if self._text else text
                    self._text = joined[:MAX_CHARACTERS]
                    self._left_out += len(joined) - len(self._text)
                case _:
                    pass
        if facts:
            await self._append([*facts, *self._take_text()])
        elif self._text and self._timer is None:
            self._timer = asyncio.create_task(self._write_later())

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
        if facts := self._take_text():
            await self._append(facts)

    def _take_text(self) -> list[AgentText | AgentTool]:
        text, left_out = self._text, self._left_out
        self._text, self._left_out = "", 0
        more = f"\n… and {left_out} more characters" if left_out else ""
        return [AgentText(text=plain(text) + more, stdout_bytes=self._end)] if text else []
