"""`shell`: open a shell, or run a command, in a container like an agent's."""

import argparse

from orchestrator.cli.host import this_host


def add_shell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "command", metavar="CMD", nargs=argparse.REMAINDER, help="the command to run; default: bash"
    )
    parser.set_defaults(handler=shell)


def shell(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands import shell as shells

    try:
        words = arguments.command
        return asyncio.run(shells.shell(this_host(), words[1:] if words[:1] == ["--"] else words))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
