"""`_complete KIND WORD…`, which the completion scripts call: ids that a shell can offer, one a line.

After a tab comes a description. Completion must never disturb what the user types: with a broken journal or
without a state folder nothing is offered, nothing is printed and nothing is written. A shell may expand what
it is offered, so only ids of harmless characters are.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from orchestrator.project.catalog import RunCatalog
    from orchestrator.project.host import Host

_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+@-]*\Z")
MOST = 200


class Offer(NamedTuple):
    id: str
    text: str


def print_ids(words: Sequence[str], commands: Sequence[str]) -> int:
    """Print what can follow these words of a command line, of one kind: `runs` or `tasks`."""
    try:
        kind, *typed = words
        offers = _find_runs() if kind == "runs" else _find_tasks([*typed], commands)
        lines = [f"{offer.id}\t{offer.text}" for offer in offers if _HARMLESS.match(offer.id)]
        sys.stdout.write("".join(f"{line}\n" for line in lines[:MOST]))
        sys.stdout.flush()
    except Exception:
        return 0
    return 0


def _find_runs() -> list[Offer]:
    from orchestrator.cli.host import this_host
    from orchestrator.project.catalog import open_catalog
    from orchestrator.run.report import run_status
    from orchestrator.text import one_line

    host = this_host()
    with open_catalog(host) as runs:
        found = runs.runs_around(host.current_folder(), whole=False) or runs.outlines()
        return [
            Offer(state.run, one_line(f"{state.start.plan} {run_status(state, runs.owner(state.run))}", 60))
            for state in found
        ]


def _find_tasks(words: Sequence[str], commands: Sequence[str]) -> list[Offer]:
    """The tasks of the plan or run among these words, else of the newest run here."""
    from orchestrator.cli.host import this_host
    from orchestrator.project.catalog import open_catalog

    host = this_host()
    named = [word for word in words if not word.startswith("-") and word not in commands]
    with open_catalog(host) as runs:
        for word in named:
            found = list(_tasks_of(host, runs, word))
            if found:
                return found
        newest = runs.runs_around(host.current_folder(), whole=False)[:1]
        return [offer for state in newest for offer in _tasks_of(host, runs, state.run)]


def _tasks_of(host: "Host", runs: "RunCatalog", word: str) -> Iterator[Offer]:
    from orchestrator.errors import OrchestratorError
    from orchestrator.text import one_line

    path = Path(host.current_folder(), word)
    if path.is_file():
        from orchestrator.project.plan_files import read_plan_file

        for task in read_plan_file(path).plan.tasks:
            yield Offer(task.id, one_line(task.title, 60))
        return
    try:
        state = runs.find(word)
    except OrchestratorError:
        return
    for known in state.tasks.values():
        yield Offer(known.entry.id, one_line(known.entry.title, 60))
