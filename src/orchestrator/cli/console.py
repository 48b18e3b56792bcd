"""A run as plain lines: one drawing of it, for files, pipes and simple terminals."""

from collections.abc import Callable

from msgspec.structs import replace

from orchestrator.cli.fact_lines import lines
from orchestrator.cli.times import Zone, clock_time
from orchestrator.cli.tones import Tone, tone_of
from orchestrator.run.facts import Fact, RunStarted
from orchestrator.run.state import RunState
from orchestrator.run.view import RunView, follow


def without_colour(line: str, _tone: Tone) -> str:
    return line


class Console:
    """A listener that writes one line for each thing that happens, with the local time.

    A run that is resumed has earlier facts: `state_of` gives its stored state. Without it a line says less.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        state_of: Callable[[str], RunState | None] | None = None,
        zone: Zone = None,
        paint: Callable[[str, Tone], str] = without_colour,
    ) -> None:
        self._write = write
        self._state_of = state_of
        self._zone = zone
        self._paint = paint
        self._view = RunView()

    def __call__(self, fact: Fact) -> None:
        if self._state_of is not None and not isinstance(fact.body, RunStarted):
            self._view = replace(self._view, state=self._state_of(fact.run))
        self._state_of = None
        self._view = follow(self._view, fact)
        tone = tone_of(fact.body)
        for line in lines(fact, self._view, self._zone):
            self._write(self._paint(f"{clock_time(fact.at, self._zone)}  {line}", tone))
