"""`image build`: the coding agent image from its Dockerfile."""

import argparse

from orchestrator.cli.host import this_host
from orchestrator.cli.words import print_help_of
from orchestrator.text import plain


def add_image(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(handler=print_help_of(parser))
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    build = actions.add_parser("build", help="build the agent image")
    build.add_argument("--base", metavar="IMAGE", help="the base image to build on instead of the default")
    build.set_defaults(handler=image_build)


def image_build(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands.image import build

    built = asyncio.run(
        build(this_host(), base=arguments.base, on_line=lambda line: print(plain(line), flush=True))
    )
    print(f"{built.name} is {built.id}")
    return 0
