"""`init`: write a commented orchestrator.toml for the repository."""

import argparse

from orchestrator.cli.host import this_host


def add_init(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=init)


def init(_arguments: argparse.Namespace) -> int:
    from orchestrator.commands import init as commands

    written = commands.init(this_host())
    found = written.found
    print(f"wrote {written.path}")
    print(f"detected: {', '.join((*found.languages, *found.managers)) or 'no known language or lock file'}")
    if found.secrets:
        print(f"hidden from the agent: {', '.join(found.secrets)}")
    return 0
