"""`init`: write an orchestrator.toml with what is found in the repository."""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.host import this_host
from orchestrator.text import one_line, plain

if TYPE_CHECKING:
    from orchestrator.commands.init import Proposal

NOTHING = "-"
"""The answer that empties a list."""


def add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="ask nothing, and write what was found")
    parser.add_argument(
        "--handoff",
        action=argparse.BooleanOptionalAction,
        help="commit the hand-off document with each task, or keep it in the state folder only",
    )
    parser.set_defaults(handler=init)


def init(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands.init import propose, write_configuration

    proposal = asyncio.run(propose(this_host()))
    proposal = dataclasses.replace(proposal, commits_handoff=arguments.handoff)
    print("\n".join(describe_found(proposal)))
    if not arguments.yes and sys.stdin.isatty():
        proposal = ask_user(proposal, input)
    write_configuration(proposal)
    print(f"Wrote {one_line(str(proposal.path), 4096)}")
    print("\n".join(["Next:", *(f"  {command}" for command in next_commands(proposal))]))
    return 0


def describe_found(proposal: "Proposal") -> list[str]:
    project = proposal.project
    setup = [*project.setup, *(f"from the lock files in {folder}" for folder in project.folders)]
    rows = [
        ("Found", [*project.languages, *project.all_locks], "no known language or lock file"),
        ("Tests", proposal.tests, "no test command found: set verify.task"),
        ("Setup", [_last_line(command) for command in setup], None),
        ("Packages", proposal.packages, None),
        ("Hidden", proposal.secrets, None),
        ("Visible", [f"{name} (tracked by git)" for name in proposal.tracked_secrets], None),
        ("Note", project.notes, None),
    ]
    return [
        f"{name + ':':<10} {one_line(', '.join(items) or instead or '', 300)}"
        for name, items, instead in rows
        if items or instead
    ]


def _last_line(command: str) -> str:
    lines = [line for line in command.splitlines() if line.strip("} ")]
    return lines[-1] if lines else ""


def ask_user(proposal: "Proposal", ask: Callable[[str], str]) -> "Proposal":
    """Three questions; Enter takes what was found, and the end of the input does so for all."""
    print(f"Press Enter to accept what is in brackets; {NOTHING} means none.")
    try:
        tests = _ask_line(ask, "Test command", proposal.tests)
        packages = _ask_words(ask, "Debian packages to add to the image", proposal.packages)
        secrets = _ask_words(ask, "Files to hide from the agent", proposal.secrets)
    except EOFError:
        print()
        return proposal
    return dataclasses.replace(proposal, tests=tests, packages=packages, secrets=secrets)


def _ask_line(ask: Callable[[str], str], question: str, found: tuple[str, ...]) -> tuple[str, ...]:
    answer = ask(f"{question} [{' && '.join(found) or NOTHING}]: ").strip()
    if not answer:
        return found
    return () if answer == NOTHING else (plain(answer),)


def _ask_words(ask: Callable[[str], str], question: str, found: tuple[str, ...]) -> tuple[str, ...]:
    """Words as a shell splits them; asked again while a quote is open."""
    while True:
        answer = ask(f"{question} [{shlex.join(found) or NOTHING}]: ").strip()
        if not answer:
            return found
        if answer == NOTHING:
            return ()
        try:
            return tuple(map(plain, shlex.split(answer)))
        except ValueError as error:
            print(f"That cannot be split into words: {error}")


def next_commands(proposal: "Proposal") -> Sequence[str]:
    first = "orchestrator trust" if proposal.packages else "orchestrator doctor"
    return (first, "orchestrator plan new 'TITLE' --output plan.md", "orchestrator run plan.md")
