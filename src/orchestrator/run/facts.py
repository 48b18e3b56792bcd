"""The facts of a run: append-only, each written before or after one side effect.

A fact is an envelope (run, number, time, task, attempt) around a body; the body's class is its kind.

The owner of a run can be killed between any two lines of its code. A side effect that left no fact before it
could then never be found again: a container would keep running, a moved branch would look like the user's
work. So an intent is written first and stored durably before the side effect begins. It holds what is needed
to find out later whether the side effect happened (a container's name, the commit where the branch is
expected). The closing fact comes after the side effect. While an intent has no closing fact, `resume`
believes neither "it happened" nor "it did not": it asks the engine or the repository.

    setup_started     a setup container may exist              closed by  setup_ended
    attempt_started   a container of this name may exist       closed by  attempt_ended
    container_created that container exists, and may have run  closed by  attempt_ended
    stop_begun        the agent may have been stopped          closed by  attempt_ended
    candidate_made    this commit exists in our repository
    landing_started   the branch may be at this candidate      closed by  task_finished, landing_refused
    set_aside_started the folder may be half cleared           closed by  tree_set_aside
    lay_back_started  the folder may be half filled            closed by  tree_laid_back
    undo_started      branch and files may be half undone      closed by  work_undone
    run_ended         the run has no owner any more            reopened by run_resumed, work_undone
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from msgspec import Struct, field

from orchestrator.events import Usage

AttemptStatus = Literal["completed", "failed", "needs_human", "unclear", "interrupted", "timed_out", "parked"]
AttemptFailure = Literal[
    # Of attempts that `limits.attempts` counts:
    "agent_failed",
    "agent_error",
    "no_outcome",
    "time_limit",
    "output_limit",
    "out_of_memory",
    # Of those that it does not count:
    "stopped_from_outside",
    "container_removed",
    "starved",
    "session_lost",
    "limit",
    "stopped_by_person",  # plain-english: allowed, other programs rely on it
    "cancelled",
]
TaskStatus = Literal["pending", "running", "waiting", "completed", "failed", "skipped", "imported"]
RunStatus = Literal["running", "interrupted", "waiting", "parked", "completed", "failed", "cancelled"]
Verdict = Literal["pass", "fail", "unavailable"]
Before = Literal["red", "already_green", "absent"]
Verification = Literal["verified", "unverified"]
Billing = Literal["api", "subscription", "scripted", "none"]
"""How the model is paid for: by an API key or a subscription; a script and no model cost nothing."""
CheckSource = Literal["task", "smoke", "configured", "discovered", "agent", "scenario", "build"]
"""Who asks for a check: the task, its smoke tests, verify.task or verify.milestone, the project itself
(where it was found), the agent's outcome, the plan's scenario, or verify.build."""
CrossTree = Literal["fail_to_pass", "unchanged_checks", "empty_tree"]
"""A tree on which a command shows what it proves, and which nothing but the orchestrator has made.

    fail_to_pass      the code from before the work with the check files of the candidate
    unchanged_checks  the candidate's code with the check files from before the work
    empty_tree        no file at all
"""
CrossResult = Literal["pass", "fail", "absent", "unavailable"]
"""absent: what the command needs is not there."""
RunCause = Literal[
    "usage_limit",
    "rate_limit",
    "model_away",
    "credential_refused",
    "billing",
    "model_unknown",
    "until",
    "scheduled",
    "engine_away",
    "image_missing",
    "disk_full",
    "journal_unwritable",
    "interrupted_often",
    "gate_unavailable",
    "landing_refused",
    "base_red",
    "question",
    "task_failed",
    "e2e_failed",
]
"""Why a run ended without being completed, as one word for programs."""
Sleep = Literal["kept_awake", "allowed", "far_away", "on_battery", "no_program"]
"""Whether the machine is kept awake while the run waits, or why it may sleep: it was allowed to; the time at
which the run continues is not known or too far away; it has no mains power; it has no program for that."""
LimitEffect = Literal["stop", "outage", "end", "end_if_claimed"]
"""The effect of a provider's limit on an attempt.

    stop            a living agent is stopped at once
    outage          it is left to the agent's retries, until there was no success for limits.outage_seconds
    end             it decides if the attempt ends without an outcome, and no later request succeeded
    end_if_claimed  the same, but only if the agent reports that cause, too: the status alone does not say it
"""


StopWhy = Literal[
    "idle",
    "after_result",
    "output_limit",
    "limit",
    "person",  # plain-english: allowed, other programs rely on this value
    "cancelled",
    "until",
    "starved",
    "orphaned",
]
"""Why an agent is stopped.

    limit       the provider refuses its requests
    person      a signal, or a failure elsewhere in the run  (plain-english: allowed, a stored value)
    until       the time given by --until has come
    starved     it cannot reach the model any more
    orphaned    its orchestrator was killed, and nothing can adopt it
"""


class TaskEntry(Struct, frozen=True, kw_only=True):
    """A task of the plan as the run stores it."""

    id: str
    title: str
    type: str | None
    hash: str


class RunOptions(Struct, frozen=True, kw_only=True):
    """The options given to `run`; `resume` uses them unless it is given others."""

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
    """The commit HEAD was at; not `base` if the user's uncommitted changes were committed first."""
    tasks: tuple[TaskEntry, ...]
    end_to_end: bool
    options: RunOptions
    only_base: bool = False
    """Whether the run ends after its checks on the base (`run --base`)."""
    billing: Billing | None = None
    """None in facts of earlier versions."""
    branch_has_namesake: bool = False
    """Whether a tag has the branch's name, so that git commands need the branch's full name."""


class RunResumed(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run_resumed"
    options: RunOptions
    billing: Billing | None = None
    """None in facts of earlier versions."""


class RunWaiting(Struct, frozen=True, kw_only=True):
    """The run keeps its owner and continues by itself; no attempt is at work."""

    kind: ClassVar[str] = "run_waiting"
    cause: RunCause
    reason: str | None
    until: str | None
    """None: until its question is answered. The run continues up to a minute later."""
    sleep: Sleep | None = None
    """None in facts of earlier versions."""


class WaitEnded(Struct, frozen=True, kw_only=True):
    """The run continues after a wait. As after a resume, the user may have changed anything meanwhile."""

    kind: ClassVar[str] = "wait_ended"


class PlanTaken(Struct, frozen=True, kw_only=True):
    """From here on the run uses the plan as the user edited it."""

    kind: ClassVar[str] = "plan_taken"
    plan_title: str
    tasks: tuple[TaskEntry, ...]
    end_to_end: bool
    stored: str
    """The file in the run's folder that holds the plan's bytes."""
    redo: tuple[str, ...] = ()
    """Ids of finished tasks that are to be redone."""


class SettingsTaken(Struct, frozen=True, kw_only=True):
    """From here on the run uses the settings and the image that were in force at this resume."""

    kind: ClassVar[str] = "settings_taken"
    changes: tuple[str, ...]
    """A line for each setting that has changed."""
    stored: str
    """The folder in the run's folder that holds the settings."""


class Notice(Struct, frozen=True, kw_only=True):
    """A message for the user; it does not change the state."""

    kind: ClassVar[str] = "notice"
    text: str


class StillRunning(Struct, frozen=True, kw_only=True):
    """A setup or a gate takes long; this fact does not change the state."""

    kind: ClassVar[str] = "still_running"
    what: str
    """setup, or the name of a gate."""
    seconds: float
    """Since its start."""
    text: str
    """The last line of its output."""


class SetupStarted(Struct, frozen=True, kw_only=True):
    """Dependencies are about to be installed for `commit`, in a container of their own."""

    kind: ClassVar[str] = "setup_started"
    commands: tuple[str, ...]
    found: tuple[str, ...]
    """The lock files from which the commands follow; empty if the commands are configured."""
    commit: str


class SetupEnded(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "setup_ended"
    status: Literal["done", "reused", "failed"]
    """reused: the image of an earlier setup with the same lock files, commands and base image."""
    image: str | None
    seconds: float
    reason: str | None = None
    changed: tuple[str, ...] = ()
    """Tracked files that setup changed; gates and agents get them as they are committed."""


class BaseChecked(Struct, frozen=True, kw_only=True):
    """A gate ran before any agent of the task; the fact's task is the first one that has it as its own."""

    kind: ClassVar[str] = "base_checked"
    gate: str
    command: str
    before: Before
    exit_code: int
    evidence: str
    seconds: float
    source: CheckSource | None = None
    """None in journals of earlier versions."""
    is_guard: bool = False
    commit: str | None = None
    """The commit it ran on; None: the run's base."""
    key: str = ""
    """A hash of everything that the result depends on; empty in journals of earlier versions."""
    reused: str | None = None
    """The evidence that the result was taken from, as an id of this run or as RUN/ID."""
    age_seconds: float | None = None
    """How long before this fact a result that was taken from another run was found."""
    tail: str = ""
    """The end of the output of a guard that failed, shortened."""
    missing: str | None = None
    """The program or module that a guard needs and that does not exist."""


class BaseRunEnded(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "base_run_ended"
    image: str | None = None
    """The image that the commands ran in; None in journals of earlier versions."""


class BaseMoved(Struct, frozen=True, kw_only=True):
    """The user has committed before the run made its branch: the run begins at the new commit."""

    kind: ClassVar[str] = "base_moved"
    base: str


class BranchReady(Struct, frozen=True, kw_only=True):
    """HEAD is on the run's branch, at `commit`."""

    kind: ClassVar[str] = "branch_ready"
    branch: str
    commit: str


class EditsCommitted(Struct, frozen=True, kw_only=True):
    """The user's changes between attempts were committed on the branch."""

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
    """Whether the agent continues the session of an earlier attempt."""
    parent: str
    """The commit that will be the parent of its candidate."""
    folder: str
    """The folder of its transcript and other files, relative to the run's folder."""
    agent: str = ""
    """The name of the agent whose output the transcript is; empty in facts of earlier versions."""
    token_hash: str = ""
    """The hash of the token with which the agent reaches its model; empty for an agent without a model."""
    limit_seconds: float | None = None
    """How long the container lets the agent work; None in facts of earlier versions."""


class ContainerCreated(Struct, frozen=True, kw_only=True):
    """The attempt's container exists and has not been started."""

    kind: ClassVar[str] = "container_created"
    id: str
    engine: str
    """The engine's own id; empty where it has none."""
    endpoint: str
    """Where the engine that made it was reached."""


class ContainerStarted(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "container_started"


class StopBegun(Struct, frozen=True, kw_only=True):
    """The agent is about to be stopped; the fact says why it ends, its exit code need not."""

    kind: ClassVar[str] = "stop_begun"
    why: StopWhy
    seen: str
    """The reason in words, for the user."""
    stdout_bytes: int = 0
    """How much of its standard output had been read: what follows may be only a reaction to the signals."""


class AttemptAdopted(Struct, frozen=True, kw_only=True):
    """The agent was at work when the run was resumed, and it continues."""

    kind: ClassVar[str] = "attempt_adopted"
    container: str


class AgentText(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "agent_text"
    text: str
    stdout_bytes: int = 0
    """How much of the standard output this fact and those before it cover; 0 in facts of earlier versions."""


class AgentTool(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "agent_tool"
    name: str
    summary: str
    stdout_bytes: int = 0
    """As in `agent_text`."""


class Claim(Struct, frozen=True, kw_only=True):
    """The outcome that the agent reported, its texts shortened. It is a claim: gates decide."""

    status: Literal["completed", "failed", "needs_human"]
    summary: str = ""
    handoff: str = ""
    question: str | None = None
    options: tuple[str, ...] = ()
    recommendation: str | None = None
    no_change: str | None = None
    """Why no file had to be changed."""
    checks: tuple[str, ...] = ()
    """Shell commands by which the user can see that the task is done."""


class AttemptEnded(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "attempt_ended"
    status: AttemptStatus
    reason: str | None
    exit_code: int | None
    claim: Claim | None = None
    tool_calls: int = 0
    session_kept: bool = False
    """Whether the next attempt can continue the agent's session."""
    usage: Usage = field(default_factory=Usage)
    until: str | None = None
    """When a usage limit ends, if the provider said so."""
    cause: RunCause | None = None
    """The limit that ended it, if it has parked."""
    plan_sha256: str | None = None
    """The hash of the plan's file when the attempt ended. The attempt may have written that file, so a file
    with this hash does not count as the user's edit."""
    stderr_tail: str = ""
    """The end of the agent's standard error, without control codes; only where it left no outcome."""
    session_lost: str | None = None
    """Why no attempt may continue the agent's session; None where it can be continued."""
    unknown: Mapping[str, int] = field(default_factory=dict)
    """How many lines of each kind the agent's driver did not know."""
    failure: AttemptFailure | None = None
    """Why the attempt brought no candidate, for programs; None also in facts of older versions."""
    is_taken: bool = False
    """Whether the agent ended while the run had no owner: its end counts as if the owner had seen it."""


class TreeSaved(Struct, frozen=True, kw_only=True):
    """The files of the folder were saved as a commit under `ref` in our own repository."""

    kind: ClassVar[str] = "tree_saved"
    ref: str
    commit: str


class TreeCompared(Struct, frozen=True, kw_only=True):
    """A resumed run has compared the folder with the tree that the attempt left."""

    kind: ClassVar[str] = "tree_looked_at"
    head: str
    """The branch's commit now, which becomes the parent of a new candidate."""
    edited: tuple[str, ...]
    """Paths that the user has changed since."""


class SetAsideStarted(Struct, frozen=True, kw_only=True):
    """The files of an attempt that failed or asked are about to be taken out of the folder.

    Another task comes next that does not depend on this one.
    """

    kind: ClassVar[str] = "set_aside_started"
    commit: str
    """The files as a commit on `parent`."""
    parent: str
    """The branch's commit, to whose state the folder returns."""
    ref: str
    """In our own repository."""


class TreeSetAside(Struct, frozen=True, kw_only=True):
    """The folder is as the branch is; the attempt's files are only in the commit of `set_aside_started`."""

    kind: ClassVar[str] = "tree_set_aside"


class LayBackStarted(Struct, frozen=True, kw_only=True):
    """Files that were set aside are about to be laid over the branch as it is now."""

    kind: ClassVar[str] = "lay_back_started"
    commit: str
    """The branch's commit with the attempt's files."""
    parent: str


class TreeLaidBack(Struct, frozen=True, kw_only=True):
    """The task continues from what was set aside, or from the branch if that cannot be laid over it."""

    kind: ClassVar[str] = "tree_laid_back"
    commit: str | None
    """None: nothing was laid over the branch, because files of it have changed since."""
    parent: str
    """The branch's commit."""
    clashes: tuple[str, ...] = ()
    """Paths that the attempt had changed, and that were changed on the branch since."""


class CandidateMade(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "candidate_made"
    by_hand: bool = False
    """Whether it contains the user's own fixes after the attempt; then the agent's claim does not count."""
    commit: str
    tree: str
    parent: str
    changed: bool
    """Whether it differs, apart from the hand-off, from the commit on which the task's first attempt
    started."""
    evidence: tuple[str, ...]
    """The evidence ids of its gates, in their order."""
    left_out: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    """Paths left out because tools left them; a folder ends with `/`."""
    check_files: tuple[str, ...] | None = None
    """The check files that differ from the commit on which the task's first attempt started and that exist;
    None in journals of earlier versions."""
    moved_away: tuple[str, ...] = ()
    calls_own_work: tuple[str, ...] = ()
    """Gates with a command of the agent's that calls a file which this candidate has added or changed."""
    wrote_handoff: bool = False
    """Whether the agent changed the hand-off document; the candidate has the orchestrator's version."""


class CandidateRefused(Struct, frozen=True, kw_only=True):
    """The folder cannot be committed; the reason names the path."""

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
    """The end of its output, shortened."""
    output_sha256: str
    image: str
    detail: str = ""
    """Why, if the exit code does not say it: it timed out, or could not be run."""
    source: CheckSource | None = None
    """None in journals of earlier versions."""
    before: Before | None = None
    """How a guard that failed had ended on the commit on which the task began, or a command of the scenario
    on the run's base; None if that is not known.

    With `verify.base = "no_worse"` a guard that fails as it did then has the verdict `pass`.
    """
    fails_as_before: bool = False
    """Whether it is the same failure as on the commit on which the task began."""
    key: str = ""
    """A hash of everything that the result depends on; empty in journals of earlier versions."""
    reused: str | None = None
    """The evidence of this run that the result was taken from."""
    skips_rest: bool = False
    """Whether the gates after it are not run (`verify.fail_fast`)."""
    round: int = 1
    """2 and 3: it has run again, because it had failed in a new way; the last round counts."""
    flaky: bool = False
    """Whether its rounds do not agree."""
    first: str | None = None
    """In a later round: the evidence of the first one, which the candidate's commit names."""

    @property
    def given(self) -> str:
        """The evidence id that was given to this gate with its candidate."""
        return self.first or self.evidence


class CrossChecked(Struct, frozen=True, kw_only=True):
    """A command has run once more on another tree than the candidate's."""

    kind: ClassVar[str] = "corner_checked"
    corner: CrossTree
    gate: str
    command: str
    result: CrossResult
    exit_code: int | None
    evidence: str
    seconds: float
    tree: str
    image: str
    commit: str
    """The commit with this tree: the one on which the task began where its tree is the same."""
    key: str = ""
    """A hash of everything that the result depends on."""
    reused: str | None = None
    """The evidence of this run that the result was taken from."""
    detail: str = ""
    """Why, if the exit code does not say it: it timed out, or could not be run."""


class LandingStarted(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "landing_started"
    candidate: str
    branch: str
    expected: str
    """Where the branch is before; if it is elsewhere, nothing is moved."""


class LandingRefused(Struct, frozen=True, kw_only=True):
    """Nothing was moved: branch, HEAD or index had changed since the candidate was made, or it contains paths
    that the user has to allow."""

    kind: ClassVar[str] = "landing_refused"
    reason: str


class TaskFinished(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "task_finished"
    status: Literal["completed", "failed", "skipped", "imported"]
    commit: str | None = None
    verification: Verification | None = None
    evidence: tuple[str, ...] = ()
    reason: str | None = None
    """Why it failed or was left out; for a completed task, why it is unverified."""
    undeclared_files: tuple[str, ...] = ()
    """Files that its commit changes and that the task's `File(s)` does not name; none where it names none."""


class TaskAccepted(Struct, frozen=True, kw_only=True):
    """The user takes a task as done whose attempts changed nothing; gates still decide whether it lands."""

    kind: ClassVar[str] = "task_accepted"
    by: str


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
    """The end-to-end scenario has ended on this commit."""

    kind: ClassVar[str] = "end_to_end_ended"
    status: Literal["passed", "failed", "unavailable"]
    commit: str
    evidence: tuple[str, ...]


class UndoneTask(Struct, frozen=True, kw_only=True):
    task: str
    commit: str


class UndoStarted(Struct, frozen=True, kw_only=True):
    """The branch is about to be set to `target`; the files of the folder are saved in the commit `saved`."""

    kind: ClassVar[str] = "undo_started"
    target: str
    expected: str
    """Where the branch is before; if it is elsewhere, nothing is moved."""
    saved: str
    ref: str
    tasks: tuple[UndoneTask, ...]
    """The tasks whose commits are removed from the branch, newest first."""
    spared: tuple[str, ...] = ()
    """Files that the user changed after the run's own work, and that stay as they are."""


class WorkUndone(Struct, frozen=True, kw_only=True):
    """The commits are no longer on the branch, and their tasks are pending again."""

    kind: ClassVar[str] = "work_undone"
    tasks: tuple[UndoneTask, ...]
    folder_too: bool = True
    """Whether the files were undone too; not if the branch had been moved by another program."""


class NamesReserved(Struct, frozen=True, kw_only=True):
    """Names that this run will never give out again, whether they are used or not.

    Ids of evidence and names of refs are given out here, inside the transaction that stores the fact.
    Computed before the transaction, two tasks at work at the same time would get the same name, and the
    second would overwrite what the first has saved under it.
    """

    kind: ClassVar[str] = "names_reserved"
    evidence: tuple[str, ...] = ()
    """Evidence ids."""
    ref: str | None = None
    """A ref in our own repository; this fact's number is part of its name."""


class LimitSeen(Struct, frozen=True, kw_only=True):
    """The gateway has seen the provider refuse requests of the attempt, for the first time for this cause.

    The gateway writes it, also while the run has no owner, and before the agent gets the provider's answer.
    """

    kind: ClassVar[str] = "limit_seen"
    cause: RunCause
    effect: LimitEffect
    until: str | None = None
    """When the limit ends, if the provider says so."""
    status: int | None = None
    """Of the provider's answer; None without a connection."""
    model: str | None = None
    """The model, where the limit is that of one model."""


class LimitPassed(Struct, frozen=True, kw_only=True):
    """A later request for the same model has succeeded, so what the gateway saw does not end the attempt."""

    kind: ClassVar[str] = "limit_passed"
    cause: RunCause
    effect: LimitEffect


class LimitWindow(Struct, frozen=True, kw_only=True):
    """A window of time in which the provider limits a subscription."""

    window: str
    """five_hour, seven_day, or seven_day and a model."""
    utilization: float
    """The share that is used: 1 is all of it."""
    resets: str | None = None
    """When it begins again, if the provider says so."""


class WindowsSeen(Struct, frozen=True, kw_only=True):
    """How much of the subscription's windows is used, as the gateway has seen it in an answer.

    The gateway writes it when this has changed by so much that it is worth a fact.
    """

    kind: ClassVar[str] = "windows_seen"
    windows: tuple[LimitWindow, ...]


class CancelRequested(Struct, frozen=True, kw_only=True):
    """A request to cancel the run, appended by another process; the run's owner sees it and stops."""

    kind: ClassVar[str] = "cancel_wished"


class RunEnded(Struct, frozen=True, kw_only=True):
    kind: ClassVar[str] = "run_ended"
    status: RunStatus
    exit_code: int
    reason: str | None = None
    until: str | None = None
    cause: RunCause | None = None
    """None for an end that no word describes, and in journals of earlier versions."""
    by_shutdown: bool = False
    """Whether the signal that stopped the run came from the machine, which was shutting down."""


Body = (
    RunStarted
    | RunResumed
    | RunWaiting
    | WaitEnded
    | PlanTaken
    | SettingsTaken
    | Notice
    | SetupStarted
    | StillRunning
    | SetupEnded
    | BaseChecked
    | BaseRunEnded
    | BaseMoved
    | BranchReady
    | EditsCommitted
    | TaskStarted
    | AttemptStarted
    | ContainerCreated
    | ContainerStarted
    | StopBegun
    | AttemptAdopted
    | AgentText
    | AgentTool
    | AttemptEnded
    | TreeSaved
    | TreeCompared
    | SetAsideStarted
    | TreeSetAside
    | LayBackStarted
    | TreeLaidBack
    | CandidateMade
    | CandidateRefused
    | GateStarted
    | GateEnded
    | CrossChecked
    | LandingStarted
    | LandingRefused
    | TaskFinished
    | TaskAccepted
    | QuestionAsked
    | QuestionAnswered
    | EndToEndEnded
    | UndoStarted
    | WorkUndone
    | NamesReserved
    | LimitSeen
    | LimitPassed
    | WindowsSeen
    | CancelRequested
    | RunEnded
)

BODIES: dict[str, type[Any]] = {body.kind: body for body in Body.__args__}


class Fact(Struct, frozen=True, kw_only=True):
    run: str
    n: int
    """Ascending within the run, also after a restart; never used twice."""
    at: str
    """ISO 8601, UTC, milliseconds."""
    task: str | None
    attempt: int | None
    body: Body


Listener = Callable[[Fact], None]
