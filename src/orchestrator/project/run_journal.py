"""A run's journal and its folded state, kept in step."""

import asyncio

from orchestrator.journal.journal import Journal
from orchestrator.run.facts import Body, CancelWished, Fact
from orchestrator.run.state import RunState, advance

WISH_POLL_SECONDS = 0.5


class RunJournal:
    """The only writer of a run's state; held by the owner of the run's lock."""

    def __init__(self, journal: Journal, state: RunState) -> None:
        self._journal = journal
        self.state = state

    async def cancel_wish(self) -> None:
        """Returns once somebody wishes the run cancelled; other processes write that wish."""
        seen = -1
        while True:
            version = self._journal.data_version()
            if version != seen and self._journal.has(self.state.run, CancelWished.kind):
                return
            seen = version
            await asyncio.sleep(WISH_POLL_SECONDS)

    def append(self, body: Body, *, task: str | None = None, attempt: int | None = None) -> Fact:
        """Store the fact, then fold it."""
        fact = self._journal.append(self.state.run, body, task=task, attempt=attempt)
        self.state = advance(self.state, fact)
        return fact
