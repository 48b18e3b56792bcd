"""Tables for the user: columns as wide as their cells, no markup.

A screen that is too narrow for a table gets a list of its rows instead, with a line for each cell.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from orchestrator.cli.next_step import choose_run_to_continue, next_step
from orchestrator.cli.screen import shorten_end, width
from orchestrator.cli.times import Zone, clock_time, duration, moment, seconds_between
from orchestrator.project.catalog import RunCatalog
from orchestrator.run.endings import is_reason_of_a_task
from orchestrator.run.facts import BaseChecked, QuestionAsked, RunStatus
from orchestrator.run.progress import Doing, position
from orchestrator.run.proof import describe_thin_proofs
from orchestrator.run.report import Owner, run_status, task_status
from orchestrator.run.state import RunState, TaskState
from orchestrator.text import first_line, one_line, plain

_STATUS_WORDS = {"imported": "done before", "skipped": "left out"}
"""Where the stored word is not one that the user would say."""
WHOLE = 4096
"""Characters of a cell that is not shortened: no plan has a longer title, and no system a longer path."""


LEAST_COLUMNS = 8
"""A cell that is shortened keeps at least so much, also where the screen is too narrow for the table."""


class Flexible(NamedTuple):
    """A column whose cells may be shortened, so that the table fits the screen."""

    column: int
    shorten: Callable[[str, int], str]


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    screen: int | None = None,
    flexible: Sequence[Flexible] = (),
) -> str:
    """Left-aligned columns with a line under the header.

    On a screen of `screen` columns the flexible ones are shortened, the first one first, as far as needed. If
    that is not enough, each row becomes a block of lines.
    """
    whole = rows
    widths = [max(width(row[column]) for row in [header, *rows]) for column in range(len(header))]
    excess = 0 if screen is None else sum(widths) + 2 * (len(widths) - 1) - screen
    for column, shorten in flexible if excess > 0 else ():
        least = max(LEAST_COLUMNS, width(header[column]))
        size = min(widths[column], max(least, widths[column] - max(excess, 0)))
        excess -= widths[column] - size
        widths[column] = size
        rows = [
            [shorten(cell, size) if number == column else cell for number, cell in enumerate(row)]
            for row in rows
        ]
    if screen is not None and excess > 0:
        return _list_rows(header, whole, screen, {each.column: each.shorten for each in flexible})
    lines = [
        "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], "  ".join("─" * size for size in widths), *lines[1:]])


def _list_rows(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    screen: int,
    shorten: Mapping[int, Callable[[str, int], str]],
) -> str:
    """A block for each row: `name  cell`, or the cell below its name where both do not fit into one line."""
    names = max(map(width, header)) + 2
    blocks = []
    for row in rows:
        lines = []
        for column, (name, cell) in enumerate(zip(header, row, strict=True)):
            beside = f"{name}{' ' * (names - width(name))}"
            if column in shorten:
                lines.append(f"{beside}{shorten[column](cell, max(screen - names, LEAST_COLUMNS))}")
            elif names + width(cell) <= screen:
                lines.append(f"{beside}{cell}")
            else:
                lines += [name, f"  {cell}"]
        blocks.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(blocks)


def _shorten_path(path: str, size: int) -> str:
    """Its end says which project it is, so a long path loses its beginning."""
    if width(path) <= size:
        return path
    while width(path) > size - 1:
        path = path[1:]
    return f"…{path}"


class View(Struct, frozen=True, kw_only=True):
    """Everything that a table shows and that the stored facts of a run do not contain."""

    owner: Owner | None = None
    """The process that carries it out now."""
    here: Path | None = None
    """The folder of the reader, from which the next command would be typed."""
    now: str | None = None
    """The present time, for a run that is carried out."""
    doing: tuple[Doing, ...] = ()
    has_events: bool = False
    """Whether the lines of the run are just above, with the reason for which a task failed."""
    zone: Zone = None
    screen: int | None = None
    """The columns of the terminal; None: nothing is shortened, because the output goes elsewhere."""


def runs_table(
    runs: Sequence[tuple[RunState, Owner | None]], zone: Zone = None, screen: int | None = None
) -> str:
    """A line for each run."""
    rows = [
        (
            state.run,
            run_status(state, owner) + (f", {state.unverified} unverified" if state.unverified else ""),
            moment(state.started_at, zone),
            one_line(state.start.plan_title, WHOLE),
            one_line(state.start.folder, WHOLE),
        )
        for state, owner in runs
    ]
    flexible = (Flexible(3, shorten_end), Flexible(4, _shorten_path))
    return table(("run", "status", "started", "plan", "folder"), rows, screen=screen, flexible=flexible)


def next_of_runs(catalog: RunCatalog, runs: Sequence[tuple[RunState, Owner | None]]) -> str:
    """The `next:` line below a list of runs, which may be outlines; `runs` is not empty.

    It belongs on standard error: programs take each line of a list on standard output for a run.
    """
    chosen = choose_run_to_continue([(state, run_status(state, owner)) for state, owner in runs])
    assert chosen is not None
    state, owner = catalog.run(chosen), catalog.owner(chosen)
    step = next_step(state, run_status(state, owner), catalog.here, has_owner=owner is not None)
    return f"next: {step.command}"


def run_table(state: RunState, view: View) -> str:
    """A run at a glance: its tasks with commits and evidence, how it ended or what it does, the next step."""
    status = run_status(state, view.owner)
    rows = [_task_row(state, task, status, view.now) for task in state.tasks.values()]
    header = ("task", "title", "status", "commit", "attempts", "time", "evidence")
    parts = [table(header, rows, screen=view.screen, flexible=(Flexible(1, shorten_end),))]
    if state.end_to_end is not None:
        parts.append(f"end to end: {state.end_to_end.status} ({', '.join(state.end_to_end.evidence)})")
    for question in state.open_questions:
        parts += question_lines(question.asked, question.task)
    parts.append(_status_line(state, status, view))
    parts += _describe_windows(state, view)
    parts += _describe_totals(state)
    if status == "running":
        parts += [_describe_doing(doing, view) for doing in view.doing]
    parts += _describe_unverified(state)
    thin = describe_thin_proofs(state)
    parts += [] if thin is None else [thin]
    step = next_step(state, status, view.here, has_owner=view.owner is not None)
    parts += [*step.before, f"next: {step.command}"]
    return "\n" + "\n".join(parts)


def _describe_windows(state: RunState, view: View) -> list[str]:
    """How much of the subscription's windows is used; a window that has ended since says nothing."""
    shown = []
    for each in state.windows:
        if each.resets is not None and (view.now is None or each.resets > view.now):
            share = f"{each.utilization:.0%} of the {each.window.replace('_', ' ')} window"
            shown.append(f"{share}, until {moment(each.resets, view.zone)}")
    return [f"used: {'; '.join(shown)}"] if shown else []


_BEFORE_WORDS = {"already_green": "passes", "red": "fails", "absent": "cannot run yet"}


def base_table(state: RunState, screen: int | None = None) -> str:
    """A row for each command that ran on the base, with its verdict and the run that holds the evidence."""
    shown = [each for each in state.base if each.check.commit is None]
    rows = [
        (
            one_line(each.task or ("end to end" if each.check.gate.startswith("e2e-") else "all"), WHOLE),
            first_line(each.check.command, WHOLE),
            _describe_result(each.check),
            str(each.check.exit_code),
            duration(each.check.seconds),
            each.check.evidence,
        )
        for each in shown
    ]
    header = ("task", "command", "before the work", "exit", "time", "evidence")
    flexible = (Flexible(1, shorten_end),)
    shown_rows = table(header, rows, screen=screen, flexible=flexible) if rows else "no commands to check"
    return f"{shown_rows}\nrun {state.run}"


def _describe_result(check: BaseChecked) -> str:
    age = "" if check.age_seconds is None else f", as it did {duration(check.age_seconds)} ago"
    return f"{_BEFORE_WORDS[check.before]}{age}"


def _task_row(state: RunState, task: TaskState, run: RunStatus, now: str | None) -> tuple[str, ...]:
    finished, stored = task.finished, task_status(state, task)
    status = "interrupted" if stored == "running" and run == "interrupted" else stored
    commit = finished.commit[:12] if finished is not None and finished.commit is not None else "-"
    is_unverified = finished is not None and finished.verification == "unverified"
    candidate = task.last.candidate if task.last is not None else None
    gates = task.last.gates if task.last is not None else ()
    red_before = {gate.evidence for gate in gates if gate.fails_as_before and gate.before == "red"}
    skipped = set(task.last.skipped_evidence) if task.last is not None else set()
    evidence = ", ".join(
        f"{id} (red before)" if id in red_before else id
        for id in (candidate.evidence if candidate is not None else ())
        if id not in skipped
    )
    return (
        one_line(task.entry.id, WHOLE),
        one_line(task.entry.title, WHOLE),
        _STATUS_WORDS.get(status, status) + (", unverified" if is_unverified else ""),
        commit,
        str(len(task.attempts)),
        _describe_agent_time(task, now if run == "running" else None),
        evidence or "-",
    )


def _describe_agent_time(task: TaskState, now: str | None) -> str:
    """How long the task's attempts took together; `now` ends one that is still at work."""
    ends = [(attempt.started, attempt.ended or now) for attempt in task.attempts]
    took = [seconds_between(started, ended) for started, ended in ends if ended is not None]
    return duration(sum(took)) if took else "-"


def question_lines(asked: QuestionAsked, task: str | None) -> list[str]:
    """A question with its options, as the run's own lines and the table show it."""
    found = [f"question {asked.question} of task {task}:"]
    found += [f"        {one_line(line, 300)}" for line in plain(asked.text).splitlines()]
    found += [f"        {number}. {one_line(option, 200)}" for number, option in enumerate(asked.options, 1)]
    if asked.recommendation:
        found.append(f"        recommended: {one_line(asked.recommendation, 200)}")
    return found


def _status_line(state: RunState, status: RunStatus, view: View) -> str:
    end, about = state.end, f", branch {plain(state.start.branch)}"
    if status == "running" and view.owner is not None:
        since = moment(view.owner.since, view.zone)
        at = [place for each in view.doing if (place := position(state, each.task)) is not None]
        where = "".join(f", task {each.number} of {each.total}" for each in at[:1])
        return f"run {state.run} running since {since}{where}, process {view.owner.pid}{about}"
    waiting = state.waiting if end is None and view.owner is not None else None
    shown = end or waiting
    is_said = view.has_events and end is not None and is_reason_of_a_task(end, state)
    text = shown.reason if shown is not None and shown.reason and not is_said else status
    # Only the first line: the command that ended the run prints the whole reason as its error.
    reason = f": {one_line(text.splitlines()[0], 300)}" if text != status else ""
    until = f" (until {moment(shown.until, view.zone)})" if shown is not None and shown.until else ""
    process = f", process {view.owner.pid}" if waiting is not None and view.owner is not None else ""
    # The command that ended the run has just printed the time.
    ended = f", ended {moment(state.ended_at, view.zone)}" if view.now and state.ended_at else ""
    return f"run {state.run} {status}{reason}{until}{process}{about}{ended}"


def describe_work(doing: Doing) -> str:
    """The work in words, not yet `plain`."""
    match doing.what:
        case "setup":
            return "installing dependencies" + (f" for task {doing.task}" if doing.task else "")
        case "attempt":
            return f"the agent is working on attempt {doing.task}/{doing.attempt}"
        case "gate":
            of = f" of task {doing.task}" if doing.task else ""
            return f"gate {doing.name}{of}, {first_line(doing.command, 100)}"
        case "landing":
            return f"moving the branch to the commit of task {doing.task}"
        case "base":
            return "checking the base commit"
        case _:
            return "between two steps"


def _describe_doing(doing: Doing, view: View) -> str:
    """One line: what, for how long, and the last line that it printed."""
    what = describe_work(doing)
    since = f" (since {clock_time(doing.since, view.zone)})"
    how_long = f", for {duration(seconds_between(doing.since, view.now))}" if view.now is not None else ""
    last = f", last output: {one_line(doing.last_output, 160)}" if doing.last_output else ""
    return f"now: {plain(what)}{how_long}{since}{last}"


def _describe_totals(state: RunState) -> list[str]:
    """How long a run took that has ended, and the number, the tokens and the cost of its attempts."""
    attempts = sum(len(task.attempts) for task in state.tasks.values())
    if state.ended_at is None or not attempts:
        return []
    took = duration(seconds_between(state.started_at, state.ended_at))
    count = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return [f"in total: {', '.join([f'{took} since its start', count, *describe_usage(state)])}"]


def describe_usage(state: RunState) -> list[str]:
    """Tokens and cost of the attempts that have ended, as far as their agents report them."""
    usage = state.usage
    read = usage.input_tokens + usage.cache_write_tokens + usage.cache_read_tokens
    found = []
    if read or usage.output_tokens:
        found.append(f"{read:,} tokens in, {usage.output_tokens:,} out")
    if usage.cost_usd:
        found.append(f"{usage.cost_usd:.2f} USD")
    return found


def _describe_unverified(state: RunState) -> list[str]:
    """How many finished tasks no check has verified; just before the next step."""
    found = [
        task.entry.id
        for task in state.tasks.values()
        if task.finished is not None and task.finished.verification == "unverified"
    ]
    if not found:
        return []
    which = one_line(", ".join(found), 200)
    if len(found) == 1:
        return [f"1 finished task is unverified, no check has shown that it is done: {which}"]
    return [f"{len(found)} finished tasks are unverified, no check has shown that they are done: {which}"]
