"""`clean`: remove leftover containers, and on request the data of old runs."""

import argparse

from orchestrator.cli.host import this_host


def add_clean(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    parser.add_argument(
        "--older-than",
        metavar="AGE",
        help="also remove images and data of runs older than AGE, for example 12h, 30d, 2w",
    )
    parser.set_defaults(handler=clean)


def clean(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands import clean as cleaning

    age = cleaning.parse_age(arguments.older_than) if arguments.older_than is not None else None
    request = cleaning.CleanRequest(dry_run=arguments.dry_run, older_than=age)
    asyncio.run(cleaning.clean(this_host(), request, say=print))
    return 0
