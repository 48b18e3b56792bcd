"""`watch`: what happens in a run, as the command that carries it out prints it. Changes nothing."""

import argparse
import sys
from collections import deque
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from orchestrator.cli.console import Console
from orchestrator.cli.display import (
    add_plain,
    can_show_live,
    choose_paint,
    make_live_view,
    view_of_stored,
)
from orchestrator.cli.host import find_terminal_columns, this_host
from orchestrator.cli.json_events import event_line, is_shown
from orchestrator.cli.tables import View, run_table
from orchestrator.cli.words import RUN_HELP
from orchestrator.errors import UsageError
from orchestrator.project.catalog import RunCatalog, open_catalog
from orchestrator.project.host import Host
from orchestrator.run.facts import Fact, Listener
from orchestrator.run.state import RunState, fold

WATCH_SECONDS = 0.05
"""Between two looks whether anything was stored, each of which takes microseconds."""
OWNER_SECONDS = 0.5
"""Between two looks whether the run still has an owner."""
EARLIER_LINES = 20
"""How many lines of the past are shown at a terminal."""
EARLIER_FACTS = 10 * EARLIER_LINES
"""How many facts are read for them: many facts have no line, and a run can have 100,000 facts."""
INTERRUPTED = 130
"""The exit code of a run without an end, and of `watch` itself after ^C."""


def add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN|PLAN",
        nargs="?",
        help=f"{RUN_HELP}; default: the living one here, else the latest",
    )
    parser.add_argument("--after", metavar="N", type=int, default=0, help="only events with a number above N")
    parser.add_argument(
        "--exit-status", action="store_true", help="exit with the run's exit code when it has ended"
    )
    parser.add_argument("--json", action="store_true", help="every event, one JSON object a line")
    add_plain(parser)
    parser.set_defaults(handler=watch)


def watch(arguments: argparse.Namespace) -> int:
    import asyncio  # slow to import, and --help does not need it

    if arguments.after < 0:
        raise UsageError(
            f"--after {arguments.after}: events are numbered from 1",
            hint="Give the number of the last event that you have, or leave --after out.",
        )
    host = this_host()
    with open_catalog(host) as runs:
        run = _choose_run(host, runs, arguments.run)
        try:
            asyncio.run(_follow_until_signal(runs, run, arguments))
        except (KeyboardInterrupt, asyncio.CancelledError):
            return _leave_alone(runs, run)
        return _print_end(host, runs.run(run), arguments)


def _choose_run(host: Host, runs: RunCatalog, wanted: str | None) -> str:
    if wanted is not None:
        return runs.find(wanted).run
    here = [outline.run for outline in runs.runs_around(host.current_folder(), whole=False)]
    if not here:
        raise UsageError("no run has been started in this folder", hint="Start one: orchestrator run PLAN")
    return next((run for run in here if runs.owner(run) is not None), here[0])


async def _follow_until_signal(runs: RunCatalog, run: str, arguments: argparse.Namespace) -> None:
    from orchestrator.engine.stop_signals import cancel_on_signals

    with cancel_on_signals():
        if not can_show_live(arguments):
            await _follow(runs, run, _make_output(runs, run, arguments))
            return
        after = max(arguments.after, runs.run(run).last_n - EARLIER_FACTS)
        view = make_live_view(
            hint="^C ends the watching only", view_of=lambda run: view_of_stored(runs, run, until=after)
        )
        async with view:
            shorten = partial(view.keep_last, EARLIER_LINES, has_earlier=after > arguments.after)
            await _follow(runs, run, _Output(after=after, show=view, caught_up=shorten))


class _Output(Struct, frozen=True, kw_only=True):
    after: int
    """The number of the last fact that is not shown."""
    show: Listener
    caught_up: Callable[[], None]
    """Called once, after everything that was stored when the command began."""


async def _follow(runs: RunCatalog, run: str, output: _Output) -> None:
    """Show stored facts and new ones, of all processes in order, until no process carries out the run."""
    assert runs.journal is not None
    after, is_first, is_owned = output.after, True, True
    asked = runs.clock.monotonic() - OWNER_SECONDS
    while True:
        if runs.clock.monotonic() - asked >= OWNER_SECONDS:
            # Before the facts are read: then this read has everything that an owner who is gone has stored.
            asked, is_owned = runs.clock.monotonic(), runs.owner(run) is not None
        version = runs.journal.data_version()
        for fact in runs.journal.facts(run, after=after):
            output.show(fact)
            after = fact.n
        if is_first:
            output.caught_up()
            is_first = False
        sys.stdout.flush()
        if not is_owned:
            return
        for _ in range(round(OWNER_SECONDS / WATCH_SECONDS)):
            await runs.clock.sleep(WATCH_SECONDS)
            if runs.journal.data_version() != version:
                break


def _print_event(fact: Fact) -> None:
    if is_shown(fact):
        print(event_line(fact))


def _make_output(runs: RunCatalog, run: str, arguments: argparse.Namespace) -> _Output:
    if arguments.json:
        return _Output(after=arguments.after, show=_print_event, caught_up=lambda: None)
    stored = runs.run(run).last_n
    is_short = sys.stdout.isatty()
    after = max(arguments.after, stored - EARLIER_FACTS) if is_short else arguments.after

    def state_before(run: str) -> RunState | None:
        earlier = [fact for fact in runs.facts(run) if fact.n <= after]
        return fold(earlier) if earlier else None

    lines = _Lines(is_short=is_short, has_earlier=after > arguments.after)
    return _Output(
        after=after,
        show=Console(lines.add, state_of=state_before, paint=choose_paint()),
        caught_up=lines.release,
    )


class _Lines:
    """Prints lines; if it `is_short`, only the last ones of those added before `release`."""

    def __init__(self, *, is_short: bool, has_earlier: bool) -> None:
        self._held: deque[str] | None = deque(maxlen=EARLIER_LINES) if is_short else None
        self._has_earlier = has_earlier

    def add(self, line: str) -> None:
        if self._held is None:
            print(line)
            return
        self._has_earlier = self._has_earlier or len(self._held) == EARLIER_LINES
        self._held.append(line)

    def release(self) -> None:
        held, self._held = self._held or (), None
        if self._has_earlier:
            print("… earlier lines are left out")
        for line in held:
            print(line)


def _leave_alone(runs: RunCatalog, run: str) -> int:
    state = "is still running" if runs.owner(run) is not None else "has ended"
    print(f"run {run} {state}; to watch it again: orchestrator watch {run}", file=sys.stderr)
    return INTERRUPTED


def _print_end(host: Host, state: RunState, arguments: argparse.Namespace) -> int:
    """How the run ended and what comes next; a run whose process disappeared has no end."""
    if state.end is None:
        print(f"run {state.run} is interrupted: its process has disappeared", file=sys.stderr)
    view = View(here=host.folder, screen=find_terminal_columns(), has_events=not arguments.json)
    print(run_table(state, view), file=sys.stderr if arguments.json else sys.stdout)
    if state.end is None:
        return INTERRUPTED
    return state.end.exit_code if arguments.exit_status else 0
