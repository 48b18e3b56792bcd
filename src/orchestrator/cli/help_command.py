"""`help`: print the help of a command."""

import argparse

from orchestrator.cli.main import parser


def add_help(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", metavar="COMMAND", nargs="*", help="the command; default: all of them")
    parser.set_defaults(handler=print_help)


def print_help(arguments: argparse.Namespace) -> int:
    """The parser of the command prints its help itself; a command that does not exist, it refuses."""
    parser(*arguments.command[:1]).parse_args([*arguments.command, "--help"])
    return 0
