"""The command as a process of its own, with a state folder of the test's."""

import asyncio
import os
import subprocess  # noqa: TID251 - the command is started as a user's shell does
import sys
from collections.abc import Iterable
from pathlib import Path

from forked import READ_BY_PYTHON, start_forked
from run_histories import RUN, Entry

import orchestrator
from orchestrator.cli.main import main
from orchestrator.clock import SystemClock
from orchestrator.journal.journal import Journal
from orchestrator.state_folder import open_state_folder

SOURCE = str(Path(orchestrator.__file__).parents[1])
Done = subprocess.CompletedProcess[bytes]


def environment(**extra: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_STATE_HOME")}
    return {**kept, "PYTHONPATH": SOURCE, "LC_ALL": "C.UTF-8", **extra}


def orchestrate(*words: str, cwd: Path, **extra: str) -> Done:
    if READ_BY_PYTHON.isdisjoint(extra):
        with start_forked(main, words, cwd, environment(**extra)) as command:
            stdout, stderr = command.communicate(timeout=60)
        return Done(command.args, command.returncode, stdout, stderr)
    argv = [sys.executable, "-m", "orchestrator.cli.main", *words]
    return subprocess.run(argv, cwd=cwd, env=environment(**extra), capture_output=True, timeout=60)


def remember(entries: Iterable[Entry], run: str = RUN) -> Path:
    """Put these facts into the journal of the caller's state folder; gives the run's folder."""
    state = open_state_folder(os.environ).path
    asyncio.run(append(state / "journal.sqlite", entries, run))
    folder = state / "runs" / run
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def append(path: Path, entries: Iterable[Entry], run: str) -> None:
    journal = Journal.open(path, SystemClock())
    for entry in entries:
        await journal.append(run, entry.body, task=entry.task, attempt=entry.attempt)
    journal.close()
