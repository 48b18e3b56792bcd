"""Writes the manual page: `python -m orchestrator.cli.manual > orchestrator.1`. Building a wheel does it."""

import re
from collections.abc import Iterator

from argparse_manpage.manpage import Manpage  # type: ignore[import-untyped]

from orchestrator import __version__
from orchestrator.cli.descriptions import ALWAYS, DESCRIPTIONS
from orchestrator.cli.main import PROGRAM, parser
from orchestrator.cli.reference import commands_of


def render() -> str:
    """The page for `man`. Its date is SOURCE_DATE_EPOCH where that is set."""
    whole = parser(whole=True)
    for name, _, command in commands_of(whole):
        described = DESCRIPTIONS[name]
        own = {code: text for code, text in described.exits.items() if ALWAYS.get(code) != text}
        exits = "; ".join(f"{code} {meaning}" for code, meaning in own.items())
        command.description = f"{described.text} Exit codes: {exits}." if own else described.text
    whole.epilog = None
    data = {
        "description": "carry out a Markdown plan with a coding agent",
        "manual_title": "KTRDR Orchestrator",
    }
    page = Manpage(whole, data, format="single-commands-section")
    page.source = f"{PROGRAM} {__version__}"
    page.add_section("examples", "=", "\n".join(_examples()))
    page.add_section("exit status", "=", "\n".join(_exits()))
    return str(page)


def _examples() -> Iterator[str]:
    for described in DESCRIPTIONS.values():
        for example in described.examples:
            yield f".TP\n.B {_escape(example.command)}\n{_escape(example.does)}"


def _exits() -> Iterator[str]:
    for code, meaning in ALWAYS.items():
        yield f".TP\n.B {code}\n{_escape(meaning)}"


def _escape(text: str) -> str:
    """Text that roff shows as it is, also at the beginning of a line."""
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", r"\e").replace("-", r"\-"))


if __name__ == "__main__":
    print(render(), end="")
