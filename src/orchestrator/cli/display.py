"""Whether a run is shown live, and the live view of a run that this command carries out or watches."""

import argparse
import sys
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING

from msgspec.structs import replace

from orchestrator.cli.console import without_colour
from orchestrator.cli.host import this_host
from orchestrator.cli.tones import Tone, paint
from orchestrator.errors import OrchestratorError
from orchestrator.project.catalog import RunCatalog, open_catalog
from orchestrator.run.state import QuestionState, RunState
from orchestrator.run.view import RunView, follow

if TYPE_CHECKING:
    from orchestrator.cli.live_view import LiveView


def add_plain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plain", action="store_true", help="one line after the other, also at a terminal; no live view"
    )


def can_show_live(arguments: argparse.Namespace) -> bool:
    """Whether standard output is a terminal that can show the block, and the user wants it."""
    if arguments.json or arguments.plain or sys.stdout is None or not sys.stdout.isatty():
        return False
    from orchestrator.cli.terminal import is_simple

    return not is_simple(this_host().environ)


def choose_paint() -> Callable[[str, Tone], str]:
    """How plain lines on standard output are coloured."""
    if sys.stdout is None:
        return without_colour
    if not sys.stdout.isatty() and not this_host().environ.get("FORCE_COLOR"):
        return without_colour
    from orchestrator.cli.terminal import wants_colour

    return paint if wants_colour(this_host().environ, sys.stdout) else without_colour


def make_live_view(
    *,
    hint: str,
    view_of: Callable[[str], RunView | None],
    leave_open: Callable[[], None] = lambda: None,
    asks: bool = True,
) -> "LiveView":
    """A live view on standard output; without `asks` no question is answered in it."""
    from orchestrator.cli.live_view import LiveView
    from orchestrator.cli.terminal import Keyboard, TerminalWriter, wants_colour

    host = this_host()
    return LiveView(
        TerminalWriter(sys.stdout),
        host.clock,
        view_of=view_of,
        limit_of=read_attempts_limit,
        keyboard=Keyboard.find(),
        answer=send_answer if asks else None,
        leave_open=leave_open,
        hint=hint,
        has_colour=wants_colour(host.environ, sys.stdout),
    )


async def send_answer(run: str, question: QuestionState, typed: str) -> None:
    """Answer with an option, if its number was typed, else with the text. Raises UsageError."""
    from orchestrator.commands.answer import AnswerRequest, Option, answer

    is_option = typed.isascii() and typed.isdecimal() and 1 <= int(typed) <= len(question.asked.options)
    choice = Option(number=int(typed)) if is_option else typed
    await answer(this_host(), AnswerRequest(run=run, choice=choice, question=question.asked.question))


def read_view(run: str) -> RunView | None:
    """A stored run, as this command finds it; None when the journal cannot be read."""
    try:
        with open_catalog(this_host()) as runs:
            return view_of_stored(runs, run)
    except OrchestratorError:
        return None


def read_attempts_limit(state: RunState) -> int | None:
    """`limits.attempts` of a run; None when it cannot be read."""
    try:
        with open_catalog(this_host()) as runs:
            return find_attempts_limit(runs, state)
    except OrchestratorError:
        return None


def view_of_stored(runs: RunCatalog, run: str, *, until: int | None = None) -> RunView:
    """A run after its stored facts, or after those up to a number; without the agent's output."""
    facts = [fact for fact in runs.facts(run) if until is None or fact.n <= until]
    view = reduce(follow, facts, RunView())
    return replace(view, attempts_limit=find_attempts_limit(runs, view.state))


def find_attempts_limit(runs: RunCatalog, state: RunState | None) -> int | None:
    """As `read_attempts_limit`, from a catalog that is open."""
    from orchestrator.config import Settings
    from orchestrator.project.stored_terms import read_terms

    if state is None:
        return None
    key = "limits.attempts"
    try:
        terms = read_terms(runs.folder(state.run).terms(state.terms_stored))
        if terms is None:
            return None
        given = [each.partition("=")[2] for each in state.options.overrides if each.startswith(f"{key}=")]
        stored = [each.value for each in terms.settings if each.key == key]
        return int((given[-1:] or stored[-1:] or [Settings().limits.attempts])[0])
    except (OSError, ValueError, TypeError):
        return None
