"""The command `orchestrator`: parse, hand over to one function, and leave by the right door."""

import argparse
import io
import os
import select
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from orchestrator import __version__
from orchestrator.errors import OrchestratorError, storage_errors
from orchestrator.text import plain

BUG = 70
INTERRUPTED = 130
COMMANDS = {
    "init": "init_command",
    "doctor": "doctor_command",
    "trust": "trust_command",
    "image": "image_command",
    "plan": "plan_command",
    "run": "run_command",
    "task": "run_command",
    "resume": "run_command",
    "status": "status_command",
    "history": "history_command",
    "logs": "logs_command",
    "shell": "shell_command",
    "undo": "undo_command",
    "abandon": "undo_command",
    "cancel": "undo_command",
    "clean": "clean_command",
}
"""Every command with the module that knows it, in the order of the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; argparse itself leaves by SystemExit."""
    try:
        _write_anything(sys.stdout, sys.stderr)
        words = sys.argv[1:] if argv is None else argv
        arguments = parser(next(iter(words), None)).parse_args(words)
        if getattr(arguments, "json", False) and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        with storage_errors():
            code: int = arguments.handler(arguments)
        if sys.stdout is not None:  # closed by the caller: >&-
            sys.stdout.flush()
        return code
    except OrchestratorError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        if not _reader_is_gone():
            return report_bug(traceback.format_exc())
        # Whoever read our output has gone; Python would complain again while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        return report_bug(traceback.format_exc())


def _write_anything(*streams: object) -> None:
    """A terminal that lacks a letter shows its number; no run ends because of it."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _reader_is_gone() -> bool:
    """Whether it was our standard output that broke, and not a pipe or socket of a run's."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return bool(output.poll(0))


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The command line; with the name of a command, only that command's part of it.

    Each command's module adds its own, and is imported for that: `status` does not pay for `run`.
    """
    top = argparse.ArgumentParser(
        prog="orchestrator",
        description="Carry out a Markdown plan, unattended, with a coding agent in a disposable container.",
    )
    top.add_argument("--version", action="version", version=f"orchestrator {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in dict.fromkeys([COMMANDS[command]] if command in COMMANDS else COMMANDS.values()):
        import_module(f"orchestrator.cli.{module}").add_parser(commands)
    return top


def print_error(error: OrchestratorError) -> None:
    """What happened, where, and the next step: at most ten lines, on stderr."""
    lines = plain(f"error: {error}").splitlines()
    # The next step is the last line.
    shown = lines if len(lines) <= 10 else [*lines[:8], f"… and {len(lines) - 9} more lines", lines[-1]]
    print("\n".join(shown), file=sys.stderr)


def report_bug(trace: str) -> int:
    """Write a report that can be pasted and say where it lies."""
    text = f"orchestrator {__version__}, Python {sys.version.split()[0]}, {sys.platform}\n\n{trace}"
    print(f"This is a bug in the orchestrator, not in your plan.\n\n{text}", file=sys.stderr)
    try:
        from orchestrator.state_folder import open_state_folder

        folder = open_state_folder(os.environ).path / "bug-reports"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = Path(folder / f"{os.getpid()}.txt")
        path.write_text(text, "utf-8")
        print(f"The report is in {path}", file=sys.stderr)
    except (OrchestratorError, OSError) as error:
        print(f"The report could not be stored: {error}", file=sys.stderr)
    return BUG


if __name__ == "__main__":
    sys.exit(main())
