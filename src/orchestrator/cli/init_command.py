"""`init`: write a commented orchestrator.toml with what the repository tells."""

import argparse

from orchestrator.cli.host import this_host


def add_init(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=init)


def init(_arguments: argparse.Namespace) -> int:
    from orchestrator.commands import init as commands

    written = commands.init(this_host())
    found = written.found
    print(f"wrote {written.path}")
    print(f"found: {', '.join((*found.languages, *found.managers)) or 'nothing that tells'}")
    if found.secrets:
        print(f"hidden from the agent: {', '.join(found.secrets)}")
    return 0
