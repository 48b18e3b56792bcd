"""`demo`: carry out the example in a scratch repository."""

import argparse
import os
import shlex
import tempfile
from pathlib import Path

from orchestrator.text import plain


def add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--live", action="store_true", help="use the real model; ANTHROPIC_API_KEY must be set"
    )
    parser.set_defaults(handler=demo)


def demo(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.cli.main import main
    from orchestrator.commands.demo import MODEL, choose_environment, find_example, make_repository

    example = find_example()
    with tempfile.TemporaryDirectory(prefix="ktrdr-demo-") as configuration:
        environ = choose_environment(os.environ, Path(configuration), live=arguments.live)
        # From here on, this process is like one that a user without settings starts in the repository.
        os.environ.clear()
        os.environ.update(environ)
        folder = asyncio.run(make_repository(environ, example))
        os.chdir(folder)
        model = () if arguments.live else ("-c", f"gateway.scripted={example / MODEL}")
        exit_code = main(("run", "plan.md", *model))
    print(f"\nThe result is in {plain(str(folder))}")
    print(f"  git -C {plain(shlex.quote(str(folder)))} log --stat main..")
    return exit_code
