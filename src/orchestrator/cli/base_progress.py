"""Progress lines while a run sets the project up and checks its base."""

from collections.abc import Callable

from orchestrator.cli.console import Console
from orchestrator.run.endings import is_refused
from orchestrator.run.facts import (
    BaseChecked,
    BaseRunEnded,
    Fact,
    Listener,
    NamesReserved,
    Notice,
    PlanTaken,
    RunEnded,
    RunResumed,
    RunStarted,
    SetupEnded,
    SetupStarted,
    StillRunning,
    TaskFinished,
)

_PROGRESS = (SetupStarted, SetupEnded, StillRunning, BaseChecked)
_BEFORE_THE_WORK = (
    *(RunStarted, RunResumed, PlanTaken, Notice, NamesReserved, BaseRunEnded),
    *(TaskFinished, BaseChecked),  # of tasks that were done before the run, or are left out
)


class BaseProgress:
    """A listener that writes a line for each step of setup and of the checks on the base."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._console = Console(write)

    def __call__(self, fact: Fact) -> None:
        if is_progress(fact):
            self._console(fact)


class HeldEvents:
    """A listener that holds back what happens before the work until it is clear that the run begins.

    A run that is refused because of its base shows nothing of this on standard output: a program that reads
    it would take the events for those of a run that works. Meanwhile the progress is shown elsewhere.
    """

    def __init__(self, show: Listener, progress: Listener, *, repeats: bool) -> None:
        """`repeats`: whether `show` also gets what `progress` has shown."""
        self._show = show
        self._progress = progress
        self._repeats = repeats
        self._held: list[Fact] = []
        self._is_holding: bool | None = None
        """None until the first fact."""

    def __call__(self, fact: Fact) -> None:
        if self._is_holding is None:
            self._is_holding = isinstance(fact.body, (RunStarted, RunResumed))
        if not self._is_holding:
            self._show(fact)
        elif isinstance(fact.body, RunEnded) and is_refused(fact.body):
            self._held.clear()
        elif is_progress(fact) or isinstance(fact.body, _BEFORE_THE_WORK):
            self._progress(fact)
            self._held.append(fact)
        else:
            self._release(fact)

    def _release(self, fact: Fact) -> None:
        self._is_holding = False
        for held in self._held:
            if self._repeats or not is_progress(held):
                self._show(held)
        self._held.clear()
        self._show(fact)


def is_progress(fact: Fact) -> bool:
    """Whether the fact is a step of setup, or of a check, that belongs to no task's attempt."""
    if isinstance(fact.body, BaseChecked):
        return True
    return isinstance(fact.body, _PROGRESS) and fact.attempt is None and fact.task is None
