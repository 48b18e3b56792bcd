"""Words that several commands share."""

import argparse
from collections.abc import Callable, Sequence

from orchestrator.text import one_line

RUN_HELP = "a run's id, a unique prefix of it, or its plan's path (the latest run)"


START_ONE = "To start one: orchestrator run PLAN"


def list_names(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(one_line(name, 100) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def print_help_of(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """A handler for a command that only has commands below it: alone, it prints its help."""

    def print_help(_arguments: argparse.Namespace) -> int:
        print(parser.format_help(), end="")
        return 0

    return print_help
