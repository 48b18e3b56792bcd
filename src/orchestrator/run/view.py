"""The model of what a user sees of a run: folded from its facts, one by one, without a clock or a terminal.

`cli/fact_lines.py` draws it as a line for each fact, and `cli/block.py` as the block below these lines. Both
get the time and the size of the screen from their caller.
"""

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from orchestrator.run.facts import Fact, RunEnded, RunResumed, RunStarted, StillRunning
from orchestrator.run.progress import Doing, follow_work
from orchestrator.run.state import QuestionState, RunState, advance, begin


class RunView(Struct, frozen=True, kw_only=True):
    """A run after some of its facts."""

    state: RunState | None = None
    """None where its earlier facts are not known: every drawing says less then."""
    began: str | None = None
    """When the command that carries it out began; None before its first fact, and for a run that is only
    reported again."""
    work: Mapping[str, Doing] = field(default_factory=dict)
    """The work that has started and not ended, by task; that of the run itself has the key ""."""
    last_at: str | None = None
    """The time of the last fact that is more than a sign of life."""
    attempts_limit: int | None = None
    """`limits.attempts`, which no fact has; None where the settings of the run are not known."""

    @property
    def doing(self) -> tuple[Doing, ...]:
        """Its current work, oldest first; empty when it has ended, or waits."""
        if self.work:
            return tuple(self.work.values())
        if self.state is None or self.state.end is not None or self.state.waiting is not None:
            return ()
        what = "step" if self.state.base_checked else "base"
        return (Doing(what=what, task=None, attempt=None, since=self.last_at or self.state.started_at),)

    @property
    def question(self) -> QuestionState | None:
        """The oldest open question."""
        questions = () if self.state is None else self.state.open_questions
        return questions[0] if questions else None


def follow(view: RunView, fact: Fact) -> RunView:
    """The view after one more fact, in a time that does not grow with the facts before it.

    A fact that its state has already is not folded a second time.
    """
    state = view.state
    if state is None:
        state = begin(fact) if isinstance(fact.body, RunStarted) else None
    elif fact.n > state.last_n:
        state = advance(state, fact)
    began = fact.at if isinstance(fact.body, RunResumed) else view.began
    if began is None and not isinstance(fact.body, RunEnded):
        began = fact.at
    return replace(
        view,
        state=state,
        began=began,
        work=follow_work(view.work, fact),
        last_at=view.last_at if isinstance(fact.body, StillRunning) else fact.at,
    )
