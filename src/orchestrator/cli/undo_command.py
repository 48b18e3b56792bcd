"""`undo`, `abandon` and `cancel`: undo commits of a run, or stop it for good."""

import argparse
import sys
from typing import TYPE_CHECKING

from orchestrator.cli.host import this_host
from orchestrator.cli.words import RUN_HELP
from orchestrator.errors import UsageError
from orchestrator.text import plain, shell_word

if TYPE_CHECKING:
    from orchestrator.commands.undo import UndoResult

DECLINED = 1
MOST_COMMANDS = 5


def add_undo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("task", metavar="TASK", help="the task's id in the plan")
    parser.set_defaults(handler=undo_task)


def add_abandon(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.set_defaults(handler=abandon_run)


def add_cancel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--lost-engine", action="store_true", help="record the end of an agent whose container engine is gone"
    )
    parser.add_argument("--yes", action="store_true", help="with --lost-engine: ask nothing")
    parser.set_defaults(handler=cancel_run)


def undo_task(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands.undo import UndoRequest, undo

    request = UndoRequest(run=arguments.run, task=arguments.task)
    print_result(asyncio.run(undo(this_host(), request, say=print)))
    return 0


def abandon_run(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands.undo import abandon

    taken = asyncio.run(abandon(this_host(), arguments.run, say=print))
    if taken is not None:
        print_result(taken)
    print("The run is cancelled.")
    return 0


def cancel_run(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands.cancel import cancel, list_unreachable

    if arguments.lost_engine:
        lost = asyncio.run(list_unreachable(this_host(), arguments.run))
        for container in lost:
            print(f"{container.name} was made by the engine at {container.endpoint}")
            print(f"To remove it there: docker -H {container.endpoint} rm -f {container.name}")
        if lost and not arguments.yes and not _ask_about_lost():
            print("Nothing was changed.")
            return DECLINED
    state = asyncio.run(cancel(this_host(), arguments.run, lost_engine=arguments.lost_engine))
    status = state.end.status if state.end is not None else "finished"
    print(f"run {state.run} is {status}")
    return 0


def _ask_about_lost() -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "cannot ask whether the engine is lost: standard input is not a terminal",
            hint="To record the end without a question: add --yes",
        )
    try:
        answer = input("The agent may still be at work there. Record its end? [y/N] ")
    except EOFError:
        print()
        return False
    return answer.strip().lower() in ("y", "yes")


def print_result(taken: "UndoResult") -> None:
    """Print what was undone, and one command for each thing that can be restored."""
    print(f"{taken.branch} is at {taken.target[:12]} again.")
    for saved in taken.saved:
        print(f"The folder as it was: git show {saved} (a file: git restore --source={saved[:12]} FILE)")
    for path in taken.uncommitted[:MOST_COMMANDS]:
        restore = f"git restore --source={taken.saved[0][:12]} -- {shell_word(path)}"
        print(f"{plain(path)} had changes that were in no commit: {restore}")
    if len(taken.uncommitted) > MOST_COMMANDS:
        more = len(taken.uncommitted) - MOST_COMMANDS
        print(f"{more} more of the files above had such changes; the folder as it was has them, too.")
    if taken.staged is not None:
        print(f"Your staged changes: git show {taken.staged}")
    for entry in taken.undone:
        print(f"task {entry.task} was {entry.commit}: git cherry-pick {entry.commit[:12]}")
    for commit in taken.edits:
        print(f"your changes by hand were {commit}: git cherry-pick {commit[:12]}")
