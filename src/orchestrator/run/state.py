"""The state of a run, folded from its facts. `_transition` is the table of all transitions.

Facts are the only input: no clock, no file, no engine. So the owner of a run, `status` in another terminal
and a resume after a kill compute the same state from the same facts. A fact that cannot follow (the journal
is damaged, or a newer version wrote it) raises ValueError with the fact's number and kind, instead of giving
a state that is only almost right.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from orchestrator.events import Usage
from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptAdopted,
    AttemptEnded,
    AttemptStarted,
    BaseChecked,
    BaseMoved,
    BaseRunEnded,
    Billing,
    BranchReady,
    CancelRequested,
    CandidateMade,
    CandidateRefused,
    Claim,
    ContainerCreated,
    ContainerStarted,
    CrossChecked,
    EditsCommitted,
    EndToEndEnded,
    Fact,
    GateEnded,
    GateStarted,
    LandingRefused,
    LandingStarted,
    LayBackStarted,
    LimitEffect,
    LimitPassed,
    LimitSeen,
    LimitWindow,
    NamesReserved,
    Notice,
    PlanTaken,
    QuestionAnswered,
    QuestionAsked,
    RunCause,
    RunEnded,
    RunOptions,
    RunResumed,
    RunStarted,
    RunWaiting,
    SetAsideStarted,
    SettingsTaken,
    SetupEnded,
    SetupStarted,
    StillRunning,
    StopBegun,
    TaskAccepted,
    TaskEntry,
    TaskFinished,
    TaskStarted,
    TreeCompared,
    TreeLaidBack,
    TreeSaved,
    TreeSetAside,
    UndoStarted,
    WaitEnded,
    WindowsSeen,
    WorkUndone,
)


class AttemptState(Struct, frozen=True, kw_only=True):
    number: int
    epoch: int
    """How often the run had been resumed, or had waited for itself, when the attempt started, was adopted, or
    had its result taken."""
    started: str
    start: AttemptStarted
    started_n: int = 0
    """The number of the fact that it started with."""
    created: ContainerCreated | None = None
    """Its container; None before that exists, and in journals of earlier versions."""
    has_begun: bool = False
    """Whether the journal knows that its container was started."""
    stop: StopBegun | None = None
    adoptions: int = 0
    """How often it was found at work after its orchestrator had been killed."""
    ended: str | None = None
    end: AttemptEnded | None = None
    candidate: CandidateMade | None = None
    candidate_epoch: int = -1
    refused: str | None = None
    """Why the folder could not be committed."""
    saved: TreeSaved | None = None
    compared: TreeCompared | None = None
    compared_epoch: int = -1
    landing_refused: str | None = None
    """Why the candidate could not land."""
    gates: tuple[GateEnded, ...] = ()
    cross_checks: tuple[CrossChecked, ...] = ()
    """The results of its candidate's commands on other trees."""
    limits: tuple[LimitSeen, ...] = ()
    """Limits of the provider that the gateway has seen and that still hold."""
    aside: SetAsideStarted | None = None
    """Its files were set aside, or began to be."""
    is_out: bool = False
    """Whether its files have been taken out of the folder, whether or not they were laid back since."""
    lay_back: LayBackStarted | None = None
    back: TreeLaidBack | None = None

    @property
    def is_partly_set_aside(self) -> bool:
        """Whether a kill interrupted the removal of its files from the folder."""
        return self.aside is not None and not self.is_out

    @property
    def is_set_aside(self) -> bool:
        """Whether its files are stored outside the folder until the task is tried again."""
        return self.is_out and self.back is None

    @property
    def has_lost_its_files(self) -> bool:
        """Whether its files could not be laid back: the next attempt starts without them."""
        return self.back is not None and self.back.commit is None

    @property
    def is_in_folder(self) -> bool:
        """Whether the folder may have files of it that are on no branch."""
        return not self.is_set_aside and not self.has_lost_its_files

    @property
    def claim(self) -> Claim | None:
        """The agent's own account of its work; None before its end, and when it gave none."""
        return None if self.end is None else self.end.claim

    def agent(self, state: "RunState") -> str:
        """The name of the agent that it was started with."""
        if self.start.agent:
            return self.start.agent
        # Earlier versions stored the agent with the run only: the one given last may be another one.
        return (state.start.options if self.epoch == 0 else state.options).agent

    @property
    def failed_gates(self) -> tuple[GateEnded, ...]:
        return tuple(gate for gate in self.gates if gate.verdict == "fail")

    @property
    def owed_evidence(self) -> tuple[str, ...]:
        """Evidence ids of the candidate's gates that have no verdict yet and are still to be run."""
        if any(gate.skips_rest for gate in self.gates):
            return ()
        settled = {gate.given for gate in self.gates if gate.verdict != "unavailable"}
        given = () if self.candidate is None else self.candidate.evidence
        return tuple(evidence for evidence in given if evidence not in settled)

    @property
    def skipped_evidence(self) -> tuple[str, ...]:
        """Evidence ids of the candidate's gates that are not run (`verify.fail_fast`): nothing has them."""
        if self.candidate is None or not any(gate.skips_rest for gate in self.gates):
            return ()
        run = {gate.given for gate in self.gates}
        return tuple(evidence for evidence in self.candidate.evidence if evidence not in run)

    @property
    def parent(self) -> str:
        """The commit that becomes the parent of its next candidate."""
        return self.start.parent if self.compared is None else self.compared.head


PLAN_AT_START = "plan"


class QuestionState(Struct, frozen=True, kw_only=True):
    task: str | None
    attempt: int | None
    asked_at: str
    asked: QuestionAsked
    answered_at: str | None = None
    answer: QuestionAnswered | None = None


class TaskState(Struct, frozen=True, kw_only=True):
    entry: TaskEntry
    parent: str | None = None
    """The commit its first attempt started on; None before."""
    attempts: tuple[AttemptState, ...] = ()
    landing: LandingStarted | None = None
    finished: TaskFinished | None = None
    ended_n: int = 0
    """The number of the fact that it was carried out or failed with; 0 if it has not ended so."""
    attempts_before_undo: int = 0
    """How many of its attempts do not count any more, because the task was undone or redone after them."""
    attempts_before_edit: int = 0
    """How many of its attempts were made with an earlier text of the task."""
    accepted: TaskAccepted | None = None
    """The user's word that the task is done as it is; None after another attempt or a failure."""
    was_redone: bool = False
    """Whether the user asked for a redo: its work may be on the branch already."""

    @property
    def current_attempts(self) -> tuple[AttemptState, ...]:
        return self.attempts[self.attempts_before_undo :]

    @property
    def last(self) -> AttemptState | None:
        return self.current_attempts[-1] if self.current_attempts else None

    @property
    def replaced(self) -> tuple[str, ...]:
        """Commits from before the user asked for a redo; they stay on the branch."""
        history = self.attempts[: self.attempts_before_undo] if self.was_redone else ()
        return tuple(attempt.candidate.commit for attempt in history if attempt.candidate is not None)

    @property
    def has_failed(self) -> bool:
        return self.finished is not None and self.finished.status == "failed"

    @property
    def is_done(self) -> bool:
        """Whether tasks that depend on this one may start."""
        return self.finished is not None and self.finished.status in ("completed", "imported")


class BaseCheckState(Struct, frozen=True, kw_only=True):
    """A command that was run before the work."""

    task: str | None
    """The first task that has it as its own."""
    check: BaseChecked


class KnownResult(Struct, frozen=True, kw_only=True):
    """A command that has passed or failed on a commit."""

    commit: str
    command: str
    exit_code: int
    evidence: str
    epoch: int


class RunState(Struct, frozen=True, kw_only=True):
    run: str
    started_at: str
    start: RunStarted
    options: RunOptions
    epoch: int = 0
    resumed_epoch: int = 0
    """The epoch that began with the last resume; a wait begins one as well, but gives no new attempts."""
    tasks: Mapping[str, TaskState] = field(default_factory=dict)
    plan_stored: str = PLAN_AT_START
    """The file in the run's folder that holds the plan the run uses."""
    terms_stored: str = ""
    """The folder in the run's folder that holds its settings; empty for those from its start."""
    base: tuple[BaseCheckState, ...] = ()
    """How commands ended before the work, in the order in which they were run."""
    cross_checks: tuple[CrossChecked, ...] = ()
    """The results of commands on other trees before any attempt."""
    results: Mapping[str, KnownResult] = field(default_factory=dict)
    """By the key of what the result depends on."""
    base_checked: bool = False
    base_image: str | None = None
    """The image that the checks on the base ran in."""
    branch_ready: bool = False
    cancel_requested: bool = False
    """Since the run was started or last resumed."""
    undo: UndoStarted | None = None
    """An undo that has started and not ended."""
    end_to_end: EndToEndEnded | None = None
    end_to_end_epoch: int = -1
    end_to_end_gates: tuple[GateEnded, ...] = ()
    questions: tuple[QuestionState, ...] = ()
    evidence_given: int = 0
    """The highest number of an evidence id so far."""
    last_n: int = 0
    ended_at: str | None = None
    end: RunEnded | None = None
    waiting: RunWaiting | None = None
    """Why the run waits with its owner, and until when; also after its end, if it waited then."""
    windows: tuple[LimitWindow, ...] = ()
    """How much of the subscription's windows was used, as the gateway saw it last."""
    billing: Billing | None = None
    """How the model is paid for since the start or the last resume; None in older journals."""

    @property
    def open_questions(self) -> tuple[QuestionState, ...]:
        return tuple(question for question in self.questions if question.answer is None)

    @property
    def uncommitted(self) -> tuple[str, ...]:
        """Paths that the last candidate left out and the folder still has: scratch, and large files."""
        attempts = [
            each for task in self.tasks.values() for each in task.attempts if each.candidate is not None
        ]
        last = max(attempts, key=lambda each: each.started, default=None)
        if last is None or last.candidate is None:
            return ()
        return (*last.candidate.scratch, *last.candidate.left_out)

    def find_base_checks(self, commands: Iterable[str]) -> tuple[BaseChecked, ...]:
        """How these commands ended on the run's base, as far as they were run there."""
        known = [each.check for each in self.base if each.check.commit is None]
        base = {check.command.strip(): check for check in known}
        return tuple(base[command.strip()] for command in commands if command.strip() in base)

    def find_result(self, commit: str, command: str) -> KnownResult | None:
        """How a command ended on a commit, after any earlier commands in its container; None if unknown."""
        found = [
            result
            for result in self.results.values()
            if (result.commit, result.command.strip()) == (commit, command.strip())
        ]
        return found[-1] if found else None

    @property
    def unverified(self) -> int:
        """How many finished tasks no gate has verified."""
        ends = [task.finished for task in self.tasks.values()]
        return sum(end is not None and end.verification == "unverified" for end in ends)

    @property
    def usage(self) -> Usage:
        total = Usage()
        for task in self.tasks.values():
            for attempt in task.attempts:
                total += attempt.end.usage if attempt.end is not None else Usage()
        return total


def fold(facts_of_run: Iterable[Fact]) -> RunState:
    """The state after these facts. Raises ValueError if there are none, or if one cannot follow."""
    state: RunState | None = None
    for fact in facts_of_run:
        state = begin(fact) if state is None else advance(state, fact)
    if state is None:
        raise ValueError("a run without facts")
    return state


def begin(fact: Fact) -> RunState:
    """The state after a run's first fact. Raises ValueError if it is of another kind than run_started."""
    if not isinstance(fact.body, RunStarted):
        raise ValueError(f"fact {fact.n}: a run starts with run_started, not with {fact.body.kind}")
    start = fact.body
    return RunState(
        run=fact.run,
        started_at=fact.at,
        start=start,
        options=start.options,
        billing=start.billing,
        tasks={entry.id: TaskState(entry=entry) for entry in start.tasks},
        last_n=fact.n,
    )


def advance(state: RunState, fact: Fact) -> RunState:
    """The state after one more fact; raises ValueError when it cannot follow."""
    try:
        return replace(_transition(state, fact), last_n=fact.n)
    except (KeyError, IndexError) as error:
        raise ValueError(f"fact {fact.n}: {fact.body.kind} cannot follow ({error})") from error


def _transition(state: RunState, fact: Fact) -> RunState:  # noqa: C901 - one flat table
    match fact.body:
        case RunStarted():
            raise ValueError(f"fact {fact.n}: the run has already started")
        case RunResumed() as body:
            return _resume(state, body)
        case RunWaiting() as body:
            return replace(state, waiting=body)
        case WaitEnded():
            return replace(state, waiting=None, epoch=state.epoch + 1, end_to_end_gates=())
        case PlanTaken() as body:
            return _take_plan(state, body)
        case SettingsTaken() as body:
            return _take_settings(state, body)
        case BaseChecked() as body:
            return _add_base_check(state, fact, body)
        case BaseRunEnded() as body:
            return replace(state, base_checked=True, base_image=body.image)
        case BaseMoved(base=base):
            # Results on the base stay: each is known by the files that it depends on.
            start = replace(state.start, base=base, head=base)
            return replace(state, start=start, base_checked=False)
        case BranchReady():
            return replace(state, branch_ready=True)
        case EditsCommitted() | Notice() | SetupStarted() | SetupEnded() | StillRunning():
            return state
        case UndoStarted() as body:
            return replace(state, undo=body)
        case TaskStarted() as body:
            return _with_task(state, fact, parent=body.parent)
        case AttemptStarted() as body:
            return _add_attempt(state, fact, body)
        case ContainerCreated() as body:
            return _with_attempt(state, fact, created=body)
        case ContainerStarted():
            return _with_attempt(state, fact, has_begun=True, epoch=state.epoch)
        case StopBegun() as body:
            return _with_attempt(state, fact, stop=body)
        case AttemptAdopted():
            adoptions = state.tasks[fact.task or ""].attempts[-1].adoptions + 1
            return _with_attempt(state, fact, has_begun=True, adoptions=adoptions, epoch=state.epoch)
        case AgentText() | AgentTool():
            return state
        case AttemptEnded() as body:
            epoch = {"epoch": state.epoch} if body.is_taken else {}
            return _with_attempt(state, fact, end=body, ended=fact.at, **epoch)
        case TreeSaved() as body:
            return _with_attempt(state, fact, saved=body)
        case TreeCompared() as body:
            return _with_attempt(state, fact, compared=body, compared_epoch=state.epoch, refused=None)
        case SetAsideStarted() as body:
            return _with_attempt(state, fact, aside=body, is_out=False, lay_back=None, back=None)
        case TreeSetAside():
            return _with_attempt(state, fact, is_out=True)
        case LayBackStarted() as body:
            return _with_attempt(state, fact, lay_back=body)
        case TreeLaidBack() as body:
            # From here on the task's changes are those since this commit: what is between belongs to others.
            return _with_task(_with_attempt(state, fact, back=body), fact, parent=body.parent)
        case CandidateMade() as body:
            return _set_candidate(state, fact, body)
        case CandidateRefused() as body:
            return _with_attempt(state, fact, refused=body.reason)
        case GateStarted() as body:
            return _count_evidence(state, body.evidence)
        case NamesReserved() as body:
            return _count_evidence(state, *body.evidence)
        case GateEnded() as body:
            return _add_gate(state, fact, body)
        case CrossChecked() as body:
            return _add_cross_check(state, fact, body)
        case LandingStarted() as body:
            return _with_task(state, fact, landing=body)
        case LandingRefused() as body:
            return _with_task(_with_attempt(state, fact, landing_refused=body.reason), fact, landing=None)
        case TaskFinished(status="failed") as body:
            return _with_task(state, fact, finished=body, ended_n=fact.n, accepted=None)
        case TaskFinished(status="completed") as body:
            return _with_task(state, fact, finished=body, ended_n=fact.n)
        case TaskFinished() as body:
            return _with_task(state, fact, finished=body)
        case TaskAccepted() as body:
            return _with_task(state, fact, accepted=body)
        case QuestionAsked() as body:
            return _add_question(state, fact, body)
        case QuestionAnswered() as body:
            return _answer(state, fact, body)
        case LimitSeen() as seen:
            return _with_limits(state, fact, lambda limits: (*limits, seen))
        case LimitPassed(cause=cause, effect=effect):
            return _with_limits(state, fact, partial(_remove_limits, cause=cause, effect=effect))
        case WindowsSeen(windows=windows):
            return replace(state, windows=windows)
        case EndToEndEnded() as body:
            return replace(state, end_to_end=body, end_to_end_epoch=state.epoch)
        case WorkUndone() as body:
            return _undo(state, body)
        case CancelRequested():
            return replace(state, cancel_requested=True)
        case RunEnded() as body:
            return replace(state, end=body, ended_at=fact.at)
        case _ as never:
            assert_never(never)


def _resume(state: RunState, body: RunResumed) -> RunState:
    """A new epoch: failed tasks get new attempts, and a scenario that did not pass is run again.

    The user may have changed anything while no owner was there. Nothing is forgotten here; `phase` compares
    epochs and does not use what was found before the resume.
    """
    tasks = {
        task_id: replace(task, finished=None, ended_n=0) if task.has_failed else task
        for task_id, task in state.tasks.items()
    }
    return replace(
        state,
        tasks=tasks,
        options=body.options,
        billing=body.billing,
        epoch=state.epoch + 1,
        resumed_epoch=state.epoch + 1,
        cancel_requested=False,
        waiting=None,
        end_to_end_gates=(),
        ended_at=None,
        end=None,
    )


def _take_plan(state: RunState, body: PlanTaken) -> RunState:
    """Tasks that are no longer in the plan are dropped, unless they are done."""
    tasks = {entry.id: _edit_task(state, entry, body.redo) for entry in body.tasks}
    gone = {task_id: task for task_id, task in state.tasks.items() if task_id not in tasks and task.is_done}
    return replace(
        state,
        start=replace(state.start, plan_title=body.plan_title, end_to_end=body.end_to_end),
        tasks={**tasks, **gone},
        plan_stored=body.stored,
        # The edited plan can have other gates, and how they end on the base is not known.
        base_checked=False,
    )


def _take_settings(state: RunState, body: SettingsTaken) -> RunState:
    """Takes new settings and drops results on the base: other commands or images may give others."""
    return replace(state, base=(), results={}, terms_stored=body.stored, base_checked=False)


def _edit_task(state: RunState, entry: TaskEntry, redo: tuple[str, ...]) -> TaskState:
    task = state.tasks.get(entry.id)
    if task is None:
        is_left_out = bool(state.options.only) and entry.id not in state.options.only
        left_out = TaskFinished(status="skipped", reason="left out") if is_left_out else None
        return TaskState(entry=entry, finished=left_out)
    if entry.id in redo:
        task = replace(_make_pending(task), was_redone=True)
    # The attempts of the old text do not count for the new one, and what the user accepted was the old text.
    if entry.hash != task.entry.hash and not task.is_done:
        task = replace(task, accepted=None, attempts_before_edit=len(task.attempts))
    return replace(task, entry=entry)


def _with_task(state: RunState, fact: Fact, **changes: Any) -> RunState:
    task = state.tasks[fact.task or ""]
    return replace(state, tasks={**state.tasks, task.entry.id: replace(task, **changes)})


def _with_attempt(state: RunState, fact: Fact, **changes: Any) -> RunState:
    attempts = state.tasks[fact.task or ""].attempts
    # Facts of an earlier attempt would come from an owner that lost its lock: they must not change this one.
    if attempts[-1].number != fact.attempt:
        raise ValueError(f"fact {fact.n}: {fact.body.kind} for attempt {fact.attempt}, which is not the last")
    return _with_task(state, fact, attempts=(*attempts[:-1], replace(attempts[-1], **changes)))


def _with_limits(
    state: RunState, fact: Fact, change: Callable[[tuple[LimitSeen, ...]], tuple[LimitSeen, ...]]
) -> RunState:
    """Change what is known of an attempt's limits.

    The gateway does not know how far the run is, so its facts can come at any place: after the end of the
    attempt, after the next one began, and for a task that an edit of the plan has removed.
    """
    task = state.tasks.get(fact.task or "")
    if task is None:
        return state
    attempts = tuple(
        replace(each, limits=change(each.limits)) if each.number == fact.attempt else each
        for each in task.attempts
    )
    return _with_task(state, fact, attempts=attempts)


def _remove_limits(
    limits: tuple[LimitSeen, ...], *, cause: RunCause, effect: LimitEffect
) -> tuple[LimitSeen, ...]:
    return tuple(each for each in limits if (each.cause, each.effect) != (cause, effect))


def _add_base_check(state: RunState, fact: Fact, body: BaseChecked) -> RunState:
    # A base run that was interrupted starts from the beginning: the last check of a command counts.
    this = (body.command.strip(), body.commit)
    others = [each for each in state.base if (each.check.command.strip(), each.check.commit) != this]
    checked = (*others, BaseCheckState(task=fact.task, check=body))
    state = _add_result(state, body.key, body, body.commit or state.start.base)
    return _count_evidence(replace(state, base=checked), body.evidence)


def _add_result(
    state: RunState, key: str, body: BaseChecked | GateEnded | CrossChecked, commit: str
) -> RunState:
    # The last result counts: a resume runs the gates of the task that it tries again a second time.
    if not key or body.exit_code is None or (body.reused is not None and key in state.results):
        return state
    known = KnownResult(
        commit=commit,
        command=body.command,
        exit_code=body.exit_code,
        evidence=body.evidence,
        epoch=state.epoch,
    )
    others = {each: result for each, result in state.results.items() if each != key}
    return replace(state, results={**others, key: known})


def _add_attempt(state: RunState, fact: Fact, body: AttemptStarted) -> RunState:
    attempt = AttemptState(
        number=fact.attempt or 0, epoch=state.epoch, started=fact.at, start=body, started_n=fact.n
    )
    earlier = state.tasks[fact.task or ""].attempts
    if earlier and earlier[-1].number == attempt.number and earlier[-1].end is None:
        # Its start was killed before there was a container, so that nothing of it exists: it begins again.
        earlier = earlier[:-1]
    attempts = (*earlier, attempt)
    return _with_task(state, fact, attempts=attempts, accepted=None)


def _set_candidate(state: RunState, fact: Fact, body: CandidateMade) -> RunState:
    state = _with_attempt(
        state,
        fact,
        candidate=body,
        candidate_epoch=state.epoch,
        gates=(),
        cross_checks=(),
        refused=None,
        landing_refused=None,
    )
    return _count_evidence(state, *body.evidence)


def _undo(state: RunState, body: WorkUndone) -> RunState:
    """The tasks are pending again; their attempts stay in the state and do not count any more.

    If the files were undone too, nothing of an unfinished task's attempts is left in the folder. These tasks
    become pending as well, or the next attempt would continue work that is not there.
    """
    undone = {state.tasks[entry.task].entry.id for entry in body.tasks}
    tasks = {
        id: _make_pending(task) if id in undone or (body.folder_too and _is_unfinished(task)) else task
        for id, task in state.tasks.items()
    }
    state = replace(state, tasks=tasks, undo=None, end_to_end=None)
    if state.end is not None and state.end.status == "cancelled":
        return state  # a cancelled run cannot be resumed, not even after an undo
    return replace(state, end=None, ended_at=None)


def _make_pending(task: TaskState) -> TaskState:
    return replace(
        task,
        parent=None,
        landing=None,
        finished=None,
        ended_n=0,
        accepted=None,
        attempts_before_undo=len(task.attempts),
    )


def _is_unfinished(task: TaskState) -> bool:
    return task.finished is None or task.has_failed


def _count_evidence(state: RunState, *ids: str) -> RunState:
    # Journals of version 1 have no names_reserved; there the first fact that uses an id gives it out.
    numbers = (int(digits) for id in ids if (digits := id.removeprefix("e")).isdecimal())
    return replace(state, evidence_given=max(state.evidence_given, *numbers, 0))


def _add_gate(state: RunState, fact: Fact, body: GateEnded) -> RunState:
    state = _add_result(state, body.key, body, body.candidate)
    if fact.task is None:
        return replace(state, end_to_end_gates=(*state.end_to_end_gates, body))
    # A gate that could not be run is run again after a resume, with the same evidence id: the last run
    # counts.
    before = state.tasks[fact.task].attempts[-1].gates
    gates = tuple(gate for gate in before if gate.given != body.given)
    state = _count_evidence(state, body.evidence)
    return _with_attempt(state, fact, gates=(*gates, body))


def _add_cross_check(state: RunState, fact: Fact, body: CrossChecked) -> RunState:
    # A cross-check has less time than a gate, so a command that took too long there may pass elsewhere.
    if not body.detail:
        state = _add_result(state, body.key, body, body.commit)
    state = _count_evidence(state, body.evidence)
    if fact.attempt is None:
        return replace(state, cross_checks=(*state.cross_checks, body))
    cross_checks = state.tasks[fact.task or ""].attempts[-1].cross_checks
    others = [each for each in cross_checks if (each.corner, each.gate) != (body.corner, body.gate)]
    return _with_attempt(state, fact, cross_checks=(*others, body))


def _add_question(state: RunState, fact: Fact, body: QuestionAsked) -> RunState:
    question = QuestionState(task=fact.task, attempt=fact.attempt, asked_at=fact.at, asked=body)
    return replace(state, questions=(*state.questions, question))


def _answer(state: RunState, fact: Fact, body: QuestionAnswered) -> RunState:
    questions = tuple(
        replace(question, answered_at=fact.at, answer=body)
        # The first answer counts: the agent may work with it already.
        if question.asked.question == body.question and question.answer is None
        else question
        for question in state.questions
    )
    return replace(state, questions=questions)
