"""How far a run has come: which task of how many, and what it does at the moment."""

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.run.facts import (
    AttemptEnded,
    AttemptStarted,
    Fact,
    GateEnded,
    GateStarted,
    LandingRefused,
    LandingStarted,
    RunEnded,
    RunResumed,
    RunWaiting,
    SetupEnded,
    SetupStarted,
    StillRunning,
    TaskFinished,
)
from orchestrator.run.state import RunState


class Position(Struct, frozen=True, kw_only=True):
    """The place of a task among the tasks that the run carries out, in the plan's order."""

    number: int
    total: int


class Doing(Struct, frozen=True, kw_only=True):
    """Something that has started and not ended."""

    what: str
    """setup, attempt, gate or landing; between these: `base` for the base run, else `step`."""
    task: str | None
    attempt: int | None
    since: str
    name: str = ""
    """Of a gate: its name."""
    command: str = ""
    last_output: str = ""
    """The last line that its command printed, where it takes long."""


def position(state: RunState, task: str | None) -> Position | None:
    """The place of a task of this run; None for one that it leaves out or does not have."""
    counted = list(_tasks_to_do(state))
    return Position(number=counted.index(task) + 1, total=len(counted)) if task in counted else None


def count_done(state: RunState) -> tuple[int, int]:
    """How many of the tasks that the run carries out are done, and how many there are."""
    counted = [state.tasks[task] for task in _tasks_to_do(state)]
    return sum(task.is_done for task in counted), len(counted)


def _tasks_to_do(state: RunState) -> Iterator[str]:
    for id, task in state.tasks.items():
        if task.finished is None or task.finished.status != "skipped":
            yield id


def list_current_work(state: RunState, facts: Iterable[Fact]) -> tuple[Doing, ...]:
    """The current work of a run that has an owner, by its facts: an entry for each task, oldest first."""
    begun: dict[str, Doing] = {}
    last_at = state.started_at
    for fact in facts:
        last_at = fact.at if not isinstance(fact.body, StillRunning) else last_at
        _follow(begun, fact)
    if begun:
        return tuple(begun.values())
    what = "step" if state.base_checked else "base"
    return (Doing(what=what, task=None, attempt=None, since=last_at),)


def _follow(begun: dict[str, Doing], fact: Fact) -> None:
    key = fact.task or ""

    def begin(what: str, name: str = "", command: str = "") -> None:
        begun[key] = Doing(
            what=what, task=fact.task, attempt=fact.attempt, since=fact.at, name=name, command=command
        )

    match fact.body:
        case RunResumed() | RunWaiting() | RunEnded():
            begun.clear()
        case SetupStarted():
            begin("setup")
        case AttemptStarted():
            begin("attempt")
        case GateStarted(gate=gate, command=command):
            begin("gate", gate, command)
        case LandingStarted():
            begin("landing")
        case StillRunning(text=text) if key in begun:
            begun[key] = replace(begun[key], last_output=text)
        case SetupEnded() | AttemptEnded() | GateEnded() | LandingRefused() | TaskFinished():
            begun.pop(key, None)
