"""What the agent says while it works, as facts of bounded size and rate.

The transcript holds every byte; these facts are for the person who watches. Text is gathered for half a
second, so that an agent that prints a million lines does not write a million facts.
"""

import asyncio
from collections.abc import Callable

from orchestrator.events import AgentEvent, Text, ToolCall, Unknown
from orchestrator.run.facts import AgentText, AgentTool
from orchestrator.text import one_line, plain

GATHER_SECONDS = 0.5
MAX_CHARACTERS = 4_000


class AgentOutputRecorder:
    def __init__(self, append: Callable[[AgentText | AgentTool], object]) -> None:
        self._append = append
        self._text = ""
        self._left_out = 0
        self._timer: asyncio.TimerHandle | None = None

    def hear(self, event: AgentEvent) -> None:
        match event:
            case ToolCall():
                self.flush()
                self._append(AgentTool(name=one_line(event.name), summary=one_line(event.summary, 300)))
            case Text(text=text) | Unknown(line=text) if text.strip():
                self._gather(text)
            case _:
                pass

    def flush(self) -> None:
        """Write down what has been gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._text:
            more = f"\n… and {self._left_out} more characters" if self._left_out else ""
            self._append(AgentText(text=plain(self._text) + more))
        self._text, self._left_out = "", 0

    def _gather(self, text: str) -> None:
        joined = f"{self._text}\n{text}" if self._text else text
        self._text = joined[:MAX_CHARACTERS]
        self._left_out += len(joined) - len(self._text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)
