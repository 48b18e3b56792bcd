"""The command in a process of its own, a fork of this one: half of its time it would import its modules."""

import gc
import io
import os
import signal
import subprocess  # noqa: TID251 - starts the command as a user's shell does
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import NoReturn

from orchestrator import commands
from orchestrator.cli.main import COMMANDS

READ_BY_PYTHON = frozenset({"LC_ALL", "LANG", "LC_CTYPE", "PYTHONPATH", "PYTHONIOENCODING", "PYTHONUTF8"})
"""Variables that an interpreter reads as it starts."""


def start_forked(
    main: Callable[[], int], words: Sequence[str], cwd: Path, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """`main` with these words, as `Popen` would start it: with pipes, in a session of its own."""
    _import_once()

    def become() -> NoReturn:
        be_the_command(main, words, environment)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the readers of other commands are threads
        return subprocess.Popen(
            ["orchestrator", *words],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=become,
        )


def be_the_command(main: Callable[[], int], words: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """In the fork, where the files 0 to 2 are the command's: run it and exit as an interpreter would."""
    code = 70
    try:
        os.closerange(3, 65536)
        gc.freeze()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        warnings.resetwarnings()
        for ignored in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", ignored)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["orchestrator", *words]
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
        sys.stdout = _writer(1)
        sys.stderr = _writer(2)
        code = main()
        sys.stdout.flush()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BrokenPipeError:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _writer(descriptor: int) -> io.TextIOWrapper:
    binary = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
    is_error = descriptor == 2
    errors = "backslashreplace" if is_error else "strict"
    return io.TextIOWrapper(binary, encoding="utf-8", errors=errors, line_buffering=is_error)


@cache
def _import_once() -> None:
    parts = [f"cli.{module}" for module, _ in COMMANDS.values()]
    parts += [f"commands.{module.name}" for module in iter_modules(commands.__path__)]
    parts += ["containers.engine", "cli.console", "cli.tables", "gateway.client", "agents.claude_code"]
    for part in parts:
        import_module(f"orchestrator.{part}")
