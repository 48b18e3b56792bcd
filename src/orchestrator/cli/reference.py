"""Writes the reference of all commands: `python -m orchestrator.cli.reference > docs/commands.md`."""

import argparse
from collections.abc import Iterator

from orchestrator.cli.descriptions import DESCRIPTIONS, exits_of
from orchestrator.cli.main import COMMANDS, parser

_INTRODUCTION = """\
# Commands

This page is written by `python -m orchestrator.cli.reference > docs/commands.md`; a test keeps it in step.

RUN is a run's id, an unambiguous prefix of it, or a plan's path (its latest run). Settings are in
[configuration.md](configuration.md). `orchestrator help COMMAND` prints the same text. A command or an
option that does not exist is an error (exit code 2), which names the nearest one.
"""


def render() -> str:
    """The page as Markdown."""
    parts = [_describe(name, text, command) for name, text, command in commands()]
    return "\n".join([_INTRODUCTION, *parts])


def commands() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Name, help and parser of every command and subcommand, in the order of `--help`."""
    for name in COMMANDS:
        yield from commands_of(parser(name))


def commands_of(
    group: argparse.ArgumentParser, prefix: str = ""
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    for action in group._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        help_of = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, command in action.choices.items():
            inner = list(commands_of(command, f"{prefix}{name} "))
            yield from inner or [(f"{prefix}{name}", help_of[name], command)]


def _describe(name: str, text: str, command: argparse.ArgumentParser) -> str:
    given = [action for action in command._actions if not isinstance(action, argparse._HelpAction)]
    positional = [_name(action) for action in given if not action.option_strings]
    rows = [_row(action) for action in given if action.option_strings]
    head = " ".join(["orchestrator", name, *(["[OPTION]…"] if rows else []), *positional])
    described = DESCRIPTIONS[name]
    lines = [f"## {name}", "", f"`{head}`", "", f"{text[:1].upper()}{text[1:]}.", "", described.text, ""]
    if rows:
        lines += ["| option | |", "|---|---|", *rows, ""]
    lines += [f"- `{example.command}` {example.does}" for example in described.examples]
    exits = "; ".join(f"{code} {meaning}" for code, meaning in exits_of(described).items())
    return "\n".join([*lines, "", f"Exit codes: {exits}.", ""])


def _name(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    match action.nargs:
        case "?":
            return f"[{name}]"
        case "+":
            return f"{name}…"
        case _:
            return name


def _row(action: argparse.Action) -> str:
    if action.nargs == 0:
        value = ""
    elif action.choices:
        value = " " + "/".join(map(str, action.choices))
    else:
        value = f" {action.metavar or action.dest}"
    value = value.replace("|", "\\|")
    spelled = ", ".join(f"`{option}{value}`" for option in action.option_strings)
    return f"| {spelled} | {(action.help or '').replace('|', '&#124;')} |"


if __name__ == "__main__":
    print(render(), end="")
