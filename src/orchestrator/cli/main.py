"""The command `orchestrator`: parse, call one function, and turn its result or error into an exit code."""

import argparse
import gc
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from orchestrator import __version__
from orchestrator.cli.imports import import_msgspec
from orchestrator.errors import OrchestratorError, UsageError, convert_storage_errors
from orchestrator.shipped_files import find_commit
from orchestrator.text import plain

PROGRAM = "orchestrator"
COMPLETE = "_complete"
"""A command for completion scripts only, so it is in no help."""
BUG = 70
INTERRUPTED = 130
COMMANDS = {
    "init": ("init_command", "write an orchestrator.toml with what is found in this repository"),
    "doctor": ("doctor_command", "check whether a run can start here, and show the settings"),
    "trust": ("trust_command", "show and approve the settings that need your approval"),
    "image": ("image_command", "build the image that attempts and gates start from"),
    "demo": ("demo_command", "carry out an example in a scratch repository"),
    "plan": ("plan_command", "show a plan, check it, or write a new one"),
    "run": ("run_command", "carry out a plan, or continue its unfinished run"),
    "task": ("run_command", "carry out one task of a plan"),
    "resume": ("run_command", "continue a run that failed, waits, or was stopped"),
    "answer": ("answer_command", "answer a question of an agent, also while its run works on other tasks"),
    "status": ("status_command", "show the runs of this repository, or one run with its tasks"),
    "history": ("history_command", "list the runs of this repository, newest first"),
    "watch": ("watch_command", "show what happens in a run, until it has ended"),
    "report": ("report_command", "report what a run has done, task by task, with the evidence"),
    "logs": ("logs_command", "print the agent's output, or the whole output of a gate"),
    "shell": ("shell_command", "open a shell, or run a command, in a container like an attempt's"),
    "service": (
        "service_command",
        "resume runs after a reboot, by a unit of systemd for your user",
    ),
    "undo": ("undo_command", "undo the commit of a task and all later ones of its run"),
    "abandon": ("undo_command", "undo all commits of a run and cancel it"),
    "cancel": ("undo_command", "stop a run for good and keep its commits"),
    "clean": ("clean_command", "remove leftover containers, and on request the data of old runs"),
    "completion": ("completion_command", "print the completion script of a shell"),
    "help": ("help_command", "print the help of a command"),
}
"""Every command in the order of the help: its module, where `add_NAME` adds its options, and what it does.

`cli/descriptions.py` has a paragraph, examples and exit codes of each.
"""


def console() -> int:
    """The installed script: `main` in a process of its own, where nothing is left to do afterwards."""
    try:
        return main()
    finally:
        gc.freeze()  # else the interpreter searches everything for garbage before it exits


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; argparse itself leaves by SystemExit."""
    try:
        _choose_encodings()
        words = sys.argv[1:] if argv is None else argv
        with _pause_collection():
            command = next((word for word in words if word != "--"), None)
            if command == COMPLETE:
                from orchestrator.cli.ids import print_ids

                return print_ids(words[1:], [*COMMANDS])
            if command in COMMANDS:
                import_msgspec()
            arguments = parser(command).parse_args(words)
        if getattr(arguments, "json", False) and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        with convert_storage_errors():
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
        if not _is_reader_gone():
            return report_bug()
        # The reader of our output has exited. Python would report that again at its own exit.
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 0
    except Exception:
        return report_bug()


def _choose_encodings() -> None:
    """Escapes for characters that a stream cannot have, so that no run fails because of one.

    At a terminal under a locale that is not UTF-8, our own signs are written in ASCII.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            if stream.isatty():
                from orchestrator.cli.terminal import has_utf8

                if not has_utf8(os.environ):
                    stream.reconfigure(encoding="ascii", errors="orchestrator-signs")


@contextmanager
def _pause_collection() -> Iterator[None]:
    """Imported modules do not become garbage: searching them takes a tenth of the time of `status`."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _is_reader_gone() -> bool:
    """Whether our standard output is the broken pipe, and not a pipe or socket of a run."""
    import select

    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return bool(output.poll(0))


def parser(command: str | None = None, *, whole: bool = False) -> argparse.ArgumentParser:
    """The command line of one command, or without its name the list of all, which is what `--help` shows.

    Only the module of that command is imported: `status` does not pay for `run`, and `--help` for none. With
    `whole`, every command has its arguments.
    """
    top = _Parser(
        prog=PROGRAM,
        description="Carry out a Markdown plan, unattended, with a coding agent in a disposable container.",
        epilog=f"`{PROGRAM} help COMMAND` explains a command, with examples and exit codes.",
    )
    version = "show the program's version, and the commit of a clone"
    top.add_argument("-V", "--version", action=_ShowVersion, nargs=0, help=version)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", prog=PROGRAM)
    top.set_defaults(handler=lambda _: print(top.format_help(), end="") or 0)
    for name in [command] if command in COMMANDS else COMMANDS:
        module, summary = COMMANDS[name]
        part = commands.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.")
        if whole or name == command:
            getattr(import_module(f"orchestrator.cli.{module}"), f"add_{name}")(part)
    return top


# argparse translates each of its words, which reads folders for a translation that it does not have.
argparse._ = lambda text: text  # type: ignore[attr-defined]


class _ShowVersion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"{PROGRAM} {describe_version()}")
        parser.exit()


def describe_version() -> str:
    commit = find_commit()
    return __version__ if commit is None else f"{__version__} ({commit})"


class _Parser(argparse.ArgumentParser):
    """A wrong command or option is named with the nearest one that exists, not with all of them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, **options)
        self._words: list[str] = []

    def format_help(self) -> str:
        from orchestrator.cli.descriptions import describe

        described = describe(self.prog.removeprefix(f"{PROGRAM} "))
        if described is not None:
            text, self.epilog = described
            summary = (self.description or "").partition(PARAGRAPH)[0]
            self.description = f"{summary}{PARAGRAPH}{text}" if summary else text
        return super().format_help()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self._words = [*(args or ())]
        found, unknown = super().parse_known_args(args, namespace)
        for word in unknown:
            if word != "--":
                self._refuse(word)
        return found, []

    def error(self, message: str) -> NoReturn:
        """A mistyped option is the reason, also where argparse first sees that an argument is missing."""
        for word in self._words:
            option = word.partition("=")[0]
            if option in ("-", "--"):
                break
            if option.startswith("--") and not self._get_option_tuples(option):
                self._refuse(word)
        super().error(message)

    def _refuse(self, word: str) -> NoReturn:
        option = word.partition("=")[0]
        if not option.startswith("-"):
            raise UsageError(f"{self.prog}: unexpected argument '{word}'", hint=self._suggest_help())
        hint = name_nearest(option, self._option_string_actions) or self._suggest_help()
        raise UsageError(f"{self.prog}: '{option}' is not an option", hint=hint)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            hint = name_nearest(value, action.choices) or self._suggest_help()
            raise UsageError(f"'{value}' is not a command of {self.prog}", hint=hint)
        super()._check_value(action, value)

    def _suggest_help(self) -> str:
        words = self.prog.split()
        return f"To see its commands and options: {' '.join([PROGRAM, 'help', *words[1:]])}"


def name_nearest(word: str, known: Iterable[str]) -> str | None:
    """A question with the known word that is nearest to this one; None if none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, [*known], n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else None


PARAGRAPH = "\n\n"


class _Formatter(argparse.HelpFormatter):
    """Asks for the terminal's width itself: argparse would import shutil and its three compressors."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
        except (OSError, ValueError):
            columns = 80
        super().__init__(prog, width=max(columns, 20) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Paragraphs are filled; a block with indented lines is kept as it is."""
        blocks = text.split(PARAGRAPH)
        return PARAGRAPH.join(
            block if "\n " in block else super(_Formatter, self)._fill_text(block, width, indent)
            for block in blocks
        )


def print_error(error: OrchestratorError) -> None:
    """Print what happened, where, and the next step: at most ten lines, on standard error."""
    lines = plain(f"error: {error}").splitlines()
    # The next step is the last line.
    shown = lines if len(lines) <= 10 else [*lines[:8], f"… and {len(lines) - 9} more lines", lines[-1]]
    print("\n".join(shown), file=sys.stderr)


def report_bug() -> int:
    """Store a report of the current exception that can be pasted, and print its path."""
    import traceback

    where = f"{PROGRAM} {describe_version()}, Python {sys.version.split()[0]}, {sys.platform}"
    text = f"{where}\n\n{traceback.format_exc()}"
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
    sys.exit(console())
