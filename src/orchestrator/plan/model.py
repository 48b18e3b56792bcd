"""A plan as data: the result of the readers, and the input of everything else."""

from dataclasses import dataclass
from typing import Literal

TaskType = Literal["CODING", "RESEARCH", "MIXED", "VALIDATION", "VERIFICATION"]
Severity = Literal["error", "warning", "info"]
FORMATS = ("native", "spec-kit", "kiro", "task-master", "ralphex", "checklist")


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    text: str
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """First and last line of a piece of the plan, one-based, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    id: str
    title: str
    type: TaskType | None
    files: tuple[str, ...]
    depends_on: tuple[str, ...]
    """Ids of tasks of this plan; unknown ones are a diagnostic and are left out."""
    acceptance: tuple[Criterion, ...]
    verify: tuple[str, ...]
    """Commands, unchanged; one fenced block is one command."""
    smoke_tests: tuple[str, ...]
    """Commands found under a smoke test; they are gates only when the configuration says so."""
    estimate_minutes: int | None
    done: bool
    lines: Span
    section: str
    """The verbatim Markdown of the task, its heading included."""
    hash: str
    """SHA-256 of the section, hexadecimal; ticks of boxes do not change it."""
    names_dependencies: bool = False
    """Whether the plan names the dependencies. If not, `depends_on` is the task before this one, if any."""
    parent: str | None = None
    """The id of the task whose part this one is."""
    is_group: bool = False
    """Whether it is only a title over its parts: it is done when they are, and is not carried out itself."""

    @property
    def writes_code(self) -> bool:
        """Whether this task must change something besides the hand-off to be done (CODING, MIXED)."""
        return self.type in ("CODING", "MIXED")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    commands: tuple[str, ...]
    text: str
    lines: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    line: int
    severity: Severity
    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    path: str
    """The path as it was given to the reader; relative to the repository in a run."""
    format: str
    """One of FORMATS."""
    id: str | None
    title: str
    branch: str | None
    goal: str
    tasks: tuple[Task, ...]
    end_to_end: EndToEnd | None
    diagnostics: tuple[Diagnostic, ...]

    def task(self, task_id: str) -> Task | None:
        return next((task for task in self.tasks if task.id == task_id), None)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(entry for entry in self.diagnostics if entry.severity == "error")
