"""`answer`: answer a question of an agent from any terminal."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.cli.host import this_host
from orchestrator.cli.words import RUN_HELP
from orchestrator.errors import UsageError
from orchestrator.text import one_line, plain

if TYPE_CHECKING:
    from orchestrator.commands.answer import Choice

STDIN_LIMIT_CHARACTERS = 1_000_000
_OPTIONS_WITH_VALUE = ("--option", "--question")


def add_answer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("text", metavar="TEXT", nargs="?", help="the answer; - reads it from standard input")
    choice.add_argument("--option", metavar="N", type=int, help="take the question's option N, from 1 on")
    choice.add_argument("--recommended", action="store_true", help="take the agent's recommendation")
    parser.add_argument("--question", metavar="ID", help="which question, when several are open")
    parser.set_defaults(handler=answer_question)
    parse = parser.parse_known_args

    def parse_in_any_order(words: Sequence[str] | None = None, namespace: Any = None) -> Any:
        return parse(put_options_first(words or ()), namespace)

    # argparse gives an optional TEXT no value when an option stands between RUN and TEXT.
    parser.parse_known_args = parse_in_any_order  # type: ignore[method-assign, assignment]


def put_options_first(words: Sequence[str]) -> list[str]:
    """The words of the command with RUN and TEXT at the end; after `--` every word counts as one of these."""
    options: list[str] = []
    others: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return [*options, "--", *others, *left]
        if word == "-" or not word.startswith("-"):
            others.append(word)
        else:
            options.append(word)
            if word in _OPTIONS_WITH_VALUE and left:
                options.append(left.pop(0))
    return [*options, *others]


def answer_question(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.commands.answer import AnswerRequest, answer

    request = AnswerRequest(run=arguments.run, choice=_read_choice(arguments), question=arguments.question)
    taken = asyncio.run(answer(this_host(), request))
    print(f"question {taken.answer.question} is answered: {one_line(taken.answer.text, 200)}")
    if taken.has_owner:
        print(f"Run {taken.run} continues with it by itself.")
    else:
        print(f"next: orchestrator resume {plain(taken.run)}")
    return 0


def _read_choice(arguments: argparse.Namespace) -> "Choice":
    from orchestrator.commands.answer import Option, Recommended

    if arguments.option is not None:
        return Option(number=arguments.option)
    if arguments.recommended:
        return Recommended()
    if arguments.text != "-":
        return str(arguments.text)
    text = sys.stdin.read(STDIN_LIMIT_CHARACTERS + 1)
    if len(text) > STDIN_LIMIT_CHARACTERS:
        raise UsageError(
            f"the answer has more than {STDIN_LIMIT_CHARACTERS} characters",
            hint="Shorten it, or put the details into a file in the repository and name it.",
        )
    return text
