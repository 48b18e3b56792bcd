"""decide(state, work, busy) -> Steps | Wait | EndRun: the whole policy of a run.

The engine carries out the actions, appends their facts, folds them into the state, and calls `decide` again.
Nothing else is remembered. A run that was killed is therefore resumed by the same calls over the facts that
were stored: there is no second path through the code that only a kill would exercise.

Actions that do not disturb each other are carried out at the same time. Each action occupies lanes while it
runs: the lane of its task, so that a task does one thing at a time, and BRANCH if it moves the user's branch
or index, so that only one action does. `busy` are the occupied lanes. An action appends several facts, and
those of a task whose lane is busy describe an action that is halfway through (a candidate with some of its
gates, for example). A decision on them could start the same work twice, so such a task is skipped until its
lane is free.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, assert_never

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.run.cross_checks import find_proof, is_vacuous, source_of
from orchestrator.run.endings import EXIT_CODES, rank
from orchestrator.run.facts import AttemptStatus, CheckSource, GateEnded, RunCause, RunStatus, Verification
from orchestrator.run.phase import (
    Answered,
    Asked,
    Claimed,
    Compared,
    Done,
    Doubtful,
    Failed,
    Gated,
    Gating,
    Landing,
    Limited,
    NotLanded,
    NotStarted,
    Refused,
    Started,
    Stopped,
    Uncompared,
    Ungated,
    Working,
    attempts_that_count,
    ends_that_count,
    is_under_way,
    phase,
    scenario_that_counts,
)
from orchestrator.run.state import AttemptState, RunState, TaskState
from orchestrator.supervision.base_run import describe_red_base, list_red_guards
from orchestrator.supervision.failure_signatures import find_repeated_failure
from orchestrator.text import first_line

CHARGED: frozenset[AttemptStatus] = frozenset({"completed", "failed", "unclear", "timed_out"})
"""Attempt ends that count against `limits.attempts`; the other ends are not the agent's fault."""

MAX_INTERRUPTIONS = 3
"""Attempts of one task that may be interrupted between two resumes before the run parks."""


BaseRule = Literal["green", "no_worse", "any"]


class Check(Struct, frozen=True, kw_only=True):
    """A command that has to succeed."""

    command: str
    source: CheckSource
    is_guard: bool = False
    """Whether it says what must not break, so that it has to succeed before the work, too."""


MAX_IDLE_ATTEMPTS = 2
"""Attempts of one task that may change nothing while its gates pass, before the task has failed."""

ChangeRule = Literal["required", "required_or_explained", "optional"]
"""Whether a candidate without changes is a failure: always; unless the agent's outcome says why nothing had
to be changed (`no_change`); or never."""


class WorkItem(Struct, frozen=True, kw_only=True):
    """A task as the policy sees it."""

    id: str
    depends_on: tuple[str, ...]
    """Ids of the tasks that have to be done first."""
    names_no_dependencies: bool = False
    """Whether the plan names no dependencies of it; then `depends_on` is the task before it."""
    checks: tuple[Check, ...]
    """Its gates, in order."""
    change: ChangeRule


class Gate(NamedTuple):
    name: str
    """build-1, …, verify-1, …, e2e-1, …"""
    check: Check

    @property
    def command(self) -> str:
        return self.check.command


class Work(Struct, frozen=True, kw_only=True):
    items: tuple[WorkItem, ...]
    """The tasks to carry out, in an order that respects their dependencies."""
    end_to_end: tuple[Check, ...]
    attempts: int
    failed_tasks: int = 1
    """After this many failed tasks no further task starts. Before that, a task for which the plan names no
    dependencies starts although the task before it has failed."""
    build: tuple[Check, ...] = ()
    """Commands that a container runs before its first check; not run where there are no checks."""
    workers: int = 1
    """How many tasks may be worked on at the same time."""
    base: BaseRule = "green"
    """The result that the guards must have before the work."""
    only_base: bool = False
    """Whether the run ends after its checks on the base."""
    strict: bool = False
    """Whether a task needs a command that fails without its work."""
    require: bool = False
    """Whether each task needs a check."""
    guards: tuple[Check, ...] = ()
    """The checks of every task that say what must not break."""

    def gates_of(
        self,
        item: WorkItem,
        left_out: frozenset[str] = frozenset(),
        claimed: tuple[str, ...] = (),
    ) -> tuple[Gate, ...]:
        """The gates of a task: without the commands of `left_out`, and with those of the outcome, last.

        A command of the outcome that is a gate already is not added.
        """
        checks = tuple(check for check in item.checks if check.command.strip() not in left_out)
        known = {check.command.strip() for check in checks}
        added = {text: command for command in reversed(claimed) if (text := command.strip()) not in known}
        agents = tuple(
            Check(command=command, source="agent") for command in claimed if added.pop(command.strip(), None)
        )
        build = self.build if checks or agents else ()
        return (
            *_number_gates(BUILD, build),
            *_number_gates("verify", checks),
            *_number_gates("agent", agents),
        )

    @property
    def builds(self) -> tuple[Gate, ...]:
        return _number_gates(BUILD, self.build)

    @property
    def scenario(self) -> tuple[Gate, ...]:
        return self._list_gates_after_build("e2e", self.end_to_end)

    def _list_gates_after_build(self, name: str, checks: tuple[Check, ...]) -> tuple[Gate, ...]:
        build = self.build if checks else ()
        return (*_number_gates(BUILD, build), *_number_gates(name, checks))


def list_left_out(state: RunState) -> frozenset[str]:
    """Commands that were found in the project and did not pass before the work; they are left out."""
    found = [each.check for each in state.base if each.check.commit is None]
    return frozenset(
        check.command.strip()
        for check in found
        if check.source == "discovered" and check.before != "already_green"
    )


def list_candidate_gates(
    work: Work, item: WorkItem, state: RunState, attempt: AttemptState, *, by_hand: bool
) -> tuple[Gate, ...]:
    """The gates of an attempt's candidate. After a fix by hand, the agent's outcome does not describe it."""
    claim = attempt.claim
    claimed = () if by_hand or claim is None or claim.status != "completed" else claim.checks
    return work.gates_of(item, list_left_out(state), claimed)


BUILD = "build"


def _number_gates(name: str, checks: tuple[Check, ...]) -> tuple[Gate, ...]:
    return tuple(Gate(f"{name}-{number}", check) for number, check in enumerate(checks, 1))


class CheckBase(Struct, frozen=True):
    """Run the gates of every task and the end-to-end scenario on the base, before any agent."""


class MakeBranch(Struct, frozen=True):
    """Make the run's branch at the base, and check it out."""


class StartTask(Struct, frozen=True, kw_only=True):
    """Commit what the user changed, and record the commit that the task starts from."""

    task: str


class StartAttempt(Struct, frozen=True, kw_only=True):
    task: str
    number: int
    previous: AttemptState | None
    """The attempt whose session and evidence the new one continues from."""


class FailTask(Struct, frozen=True, kw_only=True):
    task: str
    reason: str


class _OfAttempt(Struct, frozen=True, kw_only=True):
    task: str
    attempt: AttemptState


class RecoverAttempt(_OfAttempt, frozen=True):
    """Record the end of an attempt whose owner was killed."""


class CompareFolder(_OfAttempt, frozen=True):
    """After a resume: find out what the user has changed since the attempt ended."""


class MakeCandidate(_OfAttempt, frozen=True, kw_only=True):
    by_hand: bool


class RunGates(_OfAttempt, frozen=True):
    """Run the candidate's gates that have no verdict."""


class Land(_OfAttempt, frozen=True):
    """Move the branch to the candidate, or find out whether an interrupted landing has."""


class AskUser(_OfAttempt, frozen=True):
    """Record the agent's question, which ends the run until it is answered."""


class SetAside(_OfAttempt, frozen=True):
    """Save what an attempt left in the folder, and return the folder to the branch's state."""


class LayBack(_OfAttempt, frozen=True):
    """Lay what was set aside over the branch as it is now."""


class CheckEndToEnd(Struct, frozen=True):
    """Run the end-to-end scenario on the finished branch."""


Action = (
    CheckBase
    | MakeBranch
    | StartTask
    | StartAttempt
    | RecoverAttempt
    | CompareFolder
    | MakeCandidate
    | RunGates
    | Land
    | FailTask
    | AskUser
    | SetAside
    | LayBack
    | CheckEndToEnd
)

Lane = str
BRANCH: Lane = ""
"""The lane of the branch; the other lanes are ids of tasks, and none of these is empty."""


def lanes_of(action: Action) -> frozenset[Lane]:
    """The lanes that the action occupies.

    StartAttempt may commit the user's edits on the branch before the agent starts. It does not occupy BRANCH
    nevertheless: an attempt takes hours, and other tasks could not land meanwhile. This is safe as long as no
    other task works in the user's own folder at the same time.
    """
    match action:
        case CheckBase() | MakeBranch() | CheckEndToEnd():
            return frozenset({BRANCH})
        case StartTask() | RecoverAttempt() | CompareFolder() | Land() | SetAside() | LayBack():
            return frozenset({action.task, BRANCH})
        case StartAttempt() | MakeCandidate() | RunGates() | FailTask() | AskUser():
            return frozenset({action.task})
        case _ as never:
            assert_never(never)


class Steps(Struct, frozen=True, kw_only=True):
    """Start these actions now; their lanes are free."""

    actions: tuple[Action, ...]


class Wait(Struct, frozen=True, kw_only=True):
    """Start nothing until a lane is free or another process has appended a fact."""


class EndRun(Struct, frozen=True, kw_only=True):
    """End the run; no lane is busy."""

    status: RunStatus
    reason: str | None = None
    until: str | None = None
    cause: RunCause | None = None
    to_wait: "EndRun | None" = None
    """The end that decides whether the run waits and continues by itself (`--wait`); None: this end.

    A question has a worse exit code than a limit. But a run that waited for the answer alone would not
    continue its other tasks when the limit has ended.
    """


Decision = Steps | Wait | EndRun


def decide(state: RunState, work: Work, busy: frozenset[Lane] = frozenset()) -> Decision:
    """The actions to start beside the work in the busy lanes; the run ends only when no lane is busy.

    A task that has failed or asks blocks only the tasks that depend on it. The others are carried out before
    the run ends, unless two tasks in a row have failed in the same way. If several tasks want to end the run,
    the worst exit code wins, as `endings.rank` orders them.
    """
    end = _end_of_base_run(state, work)
    if end is not None:
        # While an action is at work, its facts can still change how the run ends.
        return Wait() if busy else end
    first = _next_before_tasks(state, work, busy)
    if first is not None:
        return Wait() if busy else Steps(actions=(first,))
    blocked = [end for item in work.items if (end := _end_of_blocked(state, item)) is not None]
    if (pair := find_repeated_failure(state)) is not None:
        return Wait() if busy else _end_for_repeated(pair, blocked)
    nexts = [_next_with_folder(state, item, work) for item in _choose_items(state, work, busy)]
    ends = [each for each in nexts if isinstance(each, EndRun)]
    if not nexts and not busy:
        if not blocked:
            after = _next_after_tasks(state, work)
            return after if isinstance(after, EndRun) else Steps(actions=(after,))
        ends = blocked
    if ends:
        return Wait() if busy else _combine_ends([*ends, *(end for end in blocked if end not in ends)])
    # What cannot start now is decided again when a lane becomes free, from the facts of then.
    actions = _choose_for_free_lanes([each for each in nexts if not isinstance(each, EndRun)], busy)
    return Steps(actions=actions) if actions else Wait()


def _end_of_blocked(state: RunState, item: WorkItem) -> EndRun | None:
    """How the run ends if nothing else can be done than this task, which has failed or asks."""
    match phase(state, state.tasks[item.id]):
        case Asked(question=question):
            return EndRun(
                status="waiting", reason=f"task {item.id} asks: {question.asked.text}", cause="question"
            )
        case Failed(finished=finished):
            return EndRun(status="failed", reason=f"task {item.id}: {finished.reason}", cause="task_failed")
        case _:
            return None


def _end_of_repeated(pair: tuple[str, str]) -> EndRun:
    why = f"tasks {pair[0]} and {pair[1]} failed in the same way, so the cause is probably not in the tasks"
    return EndRun(status="failed", reason=why, cause="task_failed")


def _end_for_repeated(pair: tuple[str, str], blocked: Sequence[EndRun]) -> EndRun:
    """The run stops for this, so no answer or reset is waited for."""
    end = _end_of_repeated(pair)
    return replace(_combine_ends([end, *blocked]), to_wait=end)


def _combine_ends(ends: Sequence[EndRun]) -> EndRun:
    """The end with the worst exit code; its reason names the others, too."""
    parked = next((end for end in ends if end.status == "parked"), None)
    worst = min(ends, key=lambda end: rank(EXIT_CODES[end.status]))
    reasons = [worst.reason, *(end.reason for end in ends if end is not worst)]
    reason = "; ".join(reason for reason in reasons if reason) or None
    return replace(worst, reason=reason, to_wait=None if parked is worst else parked)


def _next_with_folder(state: RunState, item: WorkItem, work: Work) -> Action | EndRun:
    """The next thing of a task, or what has to happen to the folder before it.

    All tasks work in one folder, one after the other. It must hold the work of this task only: work of
    another task would otherwise land in this task's commit. With several workers each task has a folder of
    its own.
    """
    action = _next_of_task(state, item, work)
    # An end touches no file, so it needs no folder of its own.
    if work.workers > 1 or isinstance(action, EndRun | FailTask):
        return action
    for other in work.items:
        task = state.tasks[other.id]
        if other.id != item.id and not task.is_done and task.last is not None and task.last.is_in_folder:
            return SetAside(task=other.id, attempt=task.last)
    last = state.tasks[item.id].last
    return LayBack(task=item.id, attempt=last) if last is not None and last.is_set_aside else action


def _end_of_base_run(state: RunState, work: Work) -> EndRun | None:
    """The end of a run that must not begin, or that was only to check the base; None for any other run."""
    if not state.base_checked or state.branch_ready:
        return None
    red = list_red_guards(state)
    if red and work.base == "green":
        return EndRun(status="failed", reason=describe_red_base(state.run, red), cause="base_red")
    why = _refuse_weak_checks(state, work)
    if why is not None:
        return EndRun(status="failed", reason=why, cause="base_red")
    return EndRun(status="completed") if work.only_base else None


def _refuse_weak_checks(state: RunState, work: Work) -> str | None:
    """Why `verify.require` or `verify.strict` does not let the run begin."""
    at_hand = [item for item in work.items if not state.tasks[item.id].is_done]
    left_out = list_left_out(state)
    unchecked = [item.id for item in at_hand if item.checks and not work.gates_of(item, left_out)]
    if work.require and unchecked:
        return (
            f"tasks have no check, and verify.require is set: {', '.join(unchecked)}\n"
            "The command that was found in the project does not pass before the work."
        )
    if not work.strict:
        return None
    for item in at_hand:
        for check in item.checks:
            if check.source == "task" and not check.is_guard and is_vacuous(state, None, check.command):
                return (
                    f"task {item.id}: its command passes without any file, so it checks nothing "
                    f"(verify.strict): {first_line(check.command, 200)}"
                )
    return None


def _next_before_tasks(state: RunState, work: Work, busy: frozenset[Lane]) -> Action | None:
    # An attempt without an end comes first: its container may still write into the folder, and another task
    # would take these changes for its own or the user's.
    for item in work.items:
        match phase(state, state.tasks[item.id]):
            case Working(attempt=attempt) if item.id not in busy:
                return RecoverAttempt(task=item.id, attempt=attempt)
    if not state.base_checked:
        return CheckBase()
    if not state.branch_ready:
        return MakeBranch()
    for item in work.items:
        last = state.tasks[item.id].last
        if last is not None and last.is_partly_set_aside and item.id not in busy:
            return SetAside(task=item.id, attempt=last)
    # Then a landing that a kill interrupted: the branch may hold its commit already. If a question of another
    # task ended the run first, that commit would stay without a finished task.
    for item in work.items:
        match phase(state, state.tasks[item.id]):
            case Landing(attempt=attempt) if item.id not in busy:
                return Land(task=item.id, attempt=attempt)
    return None


def _choose_items(state: RunState, work: Work, busy: frozenset[Lane]) -> list[WorkItem]:
    """A task for each idle worker: first the tasks under way, then those that may start, in the plan's order.

    A task waits only for tasks before it in the list, so the first that is neither done nor blocked can
    always be worked on, even if the plan's dependencies form a circle.
    """
    pending: set[str] = set()
    free: list[WorkItem] = []
    passed_over = _list_passed_over(state, work)
    for item in work.items:
        if isinstance(phase(state, state.tasks[item.id]), Done):
            continue
        awaited = pending.intersection(item.depends_on)
        if item.names_no_dependencies:
            awaited -= passed_over
        is_blocked = bool(awaited) or _end_of_blocked(state, item) is not None
        if item.id not in busy and not is_blocked:
            free.append(item)
        pending.add(item.id)
    # What is in the folder comes first: it need not be set aside and laid back then.
    free.sort(key=lambda item: _rank_of_work(state.tasks[item.id], state))
    return free[: work.workers - len(busy - {BRANCH})]


def _list_passed_over(state: RunState, work: Work) -> set[str]:
    """The failed tasks for which a task without named dependencies does not wait."""
    silent = [item.id for item in work.items if item.names_no_dependencies or not item.depends_on]
    failed = [id for id in silent if isinstance(phase(state, state.tasks[id]), Failed)]
    return set(failed) if len(failed) < work.failed_tasks else set()


def _rank_of_work(task: TaskState, state: RunState) -> int:
    last = task.last
    if last is None:
        return 2
    if is_under_way(state, task):
        # One that was set aside and is answered meanwhile does not interrupt the one in the folder.
        return 0 if last.is_in_folder else 1
    return 1 if last.is_in_folder else 2


def _choose_for_free_lanes(actions: Sequence[Action], busy: frozenset[Lane]) -> tuple[Action, ...]:
    """The actions that can start at the same time; of two that need the branch, the first gets it."""
    found, taken = [], busy
    for action in actions:
        if taken.isdisjoint(lanes_of(action)):
            found.append(action)
            taken |= lanes_of(action)
    return tuple(found)


def reason_not_to_land(attempt: AttemptState, item: WorkItem, *, is_accepted: bool = False) -> str | None:
    """Why a candidate whose gates all have a verdict may not land; None: it may.

    If the user has fixed the folder by hand, what the agent reported before no longer describes it: then only
    the gates and the changes count. If the user has accepted the task as it is, only the gates count.
    """
    assert attempt.end is not None and attempt.candidate is not None
    if not is_accepted:
        if attempt.end.status != "completed" and not attempt.candidate.by_hand:
            return attempt.end.reason or attempt.end.status
        if not attempt.candidate.changed and not _may_stay_unchanged(attempt, item):
            return _NOTHING_CHANGED[item.change]
    for gate in attempt.failed_gates:
        why = f": {gate.detail}" if gate.detail else ""
        return f"{gate.gate} failed with exit code {gate.exit_code}{why} ({gate.evidence})"
    return None


_NOTHING_CHANGED: dict[ChangeRule, str] = {
    "required": "no file was changed, although the task requires a change",
    "required_or_explained": "no file was changed, and the outcome does not say why (no_change)",
}


def _may_stay_unchanged(attempt: AttemptState, item: WorkItem) -> bool:
    return item.change == "optional" or (
        item.change == "required_or_explained" and explanation_of_no_change(attempt) is not None
    )


def explanation_of_no_change(attempt: AttemptState) -> str | None:
    """Why the agent says that the candidate without changes is enough; None if it does not say so."""
    candidate, claim = attempt.candidate, attempt.claim
    if candidate is None or candidate.changed or candidate.by_hand or claim is None:
        return None
    return claim.no_change


class Verified(NamedTuple):
    """Whether gates have shown that a task is done."""

    verification: Verification
    reason: str | None
    """Why it is unverified."""


def verify_candidate(state: RunState, task: TaskState, item: WorkItem, attempt: AttemptState) -> Verified:
    """Whether the gates of a candidate that may land have verified it, and why not.

    Gates that pass on a candidate without changes passed before as well. So they do not show that an untyped
    task, or one that the user accepts as it is, is done.
    """
    assert attempt.candidate is not None
    if task.accepted is not None:
        return Verified("unverified", f"accepted by the user ({task.accepted.by})")
    if item.change == "required_or_explained" and not attempt.candidate.changed:
        return Verified("unverified", f"it changed nothing: {explanation_of_no_change(attempt)}")
    if not attempt.candidate.evidence:
        return Verified("unverified", "it has no check")
    checks = [gate for gate in attempt.gates if source_of(gate) != BUILD]
    if checks and all(source_of(gate) == "agent" for gate in checks):
        return _verify_by_agent(state, task, attempt, checks)
    return Verified("verified", None)


_JUDGES = ("VALIDATION", "VERIFICATION")


def _verify_by_agent(
    state: RunState, task: TaskState, attempt: AttemptState, checks: Sequence[GateEnded]
) -> Verified:
    """The agent has chosen the only commands that check its work, so each has to prove something."""
    assert attempt.candidate is not None
    own = attempt.candidate.calls_own_work
    for gate in (each for each in checks if each.gate not in own):
        proof = find_proof(state, task, attempt, gate)
        if proof == "discriminating" or (
            task.entry.type in _JUDGES and proof in ("already_green", "red", "absent")
        ):
            return Verified("verified", None)
    if all(gate.gate in own for gate in checks):
        return Verified(
            "unverified", "the agent's own command is its only check, and runs what it has changed"
        )
    return Verified("unverified", "the agent's own command is its only check, and passes without the work")


def reason_unproved(state: RunState, task: TaskState, item: WorkItem, attempt: AttemptState) -> str | None:
    """Why `verify.strict` does not accept a candidate that passed; None: it does, or does not apply."""
    if item.change == "optional" or task.accepted is not None:
        return None
    proofs = [find_proof(state, task, attempt, gate) for gate in attempt.gates]
    if "discriminating" in proofs:
        return None
    return (
        "no check of the task fails without its work (verify.strict): "
        "add or change a test that fails on the code as it was"
    )


def _next_of_task(state: RunState, item: WorkItem, work: Work) -> Action | EndRun:  # noqa: C901 - one flat table
    task = state.tasks[item.id]
    match phase(state, task):
        case NotStarted():
            return StartTask(task=item.id)
        case Started():
            return StartAttempt(task=item.id, number=len(task.attempts) + 1, previous=None)
        case Working(attempt=attempt):
            return RecoverAttempt(task=item.id, attempt=attempt)
        case Uncompared(attempt=attempt) if attempt.has_lost_its_files:
            return _try_again(state, task, "resumed", work)
        case Uncompared(attempt=attempt):
            return CompareFolder(task=item.id, attempt=attempt)
        case Compared(attempt=attempt):
            return _next_of_compared(state, task, item, attempt, work)
        case Stopped(reason=reason) | Refused(reason=reason):
            return _try_again(state, task, reason, work)
        case Limited(end=end):
            return EndRun(
                status="parked", reason=f"task {item.id}: {end.reason}", until=end.until, cause=end.cause
            )
        case Doubtful(attempt=attempt):
            return AskUser(task=item.id, attempt=attempt)
        case Answered(attempt=attempt):
            return StartAttempt(task=item.id, number=attempt.number + 1, previous=attempt)
        # Also after a reported failure: the gates of that candidate are the evidence for the next attempt.
        case Claimed(attempt=attempt):
            return MakeCandidate(task=item.id, attempt=attempt, by_hand=False)
        case Gating(attempt=attempt):
            return RunGates(task=item.id, attempt=attempt)
        # A gate that could not be run says nothing about the work, so no attempt is charged.
        case Ungated():
            return EndRun(
                status="parked", reason=f"task {item.id}: a gate could not be run", cause="gate_unavailable"
            )
        case Gated(attempt=attempt):
            return _next_of_gated(state, task, item, attempt, work)
        case NotLanded(reason=reason):
            return EndRun(status="parked", reason=f"task {item.id}: {reason}", cause="landing_refused")
        # The landing may have happened before a kill. `Land` asks the repository before it moves the branch.
        case Landing(attempt=attempt):
            return Land(task=item.id, attempt=attempt)
        case Asked() | Failed() | Done():
            raise AssertionError(f"task {item.id} is done or blocked")
        case _ as never:
            assert_never(never)


def _next_of_compared(
    state: RunState, task: TaskState, item: WorkItem, attempt: AttemptState, work: Work
) -> Action | EndRun:
    """The next action after a resume, once the folder was compared with the tree that the attempt left.

    Gates run before another agent does, because the user may have fixed the folder. A verdict from before the
    resume is never used to land: the branch may have moved since, and the user may have changed files. Work
    that had passed becomes a new candidate on the branch as it is now, and its gates run again.
    """
    is_edited = attempt.compared is not None and bool(attempt.compared.edited)
    if task.accepted is not None:
        return MakeCandidate(task=item.id, attempt=attempt, by_hand=is_edited)
    if item.checks and (is_edited or attempt.failed_gates):
        return MakeCandidate(task=item.id, attempt=attempt, by_hand=True)
    had_passed = attempt.candidate is not None and reason_not_to_land(attempt, item) is None
    if had_passed or _is_unjudged(attempt):
        return MakeCandidate(task=item.id, attempt=attempt, by_hand=False)
    return _try_again(state, task, "resumed", work)


def _next_of_gated(
    state: RunState, task: TaskState, item: WorkItem, attempt: AttemptState, work: Work
) -> Action | EndRun:
    against = reason_not_to_land(attempt, item, is_accepted=task.accepted is not None)
    if against is None and work.strict:
        unproved = reason_unproved(state, task, item, attempt)
        if unproved is not None:
            return _try_again(state, task, unproved, work)
    if against is None:
        return Land(task=item.id, attempt=attempt)
    red = next((gate for gate in attempt.failed_gates if gate.fails_as_before), None)
    # At a resume the user has seen that failure, so an attempt after it is not a blind one.
    if red is not None and attempt in attempts_that_count(state, task):
        why = f"{red.gate} fails as it did before the work ({red.evidence})"
        return EndRun(status="parked", reason=f"task {item.id}: {why}", cause="base_red")
    # Without a gate, nothing but the agent's word says that the task is done.
    idle = sum(is_idle(each) for each in attempts_that_count(state, task) if each.gates)
    if item.change == "optional" or idle < min(MAX_IDLE_ATTEMPTS, work.attempts):
        return _try_again(state, task, against, work)
    return FailTask(
        task=item.id,
        reason="seems to be done already: no file was changed, and all its checks pass; "
        f"to accept it: orchestrator resume {state.run} --accept {item.id}",
    )


def is_idle(attempt: AttemptState) -> bool:
    """Whether the agent ended well and changed nothing, and no gate of its candidate failed."""
    if attempt.end is None or attempt.end.status not in ("completed", "unclear"):
        return False
    return reason_not_to_accept(attempt) is None


def reason_not_to_accept(attempt: AttemptState) -> str | None:
    """Why the user cannot take a task as done after this attempt, its last one; None: they can."""
    if attempt.refused is not None or attempt.candidate is None:
        return f"the files that attempt {attempt.number} left were not checked"
    if attempt.candidate.changed:
        return f"attempt {attempt.number} changed files"
    for gate in attempt.failed_gates:
        return f"{gate.gate} failed ({gate.evidence})"
    if attempt.owed_evidence:
        return f"not all of its checks have run after attempt {attempt.number}"
    return None


def _is_unjudged(attempt: AttemptState) -> bool:
    """Whether the agent reported success and a gate has no verdict."""
    if attempt.end is None or attempt.end.status != "completed":
        return False
    return attempt.candidate is None or bool(attempt.owed_evidence)


def _try_again(state: RunState, task: TaskState, reason: str, work: Work) -> Action | EndRun:
    if task.accepted is not None:
        # The user's word was that nothing is left to do, so no agent is paid to work on it.
        return FailTask(task=task.entry.id, reason=f"accepted by the user, but {reason}")
    ends = ends_that_count(state, task)
    if sum(status in CHARGED for status in ends) >= work.attempts:
        return FailTask(
            task=task.entry.id, reason=f"{reason}; {work.attempts} of {work.attempts} attempts used"
        )
    # Interruptions are not charged. Without a limit of their own, an engine that kills each container would
    # have the run start attempts forever, and each of them costs money.
    if ends.count("interrupted") >= MAX_INTERRUPTIONS:
        return EndRun(status="parked", reason=f"task {task.entry.id}: {reason}", cause="interrupted_often")
    previous = task.attempts[-1]
    return StartAttempt(task=task.entry.id, number=previous.number + 1, previous=previous)


def _next_after_tasks(state: RunState, work: Work) -> Action | EndRun:
    if not work.end_to_end:
        return EndRun(status="completed")
    ended = scenario_that_counts(state)
    if ended is None:
        return CheckEndToEnd()
    match ended.status:
        case "passed":
            return EndRun(status="completed")
        case "failed":
            return EndRun(status="failed", reason="the end-to-end scenario failed", cause="e2e_failed")
        case "unavailable":
            return EndRun(
                status="parked", reason="the end-to-end scenario could not be run", cause="gate_unavailable"
            )
        case _ as never:
            assert_never(never)
