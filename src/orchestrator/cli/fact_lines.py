"""Facts as lines for the user. Text of an agent is printed as text, never as markup or control codes."""

from collections.abc import Mapping
from typing import assert_never

from orchestrator.cli.tables import question_lines
from orchestrator.cli.times import Zone, duration, moment, seconds_between
from orchestrator.cli.words import list_names
from orchestrator.run.endings import NOT_BEGUN, is_reason_of_a_task
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
    ContainerCreated,
    ContainerStarted,
    CrossChecked,
    CrossResult,
    CrossTree,
    EditsCommitted,
    EndToEndEnded,
    Fact,
    GateEnded,
    GateStarted,
    LandingRefused,
    LandingStarted,
    LayBackStarted,
    LimitPassed,
    LimitSeen,
    NamesReserved,
    Notice,
    PlanTaken,
    QuestionAnswered,
    QuestionAsked,
    RunEnded,
    RunResumed,
    RunStarted,
    RunWaiting,
    SetAsideStarted,
    SettingsTaken,
    SetupEnded,
    SetupStarted,
    Sleep,
    StillRunning,
    StopBegun,
    TaskAccepted,
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
from orchestrator.run.progress import count_done, position
from orchestrator.run.state import AttemptState, RunState
from orchestrator.run.view import RunView
from orchestrator.text import first_line, one_line, plain

_GUARD_WORDS = {
    "red": "is red before any work: exit code {exit_code}, evidence {evidence}",
    "already_green": "passes",
    "absent": "finds no tests yet",
}
_BILLING_WORDS: Mapping[Billing, str] = {
    "api": "api: each request is billed to your API key",
    "subscription": "subscription: the limits of your plan apply",
    "scripted": "scripted: nothing, a script answers instead of a model",
    "none": "none: the agent uses no model",
}
_SLEEP_WORDS: Mapping[Sleep, str] = {
    "kept_awake": "the machine is kept awake until then",
    "allowed": "the machine may sleep meanwhile, as --allow-sleep or limits.keep_awake says",
    "far_away": "the machine may sleep meanwhile: only a time within 12 hours keeps it awake",
    "on_battery": "the machine may sleep meanwhile: it has no mains power",
    "no_program": "the machine may sleep meanwhile: neither systemd-inhibit nor caffeinate keeps it awake",
}
BEFORE_WORDS = {
    "red": "fails before the work, as expected",
    "already_green": "already passes before any work",
    "absent": "cannot run yet: a program or file it needs does not exist",
}


_RunFact = (
    RunStarted
    | RunResumed
    | RunWaiting
    | PlanTaken
    | SettingsTaken
    | BranchReady
    | Notice
    | StillRunning
    | CancelRequested
    | EndToEndEnded
    | RunEnded
)
_BaseFact = SetupStarted | SetupEnded | BaseChecked | BaseMoved
_TaskFact = TaskStarted | TaskAccepted | QuestionAsked | QuestionAnswered | TaskFinished
_AttemptFact = AttemptStarted | AttemptAdopted | StopBegun | AgentText | AgentTool | LimitSeen | AttemptEnded
_CandidateFact = CandidateMade | CandidateRefused | GateStarted | GateEnded | CrossChecked | LandingRefused
_FolderFact = TreeSaved | TreeCompared | EditsCommitted | UndoStarted | WorkUndone
_SilentFact = (
    BaseRunEnded
    | ContainerCreated
    | ContainerStarted
    | LandingStarted
    | LimitPassed
    | NamesReserved
    | WaitEnded
    | SetAsideStarted
    | TreeSetAside
    | LayBackStarted
    | TreeLaidBack
    | WindowsSeen
)


_NOTHING_KNOWN = RunView()


def lines(fact: Fact, view: RunView = _NOTHING_KNOWN, zone: Zone = None) -> list[str]:
    """The lines that the user reads of a fact; none for a fact that says nothing new.

    `view` is the run after this fact.
    """
    body = fact.body
    if isinstance(body, _RunFact):
        return _run_lines(fact, body, view, zone)
    if isinstance(body, _BaseFact):
        return _base_lines(fact, body)
    if isinstance(body, _TaskFact):
        return _task_lines(fact, body, view)
    if isinstance(body, _AttemptFact):
        return _attempt_lines(fact, body, view, zone)
    if isinstance(body, _CandidateFact):
        return _candidate_lines(body)
    if isinstance(body, _FolderFact):
        return _folder_lines(body)
    if isinstance(body, _SilentFact):
        return []
    assert_never(body)


def _run_lines(fact: Fact, body: _RunFact, view: RunView, zone: Zone) -> list[str]:
    match body:
        case RunStarted():
            return [
                f"run {fact.run}: {one_line(body.plan_title)} ({one_line(body.plan)})",
                *_billing_lines(body.billing),
                f"branch {body.branch}, from {body.base[:12]}, agent {body.options.agent}",
                f"started {moment(fact.at, zone)}",
            ]
        case RunResumed():
            again = f"run {fact.run} resumed {moment(fact.at, zone)}{_describe_done(view.state)}"
            return [again, *_billing_lines(body.billing)]
        case RunWaiting():
            until = "its question is answered" if body.until is None else moment(body.until, zone)
            why = f": {one_line(body.reason, 300)}" if body.reason else ""
            return [f"waits   until {until}{why}", *_sleep_lines(body)]
        case PlanTaken():
            again = f", to be done again: {', '.join(body.redo)}" if body.redo else ""
            return [f"plan    the edited version is used, {len(body.tasks)} tasks{again}"]
        case SettingsTaken():
            return [f"config  the current settings are used, {len(body.changes)} changed"]
        case BranchReady():
            return [f"branch  {body.branch} at {body.commit[:12]}"]
        case Notice():
            first, *more = plain(body.text).splitlines() or [""]
            return [f"note    {one_line(first, 400)}", *[f"        {one_line(text, 400)}" for text in more]]
        case StillRunning():
            last = f": {one_line(body.text, 160)}" if body.text else ""
            return [f"  runs  {body.what}, {body.seconds:.0f} s{last}"]
        case CancelRequested():
            return ["cancel requested"]
        case EndToEndEnded():
            return [f"end to end: {body.status}"]
        case RunEnded():
            return [_describe_end_of_run(fact, body, view, zone)]


def _sleep_lines(body: RunWaiting) -> list[str]:
    return [] if body.sleep is None else [f"        {_SLEEP_WORDS[body.sleep]}"]


def _billing_lines(billing: Billing | None) -> list[str]:
    return [] if billing is None else [f"billing {_BILLING_WORDS[billing]}"]


def _base_lines(fact: Fact, body: _BaseFact) -> list[str]:
    match body:
        case SetupStarted():
            if body.found:  # the commands of a package manager are long, and not the user's
                return [f"setup   installs the dependencies of {', '.join(body.found)}"]
            return [f"setup   {first_line(command, 200)}" for command in body.commands]
        case SetupEnded():
            return _setup_lines(fact, body)
        case BaseChecked():
            return _base_check_lines(fact, body)
        case BaseMoved():
            return [f"base    HEAD has moved to {body.base[:12]}; the run begins there"]


def _task_lines(fact: Fact, body: _TaskFact, view: RunView) -> list[str]:
    match body:
        case TaskStarted():
            return [f"task    {fact.task}{_describe_position(fact, view.state)}: {one_line(body.title)}"]
        case TaskAccepted():
            return [f"accept  task {fact.task} counts as done if its checks pass (by {one_line(body.by)})"]
        case QuestionAsked():
            return question_lines(body, fact.task)
        case QuestionAnswered():
            return [f"answer  {one_line(body.text, 200)} (by {one_line(body.by)})"]
        case TaskFinished():
            return [_describe_finished_task(fact, body, view.state), *_list_undeclared(body)]


def _attempt_lines(fact: Fact, body: _AttemptFact, view: RunView, zone: Zone) -> list[str]:
    match body:
        case AttemptStarted():
            session = "session resumed" if body.resumed else "new session"
            return [f"attempt {fact.task}/{fact.attempt} in {body.container} ({session})"]
        case AttemptAdopted():
            return [f"attempt {fact.task}/{fact.attempt} adopted: its agent is at work in {body.container}"]
        case StopBegun():
            return [f"stop    attempt {fact.task}/{fact.attempt}: {one_line(body.seen, 300)}"]
        case AgentText():
            return [f"  says  {one_line(body.text, 200)}"] if body.text else []
        case AgentTool():
            return [f"  does  {one_line(body.name, 40)}: {one_line(body.summary, 160)}"]
        case LimitSeen():
            # That the status alone does not say it, the agent's own error has to: until then it is nothing.
            return [] if body.effect == "end_if_claimed" else [_limit_line(body, zone)]
        case AttemptEnded():
            reason = f": {one_line(body.reason, 300)}" if body.reason else ""
            end = f"attempt {fact.task}/{fact.attempt} {body.status.replace('_', ' ')}"
            took = [
                f" after {_describe_time(fact, each.started)}" for each in _attempts(fact, view.state)[-1:]
            ]
            end = "".join((end, *took, reason))
            return [end, *_quote(body.stderr_tail)[-5:]]


def _limit_line(body: LimitSeen, zone: Zone) -> str:
    answer = "no connection to the provider" if body.status is None else f"the provider answers {body.status}"
    model = "" if body.model is None else f" for {one_line(body.model, 80)}"
    until = "" if body.until is None else f", until {moment(body.until, zone)}"
    return f"limit   {body.cause.replace('_', ' ')}: {answer}{model}{until}"


def _candidate_lines(body: _CandidateFact) -> list[str]:
    match body:
        case CandidateMade():
            found = [f"candidate {body.commit[:12]}" + ("" if body.changed else ", nothing changed")]
            found += [f"  left out: {one_line(path)}" for path in body.left_out]
            if body.scratch:
                found.append(f"  left out as scratch, stays in the folder: {_shorten(body.scratch)}")
            found += [f"  moved away: {one_line(path)}" for path in body.moved_away]
            return found
        case CandidateRefused():
            return [f"refused {one_line(body.reason, 300)}"]
        case GateStarted():
            return [f"gate    {body.gate}: {first_line(body.command, 100)}"]
        case GateEnded():
            return _gate_lines(body)
        case CrossChecked():
            return [_describe_cross_check(body)]
        case LandingRefused():
            what, *next_steps = body.reason.splitlines()
            return [
                f"not landed: {one_line(what, 300)}",
                *(f"        {one_line(step, 2000)}" for step in next_steps),
            ]


def _folder_lines(body: _FolderFact) -> list[str]:
    match body:
        case TreeSaved():
            return [f"saved   the folder as {body.ref}"]
        case TreeCompared():
            return [f"edited  by you: {_shorten(body.edited)}"] if body.edited else []
        case EditsCommitted():
            return [f"commit  your changes to {_shorten(body.paths)} as {body.commit[:12]}"]
        case UndoStarted():
            return [f"saved   the folder as {body.ref}"]
        case WorkUndone():
            return [f"task    {each.task} undone, its commit was {each.commit[:12]}" for each in body.tasks]


def _base_check_lines(fact: Fact, body: BaseChecked) -> list[str]:
    whose = "" if fact.task is None else f"task {fact.task}: "
    command = f" ({first_line(body.command, 60)})" if body.is_guard else ""
    line = f"base    {whose}{body.gate}{command} {_describe_before(body)}"
    if body.age_seconds is not None:
        line += f", as it did {duration(body.age_seconds)} ago (evidence {body.reused})"
    return [line]


def _describe_before(body: BaseChecked) -> str:
    """A task's own check is expected to fail before the work; a guard and a build are not."""
    if body.is_guard:
        return _GUARD_WORDS[body.before].format(exit_code=body.exit_code, evidence=body.evidence)
    if body.gate.startswith("build-") and body.before == "red":
        return "already fails on the base commit; fix it first unless that is the task"
    return BEFORE_WORDS[body.before]


def _setup_lines(fact: Fact, body: SetupEnded) -> list[str]:
    if body.status == "failed":
        # Without a task the run ends with this very reason, as the command's error.
        reason = _quote(body.reason or "") if fact.task is not None else []
        return [f"setup   failed after {body.seconds:.1f} s", *reason]
    how = "reused from an earlier run" if body.status == "reused" else f"done in {body.seconds:.1f} s"
    found = [f"setup   {how}, image {(body.image or '').removeprefix('sha256:')[:12]}"]
    if body.changed:
        found.append(
            f"setup   changed tracked files; agents and gates do not see that: {_shorten(body.changed)}"
        )
    return found


def _quote(text: str) -> list[str]:
    return [f"        | {one_line(line, 160)}" for line in plain(text).rstrip().splitlines()]


def _shorten(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return one_line(", ".join(paths[:3]), 200) + more


def _gate_lines(body: GateEnded) -> list[str]:
    known = f" (copied from {body.reused}, not run again)" if body.reused else ""
    known += f", round {body.round}" if body.round > 1 else ""
    known += ", flaky: the rounds do not agree" if body.flaky and body.round > 2 else ""
    red = ", as before the work" if body.fails_as_before and body.before == "red" else ""
    result = (
        f"gate    {body.gate}: {body.verdict}{red}, {body.seconds:.1f} s, evidence {body.evidence}{known}"
    )
    match body.verdict:
        case "pass":
            return [result]
        case "fail":
            return [f"{result}, exit code {body.exit_code}", *_quote(body.tail)[-5:]]
        case "unavailable":
            return [result, *_quote(body.detail or body.tail)[-5:]]


_TREE_WORDS: Mapping[CrossTree, str] = {
    "fail_to_pass": "without the work",
    "unchanged_checks": "with the check files from before the work",
    "empty_tree": "without any file",
}
_RESULT_WORDS: Mapping[CrossResult, str] = {
    "pass": "passes",
    "fail": "fails",
    "absent": "cannot run",
    "unavailable": "could not be run",
}


def _describe_cross_check(body: CrossChecked) -> str:
    said = f"{_RESULT_WORDS[body.result]} {_TREE_WORDS[body.corner]}"
    why = f": {one_line(body.detail, 200)}" if body.result == "unavailable" else ""
    return f"gate    {body.gate} {said}, {body.seconds:.1f} s, evidence {body.evidence}{why}"


def _describe_position(fact: Fact, state: RunState | None) -> str:
    at = None if state is None else position(state, fact.task)
    return "" if at is None else f" ({at.number} of {at.total})"


def _describe_done(state: RunState | None) -> str:
    if state is None:
        return ""
    done, total = count_done(state)
    return f", {done} of {total} tasks done"


def _attempts(fact: Fact, state: RunState | None) -> tuple[AttemptState, ...]:
    """The attempts of a fact's task that count."""
    task = None if state is None or fact.task is None else state.tasks.get(fact.task)
    return () if task is None else task.current_attempts


def _describe_time(fact: Fact, since: str) -> str:
    return duration(seconds_between(since, fact.at))


def _list_undeclared(body: TaskFinished) -> list[str]:
    if not body.undeclared_files:
        return []
    return [f"        it also changed files that its plan does not name: {list_names(body.undeclared_files)}"]


def _describe_finished_task(fact: Fact, body: TaskFinished, state: RunState | None) -> str:
    commit = f" as {body.commit[:12]}" if body.commit else ""
    took = "".join(f" in {_describe_time(fact, each.started)}" for each in _attempts(fact, state)[:1])
    done = _describe_done(state) if body.status == "completed" else ""
    unverified = ", unverified" if body.verification == "unverified" else ""
    reason = f": {one_line(body.reason, 300)}" if body.reason else ""
    return f"task    {fact.task} {body.status}{commit}{took}{done}{unverified}{reason}"


def _describe_end_of_run(fact: Fact, body: RunEnded, view: RunView, zone: Zone) -> str:
    if body.status == "failed" and body.exit_code == NOT_BEGUN:
        return f"run {fact.run} failed before its first task"
    # A reason of one word says no more than the status, and the line of a failed task has just said why.
    is_said = body.reason in (None, body.status) or (
        view.state is not None and is_reason_of_a_task(body, view.state)
    )
    lines = [line.rstrip(" .") for line in (body.reason or "").splitlines() if line.strip()]
    reason = "" if is_said else f": {one_line('. '.join(lines), 300)}"
    until = f" (until {moment(body.until, zone)})" if body.until else ""
    took = "" if view.began is None else f" after {duration(seconds_between(view.began, fact.at))}"
    return f"run {fact.run} {body.status}{took}{reason}{until}"
