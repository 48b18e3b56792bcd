"""The tasks that a reader finds, before their dependencies are resolved."""

from dataclasses import dataclass

from orchestrator.plan.model import Criterion, Diagnostic, EndToEnd, Span, TaskType
from orchestrator.plan.values import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A task as a reader found it; `depends` is None when the plan says nothing about it."""

    id: str
    title: str
    lines: Span
    section: str
    depends: tuple[Reference, ...] | None = None
    type: TaskType | None = None
    files: tuple[str, ...] = ()
    acceptance: tuple[Criterion, ...] = ()
    verify: tuple[str, ...] = ()
    smoke_tests: tuple[str, ...] = ()
    estimate_minutes: int | None = None
    done: str = ""
    """Why the plan counts it as done; empty: it is open."""
    left_out: str = ""
    """Why the plan leaves it out; empty: it does not."""
    parent: str | None = None
    """The id of the task whose part it is."""
    only_title: bool = False
    """Whether the title is all that the plan says about it."""
    after_parent: bool = False
    """Without dependencies it depends on its parent, and not on the task before it."""
    boxes: frozenset[int] = frozenset()
    """The lines of the boxes that are the task or its criteria."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """The result of every reader: a plan whose dependencies are not resolved yet."""

    id: str | None
    title: str
    branch: str | None
    goal: str
    drafts: tuple[Draft, ...]
    end_to_end: EndToEnd | None
    diagnostics: tuple[Diagnostic, ...]
    ids_are_local: bool = False
    """Whether ids of this format begin again in each file, so that none names a task of another milestone."""
