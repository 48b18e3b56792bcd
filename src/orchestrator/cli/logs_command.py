"""`logs`: the agent's output, or the whole output of a gate."""

import argparse
import shutil
import sys

from orchestrator.cli.host import this_host
from orchestrator.cli.words import RUN_HELP
from orchestrator.errors import UsageError
from orchestrator.project.catalog import RunCatalog, open_catalog
from orchestrator.project.transcripts import (
    Line,
    Transcript,
    TranscriptReader,
    read_evidence,
    transcripts,
)
from orchestrator.run.state import RunState
from orchestrator.text import visible

FOLLOW_SECONDS = 0.5


def add_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--task", metavar="ID", help="only the attempts of this task")
    parser.add_argument("--attempt", metavar="N", type=int, help="only attempt N of each task, or of --task")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--raw", action="store_true", help="the stored bytes of one attempt's standard output")
    form.add_argument("--evidence", metavar="ID", help="the whole output of a gate, by its evidence id")
    form.add_argument("--follow", action="store_true", help="keep printing new lines until the run has ended")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(handler=logs)


def logs(arguments: argparse.Namespace) -> int:
    with open_catalog(this_host()) as runs:
        state = runs.find(arguments.run)
        folder = runs.folder(state.run)
        if arguments.follow:
            import asyncio  # slow to import, and only --follow needs it

            asyncio.run(_follow(runs, state, arguments))
            return 0
    if arguments.json and (arguments.evidence is not None or arguments.raw):
        raise UsageError("--json cannot be combined with --evidence or --raw")
    if arguments.evidence is not None:
        print(visible(read_evidence(folder, arguments.evidence)), end="")
        return 0
    found = list(transcripts(state, folder, task=arguments.task, attempt=arguments.attempt))
    if arguments.attempt is not None and not found:
        task = "" if arguments.task is None else f" of task {arguments.task}"
        raise UsageError(
            f"run {state.run} has no attempt {arguments.attempt}{task}",
            hint=f"List its attempts: orchestrator status {state.run}",
        )
    if arguments.raw:
        _print_raw(found)
        return 0
    for transcript in found:
        for line in TranscriptReader(transcript).new_lines(ended=True):
            _print_line(state.run, transcript, line, as_json=arguments.json)
    return 0


async def _follow(runs: RunCatalog, state: RunState, arguments: argparse.Namespace) -> None:
    """Print stored lines and new ones, until the run has ended or its owner has died."""
    folder = runs.folder(state.run)
    readers: dict[Transcript, TranscriptReader] = {}
    ended = runs.owner(state.run) is None
    while True:
        for transcript in transcripts(state, folder, task=arguments.task, attempt=arguments.attempt):
            reader = readers.setdefault(transcript, TranscriptReader(transcript))
            for line in reader.new_lines(ended=ended):
                _print_line(state.run, transcript, line, as_json=arguments.json)
        sys.stdout.flush()
        if ended:
            return
        await runs.clock.sleep(FOLLOW_SECONDS)
        # Check before the last read: whatever the owner printed before it ended is then read.
        ended = runs.owner(state.run) is None
        state = runs.run(state.run)


def _print_raw(found: list[Transcript]) -> None:
    if len(found) != 1:
        raise UsageError(
            f"--raw prints one attempt, and {len(found)} match", hint="Add --task ID and --attempt N."
        )
    path = found[0].folder / "stdout"
    if path.exists():
        sys.stdout.flush()
        with path.open("rb") as source:
            shutil.copyfileobj(source, sys.stdout.buffer)


def _print_line(run: str, transcript: Transcript, line: Line, *, as_json: bool) -> None:
    if not as_json:
        mark = "!" if line.stream == "stderr" else " "
        print(f"{transcript.task}/{transcript.attempt}{mark} {visible(line.text)}")
        return
    import msgspec

    entry = {
        "schema": 1,
        "run": run,
        "task": transcript.task,
        "attempt": transcript.attempt,
        "stream": line.stream,
        "text": line.text,
    }
    print(msgspec.json.encode(entry).decode())
