"""`run`, `task` and `resume`: carry out a plan, one of its tasks, or the rest of a run."""

import argparse
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from orchestrator.cli.base_progress import BaseProgress, HeldEvents
from orchestrator.cli.console import Console
from orchestrator.cli.display import add_plain, can_show_live, choose_paint, make_live_view, read_view
from orchestrator.cli.host import find_terminal_columns, this_host
from orchestrator.cli.json_events import SCHEMA, event_line, is_shown
from orchestrator.cli.tables import View, base_table, run_table
from orchestrator.cli.times import parse_moment
from orchestrator.cli.words import RUN_HELP
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.project.catalog import open_catalog
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.endings import is_refused
from orchestrator.run.facts import Listener
from orchestrator.run.report import RunReport, base_json
from orchestrator.run.state import RunState
from orchestrator.text import plain

if TYPE_CHECKING:
    from orchestrator.cli.live_view import LiveView
    from orchestrator.commands.request import RunRequest, StartOptions
    from orchestrator.run.facts import Fact


REPEATED: Any = {"action": "append", "default": []}
"""An option that can be given several times."""


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the plan's path")
    parser.add_argument(
        "--from", dest="first", metavar="ID", help="start with this task and leave out those before it"
    )
    parser.add_argument("--only", metavar="ID", **REPEATED, help="only this task; repeatable")
    parser.add_argument("--new", action="store_true", help="start over; an unfinished run is cancelled")
    parser.add_argument(
        "--keep",
        metavar="ID",
        **REPEATED,
        help="count a task as done although an attempt marked it as done; repeatable",
    )
    parser.add_argument(
        "--base",
        action="store_true",
        help="set the project up and show the result of each check before any work, without agent and branch",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show what would be done, with a `docker run` line for each kind of container; start nothing",
    )
    _add_options(parser)
    parser.set_defaults(handler=_detachable(run_plan), detached=None, view=None)


def add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="PLAN", help="the plan's path")
    parser.add_argument("task", metavar="ID", help="the task's id in the plan")
    _add_options(parser)
    parser.set_defaults(handler=_detachable(run_task), detached=None, view=None)


def add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN|PLAN",
        nargs="?",
        help=f"{RUN_HELP}; default: the only unfinished run here",
    )
    parser.add_argument(
        "--keep",
        metavar="ID",
        **REPEATED,
        help="keep a finished task although its text was edited; repeatable",
    )
    parser.add_argument("--redo", metavar="ID", **REPEATED, help="do a finished task again; repeatable")
    parser.add_argument(
        "--take-config",
        action="store_true",
        help="use the current settings and image instead of those that the run has stored",
    )
    parser.add_argument(
        "--accept",
        metavar="ID",
        **REPEATED,
        help="count a task as done although it changed no file, if its checks pass; repeatable",
    )
    _add_options(parser)
    parser.set_defaults(handler=_detachable(resume_run), detached=None, view=None)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_start_options(parser)
    parser.add_argument(
        "--detach",
        action="store_true",
        help="print the run's id once the base run has passed, and continue without this terminal",
    )
    parser.add_argument("--json", action="store_true", help="one JSON event a line on standard output")
    add_plain(parser)


def add_start_options(parser: argparse.ArgumentParser) -> None:
    """The options that `doctor` takes, too."""
    parser.add_argument(
        "--agent",
        metavar="NAME",
        help="claude-code (default), command (any program), or nop (changes nothing)",
    )
    parser.add_argument("--agent-command", metavar="CMD", help="a program to use as the agent")
    parser.add_argument("--model", metavar="M", help="the model that the agent uses")
    parser.add_argument(
        "-g", "--guidance", metavar="TEXT", help="extra instructions for the agent, passed on verbatim"
    )
    parser.add_argument(
        "-c",
        "--config",
        metavar="KEY=VALUE",
        **REPEATED,
        help="set SECTION.KEY to VALUE for this run; repeatable",
    )
    parser.add_argument(
        "--allow-dirty", action="store_true", help="commit your uncommitted changes first, in your name"
    )
    parser.add_argument(
        "--allow-sleep", action="store_true", help="let the machine sleep while an attempt or a gate runs"
    )
    parser.add_argument(
        "--wait",
        action="store_true",
        help="wait for limits to reset, outages to end and questions to be answered instead of ending",
    )
    parser.add_argument(
        "--at", metavar="TIME", help="check everything now and begin to work at TIME: HH:MM or ISO 8601"
    )
    parser.add_argument(
        "--until",
        metavar="TIME|DURATION",
        help="stop in order at TIME (HH:MM or ISO 8601), or after a duration such as 90m or 7h30m",
    )
    parser.add_argument(
        "--no-input",
        action="store_true",
        help="do not ask at the terminal: a question of the agent ends the run with exit code 3",
    )


Handler = Callable[[argparse.Namespace], int]


def _detachable(handler: Handler) -> Handler:
    """With `--detach`, `handler` runs in another process, which has its end of the conversation."""

    def handle(arguments: argparse.Namespace) -> int:
        if not arguments.detach:
            return handler(arguments)
        from orchestrator.cli.detach import Detached, detach

        def carry_out(detached: Detached) -> int:
            arguments.detached = detached
            return handler(arguments)

        return detach(carry_out, as_json=arguments.json)

    return handle


def run_plan(arguments: argparse.Namespace) -> int:
    from orchestrator.commands.run import run

    if arguments.dry_run:
        return _show_dry_run(arguments)
    request = _run_request(arguments)
    if arguments.base:
        return _run_base(arguments, request)
    return _carry_out(arguments, run(this_host(), request))


def _run_request(arguments: argparse.Namespace) -> "RunRequest":
    from orchestrator.commands.request import RunRequest

    return RunRequest(
        plan=arguments.plan,
        only=tuple(arguments.only),
        first=arguments.first,
        new=arguments.new,
        only_base=arguments.base,
        options=replace(_options(arguments), keep=tuple(arguments.keep)),
    )


def _run_base(arguments: argparse.Namespace, request: "RunRequest") -> int:
    from orchestrator.commands.run import run

    if arguments.new:
        raise UsageError(
            "--base cannot be combined with --new",
            hint="Leave --new out: --base neither resumes nor replaces an earlier run.",
        )
    if arguments.detach:
        raise UsageError(
            "--base cannot be combined with --detach",
            hint="Leave --detach out: a base run ends as soon as its checks have ended.",
        )
    options = replace(request.options, listeners=(BaseProgress(_print_progress),))
    report = _wait_for(run(this_host(), replace(request, options=options)))
    if arguments.json:
        import msgspec

        print(msgspec.json.encode({"schema": SCHEMA, **base_json(report.state)}).decode())
    else:
        print(base_table(report.state, find_terminal_columns()))
    if report.exit_code != 0:
        print(f"error: {report.reason}", file=sys.stderr)
    return report.exit_code


def _show_dry_run(arguments: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.cli.dry_run_output import dry_run_json, dry_run_lines
    from orchestrator.commands.dry_run import dry_run

    for option, is_given in (("--base", arguments.base), ("--detach", arguments.detach)):
        if is_given:
            raise UsageError(
                f"--dry-run cannot be combined with {option}", hint="A dry run starts no container."
            )
    arguments.plain = True
    found = asyncio.run(dry_run(this_host(), _run_request(arguments)))
    if arguments.json:
        import msgspec

        print(msgspec.json.encode(dry_run_json(found)).decode())
    else:
        print("\n".join(dry_run_lines(found)))
    return 0


def run_task(arguments: argparse.Namespace) -> int:
    from orchestrator.commands.request import RunRequest
    from orchestrator.commands.run import run

    request = RunRequest(plan=arguments.plan, only=(arguments.task,), options=_options(arguments))
    return _carry_out(arguments, run(this_host(), request))


def resume_run(arguments: argparse.Namespace) -> int:
    from orchestrator.commands.request import ResumeRequest
    from orchestrator.commands.resume import resume

    options = replace(
        _options(arguments),
        keep=tuple(arguments.keep),
        redo=tuple(arguments.redo),
        take_config=arguments.take_config,
    )
    request = ResumeRequest(run=arguments.run, accept=tuple(arguments.accept), options=options)
    return _carry_out(arguments, resume(this_host(), request))


def _options(arguments: argparse.Namespace) -> "StartOptions":
    if os.environ.get("ORCHESTRATOR_RUN"):
        raise UsageError(
            f"a run cannot be started inside another run ({os.environ['ORCHESTRATOR_RUN']})",
            hint="If you are an agent, do the task yourself. "
            "If this is your own shell: unset ORCHESTRATOR_RUN",
        )
    options = read_start_options(arguments)
    is_base = getattr(arguments, "base", False)
    if arguments.detached is None and not is_base and can_show_live(arguments):
        return _show_live(arguments, options)
    return replace(options, progress=_show_progress, warn=_show_warning, listeners=(_listener(arguments),))


def _show_live(arguments: argparse.Namespace, options: "StartOptions") -> "StartOptions":
    import asyncio

    left_open = asyncio.Event()
    view = make_live_view(
        hint="^C stops the run, so that it can be resumed",
        view_of=read_view,
        leave_open=left_open.set,
        asks=not arguments.no_input,
    )
    arguments.view = view
    return replace(
        options,
        progress=view.show_progress,
        warn=view.say,
        listeners=(view,),
        left_open=None if arguments.no_input else left_open,
        end_process=lambda: _leave_and_end(view),
    )


def _leave_and_end(view: "LiveView") -> None:
    from orchestrator.engine.stop_signals import end_process

    view.leave()
    end_process()


def read_start_options(arguments: argparse.Namespace) -> "StartOptions":
    from orchestrator.commands.request import StartOptions

    return StartOptions(
        agent=arguments.agent,
        agent_command=arguments.agent_command,
        model=arguments.model,
        guidance=arguments.guidance,
        config=tuple(arguments.config),
        allow_dirty=arguments.allow_dirty,
        allow_sleep=arguments.allow_sleep,
        wait=_should_wait(arguments),
        at=_read_time("--at", arguments.at, with_durations=False),
        until=_read_time("--until", arguments.until, with_durations=True),
    )


def _should_wait(arguments: argparse.Namespace) -> bool:
    if arguments.wait and arguments.no_input:
        raise UsageError(
            "--wait cannot be combined with --no-input",
            hint="--wait waits until a question is answered; --no-input ends the run.",
        )
    return bool(arguments.wait)


def _read_time(option: str, text: str | None, *, with_durations: bool) -> datetime | None:
    if text is None:
        return None
    now = this_host().clock.now()
    try:
        found = parse_moment(text, now, with_durations=with_durations)
    except ValueError as error:
        example = " or a duration such as 7h30m" if with_durations else ""
        raise UsageError(
            f"{option} {text!r}: {error}", hint=f"Write HH:MM, or 2027-01-31T07:00{example}."
        ) from None
    return found


def _carry_out(arguments: argparse.Namespace, run: Coroutine[Any, Any, RunReport]) -> int:
    return print_outcome(_wait_for(run, arguments.view), arguments)


def _wait_for(run: Coroutine[Any, Any, RunReport], view: "LiveView | None" = None) -> RunReport:
    import asyncio

    try:
        return asyncio.run(_cancel_on_signal(run, view))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def print_outcome(report: RunReport, arguments: argparse.Namespace) -> int:
    """Print the table of a run and the next step, and return the run's exit code."""
    if is_refused(report.state.end):
        print(f"run {report.run} failed before its first task", file=sys.stderr)
        print(f"error: {report.reason}", file=sys.stderr)
        return report.exit_code
    columns = find_terminal_columns()
    view = View(here=this_host().folder, screen=columns, has_events=not arguments.json)
    text = run_table(report.state, view)
    print_line(text, sys.stderr if arguments.json else sys.stdout)
    if report.status == "waiting" and not arguments.no_input and sys.stdin.isatty():
        print(f"To answer: orchestrator resume {report.run} -g TEXT", file=sys.stderr)
    return report.exit_code


async def _cancel_on_signal(run: Coroutine[Any, Any, RunReport], view: "LiveView | None") -> RunReport:
    """Until its loop starts, a signal cancels the run; the loop has its own signal handling."""
    from orchestrator.engine.stop_signals import cancel_on_signals

    with cancel_on_signals():
        if view is None:
            return await run
        view.prepare("checking whether the run can start")
        async with view:
            return await run


def _listener(arguments: argparse.Namespace) -> Listener:
    write, detached = _print_event, arguments.detached

    def write_event(fact: "Fact") -> None:
        if is_shown(fact):
            write(event_line(fact))

    show: Listener = write_event if arguments.json else _console(write)
    # Where both streams are on one screen or in one file, what was shown as progress is not printed again.
    is_one_screen = detached is not None or have_one_reader(sys.stdout, sys.stderr)
    is_one_screen = is_one_screen and not arguments.json
    if detached is not None:
        show = detached.listen_and_announce(show, _folder_of)
    return HeldEvents(show, BaseProgress(_print_progress), repeats=not is_one_screen)


def have_one_reader(one: IO[str], other: IO[str]) -> bool:
    """Whether two streams are on terminals both, or in the same file or pipe."""
    if one.isatty() and other.isatty():
        return True
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except OSError:
        return False  # one of them is not a file of the system


def _folder_of(run: str) -> RunFolder:
    with open_catalog(this_host()) as runs:
        return runs.folder(run)


def _console(write: Callable[[str], object]) -> Console:
    host = this_host()

    def read_stored_state(run: str) -> RunState | None:
        try:
            with open_catalog(host) as runs:
                return runs.run(run)
        except OrchestratorError:
            return None

    return Console(write, state_of=read_stored_state, paint=choose_paint())


def _print_progress(line: str) -> None:
    print_line(line, sys.stderr)


def _show_progress(line: str) -> None:
    """Show a build's output at a terminal only; an error carries the end of it anyway."""
    if sys.stderr.isatty():
        print_line(plain(line), sys.stderr)


def _show_warning(line: str) -> None:
    """Print on standard error, apart from events and the table."""
    print_line(line, sys.stderr)


def _print_event(line: str) -> None:
    print_line(line, sys.stdout)


def print_line(line: str, stream: IO[str]) -> None:
    """Print a line. A run continues without its reader: from then on the stream leads nowhere."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path
            os.dup2(nowhere.fileno(), stream.fileno())
