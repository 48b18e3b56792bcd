"""`undo`, `abandon` and `cancel`: undo commits of a run, or stop it for good."""

import argparse
from typing import TYPE_CHECKING

from orchestrator.cli.host import this_host
from orchestrator.cli.words import RUN_HELP

if TYPE_CHECKING:
    from orchestrator.commands.undo import UndoResult


def add_undo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("task", metavar="TASK", help="the task's id in the plan")
    parser.set_defaults(handler=undo_task)


def add_abandon(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.set_defaults(handler=abandon_run)


def add_cancel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.set_defaults(handler=cancel_run)


def undo_task(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands.undo import UndoRequest, undo

    request = UndoRequest(run=arguments.run, task=arguments.task)
    _print_result(asyncio.run(undo(this_host(), request, say=print)))
    return 0


def abandon_run(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands.undo import abandon

    taken = asyncio.run(abandon(this_host(), arguments.run, say=print))
    if taken is not None:
        _print_result(taken)
    print("The run is cancelled.")
    return 0


def cancel_run(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands.cancel import cancel

    state = asyncio.run(cancel(this_host(), arguments.run))
    status = state.end.status if state.end is not None else "finished"
    print(f"run {state.run} is {status}")
    return 0


def _print_result(taken: "UndoResult") -> None:
    """Print what was undone, and one command for each thing that can be restored."""
    print(f"{taken.branch} is at {taken.target[:12]} again.")
    for saved in taken.saved:
        print(f"The folder as it was: git show {saved} (a file: git restore --source={saved[:12]} FILE)")
    if taken.staged is not None:
        print(f"What was staged: git show {taken.staged}")
    for entry in taken.undone:
        print(f"task {entry.task} was {entry.commit}: git cherry-pick {entry.commit[:12]}")
    for commit in taken.edits:
        print(f"your changes by hand were {commit}: git cherry-pick {commit[:12]}")
