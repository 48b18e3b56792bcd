"""`trust`: show the settings of the repository's file that need approval, and approve them."""

import argparse
import sys
from typing import TYPE_CHECKING

from orchestrator.cli.host import this_host
from orchestrator.errors import UsageError
from orchestrator.text import visible

if TYPE_CHECKING:
    from orchestrator.config import ApprovalItem

DECLINED = 1


def add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="approve without asking")
    parser.set_defaults(handler=trust)


def trust(arguments: argparse.Namespace) -> int:
    from orchestrator.commands.trust import approve, load_for_approval

    host = this_host()
    folder, loaded = load_for_approval(host)
    for each in loaded.needing_approval:
        print(f"{each.where}: {each.key}{' (approved before)' if each.approved else ''}")
        print(f"  needs approval {each.reason}")
        for line in _difference(each):
            print(f"  {line}")
    if not loaded.unapproved:
        print("Nothing to approve.")
        return 0
    if not arguments.yes and not _ask_user():
        print("Nothing was approved.")
        return DECLINED
    approve(host, folder, loaded)
    print(f"Approved for {folder}.")
    return 0


def _difference(each: "ApprovalItem") -> list[str]:
    """The whole value, item by item; after a change also what was approved before."""
    value = _items(each.value)
    if each.approved or each.before is None:
        return [f"  {item}" for item in value]
    before = _items(each.before)
    gone = [f"- {item}" for item in before if item not in value]
    return gone + [f"{'  ' if item in before else '+ '}{item}" for item in value]


def _items(value: object) -> list[str]:
    """Every item, never shortened: an attacker would write into the part that is not shown."""
    from orchestrator.config.approval import canonical

    items = value if isinstance(value, list) and value else [value]
    return [visible(canonical(item)) for item in items]


def _ask_user() -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "cannot ask for approval: standard input is not a terminal",
            hint="Run orchestrator trust at a terminal, or approve what is shown: orchestrator trust --yes",
        )
    try:
        answer = input("Approve these settings? [y/N] ")
    except EOFError:
        print()
        return False
    return answer.strip().lower() in ("y", "yes")
