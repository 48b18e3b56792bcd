"""A run's journal and its folded state, kept in step."""

from orchestrator.journal.journal import Journal
from orchestrator.run.facts import Body, Fact
from orchestrator.run.state import RunState, advance


class RunJournal:
    """The only writer of a run's state; held by the owner of the run's lock."""

    def __init__(self, journal: Journal, state: RunState) -> None:
        self._journal = journal
        self.state = state

    def append(self, body: Body, *, task: str | None = None, attempt: int | None = None) -> Fact:
        """Store the fact, then fold it."""
        fact = self._journal.append(self.state.run, body, task=task, attempt=attempt)
        self.state = advance(self.state, fact)
        return fact
