"""`_complete KIND WORD…`, which the completion scripts call: ids that a shell can suggest, one a line.

After a tab comes a description. Completion must never disturb what the user types: with a broken journal or
without a state folder nothing is offered, nothing is printed and nothing is written. A shell may expand what
it is offered, so only ids of harmless characters are.

Each start of this costs the user a moment at a key, so it imports only what the words need: the tasks of a
plan in a usual form are read without the journal and without the plan's reader.
"""

import os
import re
import stat
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.cli.imports import import_msgspec

if TYPE_CHECKING:
    from orchestrator.run.state import RunState

_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+@-]*\Z")
MOST = 200


class Suggestion(NamedTuple):
    id: str
    text: str


def print_ids(words: Sequence[str], commands: Sequence[str]) -> int:
    """Print what can follow these words of a command line, of one kind: `runs` or `tasks`."""
    try:
        kind, *typed = words
        suggestions = _find_runs() if kind == "runs" else _find_tasks([*typed], commands)
        lines = [
            f"{suggestion.id}\t{suggestion.text}"
            for suggestion in suggestions
            if _HARMLESS.match(suggestion.id)
        ]
        sys.stdout.write("".join(f"{line}\n" for line in lines[:MOST]))
        sys.stdout.flush()
    except Exception:
        return 0
    return 0


def _find_runs() -> list[Suggestion]:
    import_msgspec()
    from orchestrator.cli.host import this_host
    from orchestrator.project.catalog import open_catalog
    from orchestrator.run.report import run_status
    from orchestrator.text import one_line

    host = this_host()
    with open_catalog(host) as runs:
        found = runs.runs_around(host.current_folder(), whole=False) or runs.outlines()
        return [
            Suggestion(
                state.run, one_line(f"{state.start.plan} {run_status(state, runs.owner(state.run))}", 60)
            )
            for state in found
        ]


def _find_tasks(words: Sequence[str], commands: Sequence[str]) -> list[Suggestion]:
    """The tasks of the plan or run among these words, else of the newest run here."""
    named = [word for word in words if not word.startswith("-") and word not in commands]
    for word in named:
        if stat.S_ISREG(_find_mode(word)):
            return _list_tasks_of_plan(word)
    import_msgspec()
    from orchestrator.cli.host import this_host
    from orchestrator.errors import OrchestratorError
    from orchestrator.project.catalog import open_catalog

    host = this_host()
    with open_catalog(host) as runs:
        for word in named:
            try:
                return _list_tasks_of_run(runs.find(word))
            except OrchestratorError:
                continue
        newest = runs.runs_around(host.current_folder(), whole=False)[:1]
        return [suggestion for outline in newest for suggestion in _list_tasks_of_run(runs.run(outline.run))]


def _list_tasks_of_run(state: "RunState") -> list[Suggestion]:
    from orchestrator.text import one_line

    return [Suggestion(each.entry.id, one_line(each.entry.title, 60)) for each in state.tasks.values()]


def _find_mode(path: str) -> int:
    try:
        return os.stat(path).st_mode  # noqa: PTH116 - pathlib is not imported otherwise
    except OSError:
        return 0


def _list_tasks_of_plan(path: str) -> list[Suggestion]:
    from orchestrator.files import read_regular
    from orchestrator.plan.quick_tasks import list_tasks_quickly
    from orchestrator.plan.text import MAX_BYTES, decode_plan
    from orchestrator.text import one_line

    content = read_regular(path, limit=MAX_BYTES, follow=True)
    tasks: Iterable[tuple[str, str]] | None = list_tasks_quickly(decode_plan(content, path=path))
    if tasks is None:
        from orchestrator.plan.reader import read_plan

        tasks = [(task.id, task.title) for task in read_plan(content, path=path).tasks]
    return [Suggestion(id, one_line(title, 60)) for id, title in tasks]
