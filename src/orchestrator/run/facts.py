"""The facts of a run: append-only, each written before or after one side effect.

A fact is an envelope (run, number, time, task, attempt) around a body; the body's class is its kind.
An intent is written before its side effect, with what is needed to find out later whether it happened:

    setup_started     a setup container may exist              closed by  setup_ended
    attempt_started   a container of this name may exist       closed by  attempt_ended
    candidate_made    this commit exists in our repository
    landing_started   the branch may stand at this candidate   closed by  task_finished, landing_refused
    undo_started      branch and files may be going back       closed by  work_undone
    run_ended         nobody works on the run any more         reopened by run_resumed, work_undone
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from msgspec import Struct, field

from orchestrator.events import Usage

AttemptStatus = Literal["completed", "failed", "needs_human", "unclear", "interrupted", "timed_out", "parked"]
TaskStatus = Literal["pending", "running", "waiting", "completed", "failed", "skipped", "imported"]
RunStatus = Literal["running", "interrupted", "waiting", "parked", "completed", "failed", "cancelled"]
Verdict = Literal["pass", "fail", "unavailable"]
Before = Literal["red", "already_green", "absent"]
Verification = Literal["verified", "unverified"]


class TaskEntry(Struct, frozen=True, kw_only=True):
    """What a run remembers of a task of its plan."""

    id: str
    title: str
    type: str | None
    hash: str


class RunOptions(Struct, frozen=True, kw_only=True):
    """How the run was asked for; `resume` starts from these."""

    agent: str
    command: tuple[str, ...] = ()
    model: str | None = None
    guidance: str | None = None
    overrides: tuple[str, ...] = ()
    """Settings given on the command line, as SECTION.KEY=VALUE."""
    only: tuple[str, ...] = ()
    """Ids of the tasks to carry out; empty: all."""


class RunStarted(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run_started"
    plan: str
    """Path relative to the code folder."""
    plan_title: str
    folder: str
    branch: str
    base: str
    """The commit the run starts from."""
    head: str
    """Where HEAD stood; differs from `base` when the user's uncommitted changes were committed first."""
    tasks: tuple[TaskEntry, ...]
    end_to_end: bool
    options: RunOptions


class RunResumed(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run_resumed"
    options: RunOptions


class PlanTaken(Struct, frozen=True, kw_only=True):
    """From here on the run goes by the plan as a person edited it."""

    kind: ClassVar[str] = "plan_taken"
    plan_title: str
    tasks: tuple[TaskEntry, ...]
    end_to_end: bool
    stored: str
    """The file in the run's folder that holds its bytes."""
    redo: tuple[str, ...] = ()
    """Ids of finished tasks that are to be done again."""


class Notice(Struct, frozen=True, kw_only=True):
    """Something a person should know about the run; nothing follows from it."""

    kind: ClassVar[str] = "notice"
    text: str


class StillRunning(Struct, frozen=True, kw_only=True):
    """A setup or a check takes its time; nothing follows from it."""

    kind: ClassVar[str] = "still_running"
    what: str
    """setup, or the name of a gate."""
    seconds: float
    """Since it began."""
    text: str
    """The last line that it printed."""


class SetupStarted(Struct, frozen=True, kw_only=True):
    """Dependencies are about to be installed for `commit`, in a container of their own."""

    kind: ClassVar[str] = "setup_started"
    commands: tuple[str, ...]
    found: tuple[str, ...]
    """The lock files by which the commands were discovered; empty when they are configured."""
    commit: str


class SetupEnded(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "setup_ended"
    status: Literal["done", "reused", "failed"]
    """reused: an earlier setup with the same lock files, commands and image."""
    image: str | None
    seconds: float
    reason: str | None = None
    changed: tuple[str, ...] = ()
    """Tracked files that setup changed; checks and agents have them as they are tracked."""


class BaseChecked(Struct, frozen=True, kw_only=True):
    """A verify command ran on the base, before any agent."""

    kind: ClassVar[str] = "base_checked"
    gate: str
    command: str
    before: Before
    exit_code: int
    evidence: str
    seconds: float


class BaseRunEnded(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "base_run_ended"


class BranchReady(Struct, frozen=True, kw_only=True):
    """HEAD stands on the run's branch, at `commit`."""

    kind: ClassVar[str] = "branch_ready"
    branch: str
    commit: str


class EditsCommitted(Struct, frozen=True, kw_only=True):
    """What a person changed between attempts, as a commit of its own on the branch."""

    kind: ClassVar[str] = "edits_committed"
    commit: str
    paths: tuple[str, ...]


class TaskStarted(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "task_started"
    title: str
    parent: str
    """The commit on which the task's first attempt starts."""


class AttemptStarted(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "attempt_started"
    container: str
    session: str
    resumed: bool
    """Whether the agent's session of an earlier attempt goes on."""
    parent: str
    """The commit its candidate will stand on."""
    folder: str
    """Where transcript and per-attempt folders lie, relative to the run's folder."""


class AgentText(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "agent_text"
    text: str


class AgentTool(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "agent_tool"
    name: str
    summary: str


class Claim(Struct, frozen=True, kw_only=True):
    """The agent's outcome as the journal keeps it: bounded text, a claim."""

    status: Literal["completed", "failed", "needs_human"]
    summary: str = ""
    handoff: str = ""
    question: str | None = None
    options: tuple[str, ...] = ()
    recommendation: str | None = None


class AttemptEnded(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "attempt_ended"
    status: AttemptStatus
    reason: str | None
    exit_code: int | None
    claim: Claim | None = None
    tool_calls: int = 0
    session_kept: bool = False
    """Whether the agent's session can be continued by a next attempt."""
    usage: Usage = field(default_factory=Usage)
    until: str | None = None
    """When a usage limit is over, if the provider said so."""
    plan_sha256: str | None = None
    """Of the plan in the folder then: an edit that an attempt may have made is nobody's wish."""


class TreeSaved(Struct, frozen=True, kw_only=True):
    """The folder as it was, kept as a commit under `ref` in our own repository."""

    kind: ClassVar[str] = "tree_saved"
    ref: str
    commit: str


class TreeLookedAt(Struct, frozen=True, kw_only=True):
    """A resumed run has compared the folder with what the attempt had left."""

    kind: ClassVar[str] = "tree_looked_at"
    head: str
    """Where the branch stands now; a new candidate stands on it."""
    edited: tuple[str, ...]
    """Paths that a person changed since."""


class CandidateMade(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "candidate_made"
    by_hand: bool = False
    """Whether it is the folder as a person left it, after the attempt; its gates alone decide."""
    commit: str
    tree: str
    parent: str
    changed: bool
    """Whether it differs, apart from the hand-off, from the commit the task's first attempt started on."""
    evidence: tuple[str, ...]
    """Ids given out for its gates, in their order."""
    left_out: tuple[str, ...] = ()
    moved_away: tuple[str, ...] = ()
    wrote_handoff: bool = False
    """Whether the folder had another hand-off document than the parent; the candidate has ours."""


class CandidateRefused(Struct, frozen=True, kw_only=True):
    """No commit can be made of the folder; the reason names the path."""

    kind: ClassVar[str] = "candidate_refused"
    reason: str


class GateStarted(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "gate_started"
    gate: str
    command: str
    evidence: str
    candidate: str


class GateEnded(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "gate_ended"
    gate: str
    command: str
    verdict: Verdict
    exit_code: int | None
    evidence: str
    seconds: float
    candidate: str
    tail: str
    """The end of its output, bounded."""
    output_sha256: str
    image: str
    detail: str = ""
    """Why, where the exit code alone does not say: the time-out, or what kept it from running."""


class LandingStarted(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "landing_started"
    candidate: str
    branch: str
    expected: str
    """Where the branch stands before."""


class LandingRefused(Struct, frozen=True, kw_only=True):
    """Branch, HEAD or index were not where the candidate was made; nothing was delivered."""

    kind: ClassVar[str] = "landing_refused"
    reason: str


class TaskFinished(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "task_finished"
    status: Literal["completed", "failed", "skipped", "imported"]
    commit: str | None = None
    verification: Verification | None = None
    evidence: tuple[str, ...] = ()
    reason: str | None = None


class QuestionAsked(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "question_asked"
    question: str
    text: str
    options: tuple[str, ...] = ()
    recommendation: str | None = None


class QuestionAnswered(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "question_answered"
    question: str
    by: str
    text: str


class EndToEndEnded(Struct, frozen=True, kw_only=True):
    """All commands of the end-to-end scenario ran on this commit."""

    kind: ClassVar[str] = "end_to_end_ended"
    status: Literal["passed", "failed", "unavailable"]
    commit: str
    evidence: tuple[str, ...]


class UndoneTask(Struct, frozen=True, kw_only=True):
    task: str
    commit: str


class UndoStarted(Struct, frozen=True, kw_only=True):
    """The branch is about to go back to `target`; the folder as it was is kept as `saved`."""

    kind: ClassVar[str] = "undo_started"
    target: str
    expected: str
    """Where the branch stands before."""
    saved: str
    ref: str
    tasks: tuple[UndoneTask, ...]
    """What is taken off the branch, newest first."""


class WorkUndone(Struct, frozen=True, kw_only=True):
    """The commits are off the branch, and their tasks pending again."""

    kind: ClassVar[str] = "work_undone"
    tasks: tuple[UndoneTask, ...]
    folder_too: bool = True
    """Whether the files were brought back; not when the branch had gone its own way before."""


class NamesReserved(Struct, frozen=True, kw_only=True):
    """Names given out: nobody else ever gets them, whether they are used or not."""

    kind: ClassVar[str] = "names_reserved"
    evidence: tuple[str, ...] = ()
    """Ids of evidence."""
    ref: str | None = None
    """A ref in our own repository, named by this fact's number."""


class CancelRequested(Struct, frozen=True, kw_only=True):
    """Somebody asks for the run to be cancelled; its owner, if one lives, stops."""

    kind: ClassVar[str] = "cancel_wished"


class RunEnded(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run_ended"
    status: RunStatus
    exit_code: int
    reason: str | None = None
    until: str | None = None


Body = (
    RunStarted
    | RunResumed
    | PlanTaken
    | Notice
    | SetupStarted
    | StillRunning
    | SetupEnded
    | BaseChecked
    | BaseRunEnded
    | BranchReady
    | EditsCommitted
    | TaskStarted
    | AttemptStarted
    | AgentText
    | AgentTool
    | AttemptEnded
    | TreeSaved
    | TreeLookedAt
    | CandidateMade
    | CandidateRefused
    | GateStarted
    | GateEnded
    | LandingStarted
    | LandingRefused
    | TaskFinished
    | QuestionAsked
    | QuestionAnswered
    | EndToEndEnded
    | UndoStarted
    | WorkUndone
    | NamesReserved
    | CancelRequested
    | RunEnded
)

BODIES: dict[str, type[Any]] = {body.kind: body for body in Body.__args__}


class Fact(Struct, frozen=True, kw_only=True):
    run: str
    n: int
    """Ascending within the run, over restarts; never used twice."""
    at: str
    """ISO 8601, UTC, milliseconds."""
    task: str | None
    attempt: int | None
    body: Body


Listener = Callable[[Fact], None]
