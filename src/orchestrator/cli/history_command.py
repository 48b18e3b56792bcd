"""`history`: the runs of the current repository, newest first, without their tasks."""

import argparse
import sys

from orchestrator.cli.host import find_terminal_columns, this_host
from orchestrator.cli.tables import next_of_runs, runs_table
from orchestrator.cli.words import START_ONE
from orchestrator.project.catalog import open_catalog
from orchestrator.run.report import run_json
from orchestrator.run.state import RunState


def add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="TEXT", help="only runs with this text in their id, plan or title")
    parser.add_argument("--limit", metavar="N", type=_parse_count, help="show at most N runs")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(handler=history)


def history(arguments: argparse.Namespace) -> int:
    host = this_host()
    with open_catalog(host) as runs:
        found = [
            state
            for state in runs.runs_around(host.current_folder(), whole=arguments.json)
            if _matches(state, arguments.name)
        ]
        shown = [(state, runs.owner(state.run)) for state in found[: arguments.limit]]
        step = next_of_runs(runs, shown) if shown and not arguments.json else ""
    if arguments.json:
        import msgspec

        entries = [run_json(state, owner) for state, owner in shown]
        for entry in entries:
            del entry["tasks"]
        print(msgspec.json.encode({"schema": 1, "runs": entries}).decode())
    elif not shown:
        print("no runs" if arguments.name is None else f"no runs with {arguments.name}")
        start = "To list all runs: orchestrator history" if arguments.name else START_ONE
        print(start, file=sys.stderr)
    else:
        print(runs_table(shown, screen=find_terminal_columns()))
        if len(found) > len(shown):
            more = len(found) - len(shown)
            shown_by = f"(--limit {arguments.limit})"
            print(f"{more} older run{'' if more == 1 else 's'} not shown {shown_by}", file=sys.stderr)
        print(step, file=sys.stderr)
    return 0


def _matches(state: RunState, text: str | None) -> bool:
    """Whether the text occurs in id, plan or title; case does not matter."""
    names = (state.run, state.start.plan, state.start.plan_title)
    return text is None or any(text.casefold() in name.casefold() for name in names)


def _parse_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)
