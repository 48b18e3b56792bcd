"""Tables for the user: columns as wide as their cells, no markup."""

from collections.abc import Sequence

from orchestrator.run.endings import failed_before_it_began
from orchestrator.run.report import Owner, run_status, task_status
from orchestrator.run.state import RunState, TaskState
from orchestrator.text import one_line

_STATUS_WORDS = {"imported": "done before", "skipped": "left out"}
"""Where the stored word is not one that the user would say."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns with a line under the header."""
    widths = [max(width(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(_pad(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], "  ".join("─" * size for size in widths), *lines[1:]])


def width(text: str) -> int:
    """Columns a terminal needs: wide characters take two, combining ones none."""
    return len(text) if text.isascii() else sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    import unicodedata

    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _pad(text: str, size: int) -> str:
    return text + " " * (size - width(text))


def runs_table(runs: Sequence[tuple[RunState, Owner | None]]) -> str:
    """A line for each run."""
    rows = [
        (
            state.run,
            run_status(state, owner),
            state.started_at[:16].replace("T", " "),
            one_line(state.start.plan_title, 50),
            one_line(state.start.folder, 60),
        )
        for state, owner in runs
    ]
    return table(("run", "status", "started", "plan", "folder"), rows)


def run_table(state: RunState) -> str:
    """A run at a glance: its tasks with commits and evidence, then how it ended."""
    rows = [_task_row(state, task) for task in state.tasks.values()]
    parts = [table(("task", "title", "status", "commit", "attempts", "evidence"), rows)]
    if state.end_to_end is not None:
        parts.append(f"end to end: {state.end_to_end.status} ({', '.join(state.end_to_end.evidence)})")
    parts += [
        f"question {q.asked.question} ({q.task}): {one_line(q.asked.text, 300)}" for q in state.open_questions
    ]
    parts.append(_ending(state))
    return "\n" + "\n".join(parts)


def _task_row(state: RunState, task: TaskState) -> tuple[str, ...]:
    finished, status = task.finished, task_status(state, task)
    commit = finished.commit[:12] if finished is not None and finished.commit is not None else "-"
    candidate = task.last.candidate if task.last is not None else None
    evidence = ", ".join(candidate.evidence) if candidate is not None else ""
    return (
        one_line(task.entry.id, 20),
        one_line(task.entry.title, 40),
        _STATUS_WORDS.get(status, status),
        commit,
        str(len(task.attempts)),
        evidence or "-",
    )


def _ending(state: RunState) -> str:
    end = state.end
    status = run_status(state, None)
    text = end.reason if end is not None and end.reason else status
    # Only the first line: the command that ended the run prints the whole reason as its error.
    reason = f": {one_line(text.splitlines()[0], 300)}" if text != status else ""
    line = f"run {state.run} {status}{reason}, branch {state.start.branch}"
    if status in ("completed", "cancelled"):
        return line
    if failed_before_it_began(state):
        return f"{line}\nnext: fix the cause, then orchestrator run {state.start.plan}"
    return f"{line}\nnext: orchestrator logs {state.run}, then orchestrator resume {state.run}"
