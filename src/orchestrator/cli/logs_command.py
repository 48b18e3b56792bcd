"""`logs`: what the agent printed, or everything a gate printed."""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from orchestrator.cli.host import this_host
from orchestrator.errors import UsageError
from orchestrator.project.catalog import RunCatalog, opened_catalog
from orchestrator.run.state import RunState
from orchestrator.text import visible

FOLLOW_SECONDS = 0.5


class _Transcript(NamedTuple):
    task: str
    attempt: int
    folder: Path


def add_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--task", metavar="ID")
    parser.add_argument("--attempt", metavar="N", type=int)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--raw", action="store_true", help="the stored bytes of stdout, of one attempt")
    form.add_argument("--evidence", metavar="ID", help="a gate's whole output")
    form.add_argument(
        "--follow", action="store_true", help="go on with what is printed until the run has ended"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(handler=logs)


def logs(arguments: argparse.Namespace) -> int:
    with opened_catalog(this_host()) as runs:
        state = runs.named(arguments.run)
        folder = runs.folder(state.run).root
        if arguments.follow:
            _follow(runs, state, arguments)
            return 0
    if arguments.json and (arguments.evidence is not None or arguments.raw):
        raise UsageError(
            "--json is for what agents printed, line by line; --evidence and --raw give it whole"
        )
    if arguments.evidence is not None:
        return _evidence(folder, arguments.evidence)
    transcripts = list(_transcripts(state, folder, arguments.task, arguments.attempt))
    if arguments.attempt is not None and not transcripts:
        raise UsageError(
            f"run {state.run} has no attempt {arguments.attempt} there",
            hint=f"orchestrator status {state.run}",
        )
    if arguments.raw:
        return _raw(transcripts)
    for transcript in transcripts:
        _Reader(state.run, transcript, as_json=arguments.json).print_new(ended=True)
    return 0


def _follow(runs: RunCatalog, state: RunState, arguments: argparse.Namespace) -> None:
    """Print what there is and what comes, until the run has ended or nobody carries it out."""
    folder = runs.folder(state.run).root
    readers: dict[_Transcript, _Reader] = {}
    over = runs.owner(state.run) is None
    while True:
        for transcript in _transcripts(state, folder, arguments.task, arguments.attempt):
            if transcript not in readers:
                readers[transcript] = _Reader(state.run, transcript, as_json=arguments.json)
            readers[transcript].print_new(ended=over)
        sys.stdout.flush()
        if over:
            return
        time.sleep(FOLLOW_SECONDS)
        # Looked up before the last reading: what was printed until then is in the transcripts.
        over = runs.owner(state.run) is None
        state = runs.named(state.run)


def _transcripts(
    state: RunState, folder: Path, task: str | None, attempt: int | None
) -> Iterator[_Transcript]:
    if task is not None and task not in state.tasks:
        raise UsageError(f"run {state.run} has no task {task}", hint=f"It has: {', '.join(state.tasks)}")
    for task_id, found in state.tasks.items():
        for each in found.attempts:
            if task in (None, task_id) and attempt in (None, each.number):
                yield _Transcript(task_id, each.number, folder / each.start.folder / "transcript")


def _evidence(folder: Path, wanted: str) -> int:
    known = sorted(path.name for path in (folder / "evidence").glob("*"))
    if wanted not in known:
        raise UsageError(f"there is no evidence {wanted}", hint=f"There is: {', '.join(known) or 'none'}")
    print(visible((folder / "evidence" / wanted / "output").read_text("utf-8", "replace")), end="")
    return 0


def _raw(transcripts: list[_Transcript]) -> int:
    if len(transcripts) != 1:
        raise UsageError(
            f"--raw is for one attempt, and {len(transcripts)} fit", hint="Add --task ID and --attempt N."
        )
    path = transcripts[0].folder / "stdout"
    if path.exists():
        sys.stdout.flush()
        with path.open("rb") as source:
            shutil.copyfileobj(source, sys.stdout.buffer)
    return 0


class _Reader:
    """Prints a transcript line by line, from where it got to."""

    def __init__(self, run: str, transcript: _Transcript, *, as_json: bool) -> None:
        self._run = run
        self._transcript = transcript
        self._as_json = as_json
        self._read = {"stdout": 0, "stderr": 0}

    def print_new(self, *, ended: bool) -> None:
        """What has come since; a last line without its end only when nothing more can come."""
        for stream in self._read:
            path = self._transcript.folder / stream
            if path.exists():
                with path.open("rb") as source:
                    source.seek(self._read[stream])
                    self._print_lines(source, stream, ended=ended)

    def _print_lines(self, source: BinaryIO, stream: str, *, ended: bool) -> None:
        for line in source:
            if not line.endswith(b"\n") and not ended:
                return
            self._read[stream] += len(line)
            text = line.removesuffix(b"\n").decode("utf-8", "replace")
            _print_line(self._run, self._transcript, stream, text, as_json=self._as_json)


def _print_line(run: str, transcript: _Transcript, stream: str, line: str, *, as_json: bool) -> None:
    if not as_json:
        mark = "!" if stream == "stderr" else " "
        print(f"{transcript.task}/{transcript.attempt}{mark} {visible(line)}")
        return
    import msgspec

    entry = {
        "schema": 1,
        "run": run,
        "task": transcript.task,
        "attempt": transcript.attempt,
        "stream": stream,
        "text": line,
    }
    print(msgspec.json.encode(entry).decode())
