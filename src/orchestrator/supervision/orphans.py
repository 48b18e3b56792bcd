"""The table of what becomes of an attempt that has no end, when the run gets an owner again.

An agent works on while its orchestrator is dead, so the journal alone does not say what has happened. The
engine does: it knows the attempt's container by name. What the journal says and what the engine shows decide
together, and no process, clock or file is asked here.

| the journal | the engine | then |
|---|---|---|
| no container_created | no such container | BeginAgain |
| no container_created | the container, never started | StartUntouched |
| container_created | never started | StartUntouched |
| | running or paused | Adopt |
| a limit that stops an agent | running or paused | StopLimited |
| | ended | TakeResult |
| | no such container | RecordRemoved |
| | another engine answers | AskOtherEngine |
| stop_begun | any | FinishStop |
| attempt_ended | any | Remove |
| of an earlier version | any | StopInOrder |

The container that is found is the attempt's own: its labels say so, and no process inside can change them.
"""

from typing import Literal, NamedTuple

from msgspec import Struct

from orchestrator.run.facts import ContainerCreated
from orchestrator.run.state import AttemptState
from orchestrator.supervision.classify import STOPPING

Liveness = Literal["absent", "created", "alive", "ended"]
"""The state of a container as the engine shows it: alive is running or paused."""


class AnsweringEngine(NamedTuple):
    """The engine that answers now."""

    id: str
    endpoint: str


class BeginAgain(Struct, frozen=True):
    """There is no container, so no agent has run: the same attempt begins again with its session."""


class StartUntouched(Struct, frozen=True):
    """Start the container if the code folder is as it was when the attempt was prepared.

    If it is not, the user was there: the container is removed, and the attempt has been interrupted.
    """


class Adopt(Struct, frozen=True):
    """The agent is at work: follow it to its end."""


class StopLimited(Struct, frozen=True):
    """The gateway has seen a limit, and the agent only tries again and again: stop it in order."""


class TakeResult(Struct, frozen=True):
    """The agent has ended: record its end as if the owner had seen it."""


class RecordRemoved(Struct, frozen=True):
    """Another program has removed the container."""


class AskOtherEngine(Struct, frozen=True):
    """Another engine made the container, and the agent may be at work there: nothing may be done here."""

    created: ContainerCreated


class FinishStop(Struct, frozen=True):
    """The agent was being stopped: kill what is left, and record why it was stopped."""


class Remove(Struct, frozen=True):
    """The end is recorded: remove what exists only while the attempt is at work."""


class StopInOrder(Struct, frozen=True):
    """Too little is known of the attempt to adopt it."""


Recovery = (
    BeginAgain
    | StartUntouched
    | Adopt
    | StopLimited
    | TakeResult
    | RecordRemoved
    | AskOtherEngine
    | FinishStop
    | Remove
    | StopInOrder
)


def choose_recovery(attempt: AttemptState, liveness: Liveness, engine: AnsweringEngine) -> Recovery:
    """Choose what to do about an attempt whose owner was killed."""
    if attempt.end is not None:
        return Remove()
    if attempt.start.limit_seconds is None:
        return StopInOrder()
    if (foreign := find_other_engine(attempt, engine)) is not None:
        return AskOtherEngine(foreign)
    if attempt.stop is not None:
        return FinishStop()
    match liveness:
        case "created":
            return StartUntouched()
        case "alive":
            return StopLimited() if any(each.effect in STOPPING for each in attempt.limits) else Adopt()
        case "ended":
            return TakeResult()
        case "absent":
            return BeginAgain() if attempt.created is None else RecordRemoved()


def find_other_engine(attempt: AttemptState, engine: AnsweringEngine) -> ContainerCreated | None:
    """Where the container of an attempt without an end was made, if another engine answers now.

    Engines are distinguished by their own ids, or by their endpoints where one has no id.
    """
    created = attempt.created
    if attempt.end is not None or created is None:
        return None
    if created.engine and engine.id:
        return None if created.engine == engine.id else created
    return None if created.endpoint == engine.endpoint else created
