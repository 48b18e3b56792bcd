"""How far a run has come: which task of how many, and what it does at the moment."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptAdopted,
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
    limit_seconds: float | None = None
    """Of an attempt: how long it may take, if that is known."""
    tool: AgentTool | None = None
    """Of an attempt: the agent's last tool call, if the agent has printed nothing since."""
    tool_since: str = ""
    said: tuple[AgentText | AgentTool, ...] = ()
    """Of an attempt: the last LAST_SAID texts and tool calls of its agent, oldest first."""


LAST_SAID = 2


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
    begun: Mapping[str, Doing] = {}
    last_at = state.started_at
    for fact in facts:
        last_at = fact.at if not isinstance(fact.body, StillRunning) else last_at
        begun = follow_work(begun, fact)
    if begun:
        return tuple(begun.values())
    what = "step" if state.base_checked else "base"
    return (Doing(what=what, task=None, attempt=None, since=last_at),)


def follow_work(begun: Mapping[str, Doing], fact: Fact) -> Mapping[str, Doing]:
    """The work that has started and not ended after one more fact, by task (the run's own has the key "")."""
    key = fact.task or ""

    def begin(what: str, name: str = "", command: str = "", limit: float | None = None) -> Doing:
        return Doing(
            what=what,
            task=fact.task,
            attempt=fact.attempt,
            since=fact.at,
            name=name,
            command=command,
            limit_seconds=limit,
        )

    match fact.body:
        case RunResumed() | RunWaiting() | RunEnded():
            return {}
        case SetupStarted():
            return {**begun, key: begin("setup")}
        case AttemptStarted(limit_seconds=limit):
            return {**begun, key: begin("attempt", limit=limit)}
        case AttemptAdopted():
            return {**begun, key: begin("attempt")}
        case GateStarted(gate=gate, command=command):
            return {**begun, key: begin("gate", gate, command)}
        case LandingStarted():
            return {**begun, key: begin("landing")}
        case StillRunning(text=text) if key in begun:
            return {**begun, key: replace(begun[key], last_output=text)}
        case AgentText() | AgentTool() as body if key in begun:
            return {**begun, key: _add_output(begun[key], fact, body)}
        case SetupEnded() | AttemptEnded() | GateEnded() | LandingRefused() | TaskFinished():
            return {other: doing for other, doing in begun.items() if other != key}
    return begun


def _add_output(doing: Doing, fact: Fact, body: AgentText | AgentTool) -> Doing:
    if isinstance(body, AgentText) and not body.text.strip():
        return doing
    tool = body if isinstance(body, AgentTool) else None
    said = (*doing.said, body)[-LAST_SAID:]
    return replace(doing, tool=tool, tool_since=fact.at if tool is not None else "", said=said)
