"""The block below the finished lines of a run, drawn from the model: what happens now, and what is left.

Everything that it depends on is in its arguments, so that a test draws it without a terminal.
"""

from collections.abc import Iterator

from msgspec import Struct

from orchestrator.cli.screen import Row, fold, shorten_end, width
from orchestrator.cli.tables import describe_usage, describe_work
from orchestrator.cli.times import Zone, duration, moment, seconds_between
from orchestrator.cli.tones import Tone
from orchestrator.run.facts import AgentText, RunWaiting
from orchestrator.run.progress import Doing, count_done
from orchestrator.run.state import QuestionState, RunState, TaskState
from orchestrator.run.view import RunView
from orchestrator.text import first_line, one_line, plain

MOST_ROWS = 12
FEWEST_ROWS = 8
"""On a screen with fewer rows the block is one line, so that the finished lines have room."""
MOST_WORK = 2
"""Of several tasks at work at the same time, so many are shown."""
_INDENT = 8
"""The width of the words in front: those of finished lines are as wide."""


class Preparation(Struct, frozen=True, kw_only=True):
    """Work before a run has its first fact."""

    what: str
    since: str
    last_output: str = ""


class Screen(Struct, frozen=True, kw_only=True):
    """The terminal and the moment that a block is drawn for."""

    columns: int
    rows: int
    now: str
    """The present time, in the format of facts."""
    zone: Zone = None
    hint: str = ""
    """The keys that the user can press."""


def draw_block(view: RunView, screen: Screen, preparation: Preparation | None = None) -> list[Row]:
    """At most MOST_ROWS rows, or one on a screen with fewer than FEWEST_ROWS, none wider than the screen."""
    if screen.rows < FEWEST_ROWS:
        rows = [_one_row(view, screen, preparation)]
    elif view.question is not None and not view.doing:
        rows = [*_header(view, screen), *question_rows(view.question, screen)]
    else:
        rows = [*_header(view, screen), *_draw_work(view, screen, preparation), *_draw_hint(screen)]
    return [Row(shorten_end(plain(row.text), screen.columns), row.tone) for row in rows[:MOST_ROWS]]


def _header(view: RunView, screen: Screen) -> Iterator[Row]:
    state = view.state
    if state is None:
        return
    done, total = count_done(state)
    numbers = [f"── run {state.run}", f"{done} of {total} tasks done"]
    if view.began is not None:
        numbers.append(_describe_elapsed(view.began, screen))
    yield Row(", ".join([*numbers, *describe_usage(state)]), "strong")
    yield Row(_draw_tasks(view, state, screen.columns))


_SIGNS = {"done": "✓", "failed": "✗", "asks": "?", "now": "▶", "to come": "·"}


def _draw_tasks(view: RunView, state: RunState, columns: int) -> str:
    """All tasks in one row: each with its sign, or, where the row is too narrow, how many there are."""
    asking = {question.task for question in state.open_questions}
    kinds = {
        id: _kind_of(id, task, view, asking)
        for id, task in state.tasks.items()
        if task.finished is None or task.finished.status != "skipped"
    }
    head = "tasks".ljust(_INDENT)
    if len(kinds) <= columns:  # a longer list cannot fit
        row = head + "  ".join(f"{_SIGNS[kind]} {one_line(id)}" for id, kind in kinds.items())
        if width(row) <= columns:
            return row
    counts = {kind: list(kinds.values()).count(kind) for kind in _SIGNS}
    now = ", ".join(one_line(id) for id, kind in kinds.items() if kind == "now")
    parts = [
        f"{_SIGNS[kind]} {now if kind == 'now' else f'{number} {kind}'}"
        for kind, number in counts.items()
        if number
    ]
    return head + "  ".join(parts)


def _kind_of(id: str, task: TaskState, view: RunView, asking: set[str | None]) -> str:
    if task.finished is not None:
        return "failed" if task.has_failed else "done"
    if id in asking:
        return "asks"
    is_now = id in view.work or (bool(task.current_attempts) and bool(view.doing))
    return "now" if is_now else "to come"


def _draw_work(view: RunView, screen: Screen, preparation: Preparation | None) -> Iterator[Row]:
    if preparation is not None:
        yield Row(f"now     {preparation.what}, {_describe_elapsed(preparation.since, screen)}")
        yield from _quote(preparation.last_output)
        return
    if view.state is not None and view.state.waiting is not None and view.state.end is None:
        yield from _draw_waiting(view.state.waiting, screen)
    for doing in view.doing[:MOST_WORK]:
        yield from _draw_doing(doing, view, screen)
    if view.question is not None:
        yield Row(
            f"asks    task {view.question.task}: {one_line(view.question.asked.text, 300)}", "attention"
        )


def _draw_waiting(waiting: RunWaiting, screen: Screen) -> Iterator[Row]:
    if waiting.until is None:
        yield Row("waits   until its question is answered", "attention")
        return
    left = seconds_between(screen.now, waiting.until)
    rest = f", {_whole(left)} left" if left > 0 else ""
    yield Row(f"waits   until {moment(waiting.until, screen.zone)}{rest}", "attention")
    if waiting.reason:
        yield Row(f"        {one_line(waiting.reason, 300)}", "quiet")


def _draw_doing(doing: Doing, view: RunView, screen: Screen) -> Iterator[Row]:
    """The work, for how long, and how much of its time is left; below it what was printed last."""
    title, tries = _describe_task(doing, view)
    about = f": {title}" if title else ""
    times = f", {_describe_elapsed(doing.since, screen)}{_describe_left(doing, screen)}"
    is_attempt = doing.what == "attempt"
    what = f"attempt {doing.task}/{doing.attempt}" if is_attempt else describe_work(doing)
    yield Row(f"now     {what}{tries}{times}{about}")
    for each in doing.said:
        if isinstance(each, AgentText):
            yield Row(f"  says  {one_line(each.text, 300)}", "quiet")
        else:
            is_current = each is doing.tool
            since = f" ({_describe_elapsed(doing.tool_since, screen)})" if is_current else ""
            call = f"{one_line(each.name, 40)}{since}: {one_line(each.summary, 300)}"
            yield Row(f"  does  {call}", "" if is_current else "quiet")
    if doing.what in ("setup", "gate"):
        yield from _quote(doing.last_output)


def _quote(text: str) -> Iterator[Row]:
    if text.strip():
        yield Row(f"        | {one_line(text, 300)}", "quiet")


def _describe_task(doing: Doing, view: RunView) -> tuple[str, str]:
    """The title of the task, and which of its attempts it is."""
    task = None if view.state is None or doing.task is None else view.state.tasks.get(doing.task)
    if task is None:
        return "", ""
    if doing.what != "attempt" or view.attempts_limit is None or view.state is None:
        return one_line(task.entry.title, 300), ""
    # The limit counts from each resume on.
    tried = [each for each in task.current_attempts if each.epoch == view.state.epoch]
    return one_line(task.entry.title, 300), f" ({max(len(tried), 1)} of {view.attempts_limit})"


def _describe_left(doing: Doing, screen: Screen) -> str:
    if doing.limit_seconds is None:
        return ""
    left = doing.limit_seconds - seconds_between(doing.since, screen.now)
    return f", at most {_whole(left)} more" if left > 0 else ", its time has ended"


def question_rows(question: QuestionState, screen: Screen) -> list[Row]:
    """A question with its numbered options, and how to answer it. The finished lines have all of it."""
    asked = question.asked
    size = max(screen.columns, 1)
    text = list(fold(f"asks    task {question.task}: {one_line(asked.text, 600)}", size, _INDENT))
    options = [
        Row(
            f"        {number}. {one_line(option, 200)}"
            + (" (recommended)" if option == asked.recommendation else "")
        )
        for number, option in enumerate(asked.options, 1)
    ]
    room = MOST_ROWS - 2 - 2  # the header, and the last rows of this
    text_room = max(room - len(options), 3)
    rows = [Row(row, "attention") for row in _cut(text, text_room)]
    advice = (
        [Row(f"        recommended: {one_line(asked.recommendation, 200)}")]
        if asked.recommendation and asked.recommendation not in asked.options
        else []
    )
    left = room - len(rows) - len(advice)
    if len(options) > left:
        options = [*options[: left - 1], Row("        … the other options are above")]
    return [*rows, *options, *advice]


def _cut(rows: list[str], most: int) -> list[str]:
    return rows if len(rows) <= most else [*rows[: most - 1], f"{'':{_INDENT}}…"]


def _draw_hint(screen: Screen) -> Iterator[Row]:
    if screen.hint:
        yield Row(screen.hint, "quiet")


def _one_row(view: RunView, screen: Screen, preparation: Preparation | None) -> Row:
    """The whole block in one row: what is done, and the most exact word for what happens now."""
    tone: Tone = ""
    parts = []
    if view.state is not None:
        done, total = count_done(view.state)
        parts.append(f"{done}/{total}")
    if preparation is not None:
        parts.append(f"{preparation.what} {_describe_elapsed(preparation.since, screen)}")
    elif view.question is not None:
        parts.append(f"asks: {one_line(view.question.asked.text, 200)}")
        tone = "attention"
    elif view.doing:
        doing = view.doing[0]
        parts += [one_line(doing.task)] if doing.task else []
        if doing.tool is not None:
            parts.append(f"{_describe_elapsed(doing.tool_since, screen)} {one_line(doing.tool.summary, 200)}")
        elif doing.what == "gate":
            parts.append(f"{_describe_elapsed(doing.since, screen)} {first_line(doing.command, 100)}")
        else:
            parts.append(f"{_describe_elapsed(doing.since, screen)} {describe_work(doing)}")
    elif view.state is not None and view.state.waiting is not None:
        parts.append("waits")
    return Row(" ".join(parts), tone)


def _describe_elapsed(since: str, screen: Screen) -> str:
    return _whole(seconds_between(since, screen.now))


def _whole(seconds: float) -> str:
    """A duration without tenths of a second, which would change with each draw."""
    whole = max(int(seconds), 0)
    return f"{whole} s" if whole < 60 else duration(whole)
