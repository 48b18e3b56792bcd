"""Reads and checks the file of a scripted model (format: docs/scripted-model.md)."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Meta

from orchestrator.agents.json_object import decode_strictly
from orchestrator.errors import ConfigurationError
from orchestrator.files import read_regular

SCHEMA = 1
ANY_TASK = "*"
LARGEST_SCRIPT = 64_000_000  # bytes; an answer may carry whole files

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Count = Annotated[int, Meta(ge=0)]
HeaderText = Annotated[str, Meta(pattern=r"\A[\x20-\x7e]*\Z")]
HeaderName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9-]+\Z")]
StopReason = Literal["end_turn", "tool_use", "max_tokens", "stop_sequence", "pause_turn", "refusal"]


class ToolUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1)]
    input: dict[str, Any] = {}


class StepUsage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    input_tokens: Count = 1000
    output_tokens: Count = 100
    cache_creation_input_tokens: Count = 0
    cache_read_input_tokens: Count = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer of the model."""

    text: str = ""
    thinking: str = ""
    tools: tuple[ToolUse, ...] = ()
    outcome: dict[str, Any] | None = None
    stop_reason: StopReason | None = None
    usage: StepUsage = StepUsage()
    delay: Seconds = 0
    cut_after: Count | None = None
    """Close the connection after this many events of a stream. An answer in one piece is never cut."""


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: Annotated[int, Meta(ge=400, le=599)]
    type: str | None = None
    message: str = "scripted error"
    headers: dict[HeaderName, HeaderText] = {}


class Refusal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An HTTP error instead of an answer."""

    error: ErrorBody
    delay: Seconds = 0


class Drop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Close the connection without an answer."""

    drop: bool
    delay: Seconds = 0


Step = Answer | Refusal | Drop
Steps = tuple[Step, ...]


class TaskScript(msgspec.Struct, frozen=True, kw_only=True):
    steps: Steps = ()
    """Counted over all attempts of the task: the next attempt resumes the session."""
    attempts: tuple[Steps, ...] = ()
    """Instead of `steps`: one list for each attempt, counted from the prompt of the attempt."""
    subagents: Steps = ()


class Script(msgspec.Struct, frozen=True, kw_only=True):
    tasks: Mapping[str, TaskScript]

    def for_task(self, task: str) -> TaskScript | None:
        return self.tasks.get(task, self.tasks.get(ANY_TASK))


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: int
    tasks: dict[str, Any]


class _Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    steps: list[dict[str, Any]] | None = None
    attempts: list[list[dict[str, Any]]] | None = None
    subagents: list[dict[str, Any]] = []


class _Fault(Exception):
    """A mistake in the file, and its place."""

    def __init__(self, what: str, place: str) -> None:
        super().__init__(what)
        self.what = what
        self.place = place


def load_script(path: Path) -> Script:
    """Read and check the whole file. Raises ConfigurationError, which names the file and the place in it."""
    try:
        text = read_regular(path, limit=LARGEST_SCRIPT, follow=True).decode()
    except UnicodeDecodeError as error:
        _refuse(str(path), f"not UTF-8 (byte {error.start})")
    except OSError as error:
        _refuse(str(path), f"cannot be read: {error.strerror}")
    return parse_script(text, where=str(path))


def parse_script(text: str, *, where: str) -> Script:
    """Like `load_script`, from a text; `where` names its source in errors."""
    try:
        return _build_script(text)
    except _Fault as fault:
        _refuse(where, f"{fault.what} (at {fault.place})")


def _refuse(where: str, what: str) -> NoReturn:
    raise ConfigurationError(
        what, where=where, hint="docs/scripted-model.md describes the scripted model's file."
    )


def _build_script(text: str) -> Script:
    try:
        raw = decode_strictly(text)
    except json.JSONDecodeError as error:
        raise _Fault(f"not JSON: {error.msg}", f"line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise _Fault(str(error), "the top") from None
    file = _convert(raw, _File, "the top")
    if file.schema != SCHEMA:
        raise _Fault(f"schema {file.schema} is not supported, only {SCHEMA}", "schema")
    if not file.tasks:
        raise _Fault("there is no task", "tasks")
    return Script(
        tasks={task: _build_task(entry, f"tasks.{json.dumps(task)}") for task, entry in file.tasks.items()}
    )


def _build_task(raw: object, place: str) -> TaskScript:
    task = _convert(raw, _Task, place)
    if (task.steps is None) == (task.attempts is None):
        raise _Fault("a task has either steps or attempts", place)
    subagents = _build_steps(task.subagents, f"{place}.subagents")
    for number, step in enumerate(subagents):
        if isinstance(step, Answer) and step.outcome is not None:
            raise _Fault("a sub-agent has no outcome", f"{place}.subagents[{number}]")
    attempts = tuple(
        _build_steps(steps, f"{place}.attempts[{number}]") for number, steps in enumerate(task.attempts or ())
    )
    return TaskScript(
        steps=_build_steps(task.steps or [], f"{place}.steps"), attempts=attempts, subagents=subagents
    )


def _build_steps(raw: list[dict[str, Any]], place: str) -> Steps:
    return tuple(_build_step(step, f"{place}[{number}]") for number, step in enumerate(raw))


def _build_step(raw: dict[str, Any], place: str) -> Step:
    if "error" in raw:
        return _convert(raw, Refusal, place)
    if "drop" in raw:
        drop = _convert(raw, Drop, place)
        if not drop.drop:
            raise _Fault("drop must be true", f"{place}.drop")
        return drop
    answer = _convert(raw, Answer, place)
    if not answer.text and not answer.tools and answer.outcome is None:
        raise _Fault("a step needs a text, tools, an outcome, an error or a drop", place)
    return answer


_Kind = TypeVar("_Kind", bound=msgspec.Struct)


def _convert(raw: object, kind: type[_Kind], place: str) -> _Kind:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        what, _, inner = str(error).partition(" - at `$")
        within = re.sub(r"`$", "", inner)
        raise _Fault(what[:1].lower() + what[1:], f"{place}{within}" if within else place) from None
