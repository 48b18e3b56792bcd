"""Facts as lines for a person. Text of an agent is printed as text, never as markup or control codes."""

from collections.abc import Callable

from orchestrator.run.facts import (
    AgentText,
    AgentTool,
    AttemptEnded,
    AttemptStarted,
    BaseChecked,
    BaseRunEnded,
    BranchReady,
    CancelRequested,
    CandidateMade,
    CandidateRefused,
    EditsCommitted,
    EndToEndEnded,
    Fact,
    GateEnded,
    GateStarted,
    LandingRefused,
    LandingStarted,
    NamesReserved,
    Notice,
    PlanTaken,
    QuestionAnswered,
    QuestionAsked,
    RunEnded,
    RunResumed,
    RunStarted,
    SetupEnded,
    SetupStarted,
    StillRunning,
    TaskFinished,
    TaskStarted,
    TreeLookedAt,
    TreeSaved,
    UndoStarted,
    WorkUndone,
)
from orchestrator.text import one_line, plain

BEFORE_WORDS = {
    "red": "fails before the work, as expected",
    "already_green": "passes already, before any work",
    "absent": "cannot run yet: what it needs is not there",
}


class Console:
    """A listener that writes one line for each thing that happens."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def __call__(self, fact: Fact) -> None:
        for line in lines(fact):
            clock = fact.at[11:19]
            self._write(f"{clock}  {line}")


def lines(fact: Fact) -> list[str]:  # noqa: C901 - one flat table
    """What a person reads of a fact; nothing for those that say nothing new."""
    match fact.body:
        case RunStarted() as body:
            return [
                f"run {fact.run}: {one_line(body.plan_title)} ({one_line(body.plan)})",
                f"branch {body.branch}, from {body.base[:12]}, agent {body.options.agent}",
            ]
        case RunResumed():
            return [f"run {fact.run} goes on"]
        case PlanTaken() as body:
            again = f", done again: {', '.join(body.redo)}" if body.redo else ""
            return [f"plan    taken as it is now, {len(body.tasks)} tasks{again}"]
        case Notice() as body:
            return [f"note    {one_line(body.text, 400)}"]
        case SetupStarted() as body:
            why = f" (found {', '.join(body.found)})" if body.found else ""
            return [f"setup   {one_line(command, 200)}{why}" for command in body.commands]
        case SetupEnded() as body:
            return _setup_lines(body)
        case StillRunning() as body:
            last = f": {one_line(body.text, 160)}" if body.text else ""
            return [f"  runs  {body.what}, {body.seconds:.0f} s{last}"]
        case BaseChecked() as body:
            return [f"base    task {fact.task}: {body.gate} {_before(body)}"]
        case BaseRunEnded() | AgentText(text=""):
            return []
        case BranchReady() as body:
            return [f"branch  {body.branch} at {body.commit[:12]}"]
        case TaskStarted() as body:
            return [f"task    {fact.task}: {one_line(body.title)}"]
        case AttemptStarted() as body:
            session = "session goes on" if body.resumed else "new session"
            return [f"attempt {fact.task}/{fact.attempt} in {body.container} ({session})"]
        case AgentText() as body:
            return [f"  says  {one_line(body.text, 200)}"]
        case AgentTool() as body:
            return [f"  does  {one_line(body.name, 40)}: {one_line(body.summary, 160)}"]
        case AttemptEnded() as body:
            reason = f": {one_line(body.reason, 300)}" if body.reason else ""
            return [f"attempt {fact.task}/{fact.attempt} {body.status.replace('_', ' ')}{reason}"]
        case TreeSaved() as body:
            return [f"saved   the folder as {body.ref}"]
        case CandidateMade() as body:
            return _candidate_lines(body)
        case CandidateRefused() as body:
            return [f"refused {one_line(body.reason, 300)}"]
        case GateStarted() as body:
            return [f"gate    {body.gate}: {one_line(body.command, 100)}"]
        case GateEnded() as body:
            return _gate_lines(body)
        case LandingStarted() | NamesReserved():
            return []
        case LandingRefused() as body:
            return [f"not landed: {one_line(body.reason, 300)}"]
        case EditsCommitted() as body:
            return [f"yours   {_few(body.paths)} committed as {body.commit[:12]}"]
        case TreeLookedAt() as body:
            return [f"edited  {_few(body.edited)}"] if body.edited else []
        case UndoStarted() as body:
            return [f"saved   the folder as {body.ref}"]
        case WorkUndone() as body:
            return [f"task    {each.task} undone, its commit was {each.commit[:12]}" for each in body.tasks]
        case CancelRequested():
            return ["to be cancelled"]
        case TaskFinished() as body:
            return [_finished_line(fact, body)]
        case QuestionAsked() as body:
            return _question_lines(fact, body)
        case QuestionAnswered() as body:
            return [f"answer  {one_line(body.text, 200)} (by {one_line(body.by)})"]
        case EndToEndEnded() as body:
            return [f"end to end: {body.status}"]
        case RunEnded() as body:
            return [_ended_line(fact, body)]


def _before(body: BaseChecked) -> str:
    """A check is expected to fail before the work; a build is not."""
    if body.gate.startswith("build-") and body.before == "red":
        return "fails on the base: mend it, unless the task is to"
    return BEFORE_WORDS[body.before]


def _setup_lines(body: SetupEnded) -> list[str]:
    if body.status == "failed":
        return [f"setup   failed after {body.seconds:.1f} s", *_quoted(body.reason or "")]
    how = "done before" if body.status == "reused" else f"done in {body.seconds:.1f} s"
    found = [f"setup   {how}, image {(body.image or '').removeprefix('sha256:')[:12]}"]
    if body.changed:
        found.append(f"setup   changes tracked files, and nobody sees these changes: {_few(body.changed)}")
    return found


def _quoted(text: str) -> list[str]:
    return [f"        | {one_line(line, 160)}" for line in plain(text).rstrip().splitlines()]


def _few(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return one_line(", ".join(paths[:3]), 200) + more


def _candidate_lines(body: CandidateMade) -> list[str]:
    found = [f"candidate {body.commit[:12]}" + ("" if body.changed else ", nothing changed")]
    found += [f"  left out: {one_line(path)}" for path in body.left_out]
    found += [f"  moved away: {one_line(path)}" for path in body.moved_away]
    return found


def _gate_lines(body: GateEnded) -> list[str]:
    result = f"gate    {body.gate}: {body.verdict}, {body.seconds:.1f} s, evidence {body.evidence}"
    if body.verdict != "fail":
        return [result]
    return [f"{result}, exit code {body.exit_code}", *_quoted(body.tail)[-5:]]


def _finished_line(fact: Fact, body: TaskFinished) -> str:
    commit = f" as {body.commit[:12]}" if body.commit else ""
    reason = f": {one_line(body.reason, 300)}" if body.reason else ""
    return f"task    {fact.task} {body.status}{commit}{reason}"


def _question_lines(fact: Fact, body: QuestionAsked) -> list[str]:
    found = [f"question {body.question} of task {fact.task}:"]
    found += [f"        {one_line(line, 300)}" for line in plain(body.text).splitlines()]
    found += [f"        {number}. {one_line(option, 200)}" for number, option in enumerate(body.options, 1)]
    if body.recommendation:
        found.append(f"        recommended: {one_line(body.recommendation, 200)}")
    return found


def _ended_line(fact: Fact, body: RunEnded) -> str:
    reason = f": {one_line(body.reason, 300)}" if body.reason else ""
    until = f" (until {body.until})" if body.until else ""
    return f"run {fact.run} {body.status}{reason}{until}"
