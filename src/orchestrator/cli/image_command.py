"""`image build`: the coding agent image from its Dockerfile."""

import argparse

from orchestrator.text import plain


def add_image(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="build it")
    build.add_argument("--base", metavar="IMAGE", help="what it is built on, instead of the default")
    build.set_defaults(handler=image_build)


def image_build(arguments: argparse.Namespace) -> int:
    import asyncio
    import os

    from orchestrator.config import load_settings
    from orchestrator.containers.images import build_image

    name = load_settings(None, environ=os.environ).settings.image.name
    digest = asyncio.run(
        build_image(name=name, base=arguments.base, on_line=lambda line: print(plain(line), flush=True))
    )
    print(f"{name} is {digest}")
    return 0
