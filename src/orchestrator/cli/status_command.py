"""`status`: the runs of the current repository, newest first, or one run with its tasks."""

import argparse
import sys

from orchestrator.cli.host import find_terminal_columns, this_host
from orchestrator.cli.tables import View, next_of_runs, run_table, runs_table
from orchestrator.cli.words import RUN_HELP, START_ONE
from orchestrator.project.catalog import RunCatalog, open_catalog
from orchestrator.project.host import Host
from orchestrator.run.progress import list_current_work
from orchestrator.run.report import run_json
from orchestrator.run.state import RunState
from orchestrator.text import utc_text


def add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="?", help=f"{RUN_HELP}; default: all runs here")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(handler=status)


def status(arguments: argparse.Namespace) -> int:
    host = this_host()
    with open_catalog(host) as runs:
        states = (
            runs.runs_around(host.current_folder(), whole=arguments.json)
            if arguments.run is None
            else (runs.find(arguments.run),)
        )
        if arguments.json:
            import msgspec

            shown = [run_json(state, runs.owner(state.run)) for state in states]
            print(msgspec.json.encode({"schema": 1, "runs": shown}).decode())
        elif arguments.run is not None:
            print(run_table(states[0], _view(host, runs, states[0])).strip("\n"))
        elif not states:
            print("no runs yet")
            print(START_ONE, file=sys.stderr)
        else:
            listed = [(state, runs.owner(state.run)) for state in states]
            print(runs_table(listed, screen=find_terminal_columns()))
            print(next_of_runs(runs, listed), file=sys.stderr)
    return 0


def _view(host: Host, runs: RunCatalog, state: RunState) -> View:
    owner = runs.owner(state.run)
    return View(
        owner=owner,
        here=host.folder,
        screen=find_terminal_columns(),
        now=utc_text(host.clock.now()),
        doing=() if owner is None else list_current_work(state, runs.facts(state.run)),
    )
