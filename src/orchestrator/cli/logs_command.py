"""`logs`: the agent's output, or the whole output of a gate."""

import argparse
import sys
from itertools import chain

from orchestrator.agents.base import Parser
from orchestrator.cli.agent_lines import event_parser, readable_lines
from orchestrator.cli.host import this_host
from orchestrator.cli.words import RUN_HELP
from orchestrator.errors import UsageError
from orchestrator.project.catalog import RunCatalog, open_catalog
from orchestrator.project.host import Host
from orchestrator.project.run_folder import RunFolder
from orchestrator.project.transcripts import (
    Transcript,
    TranscriptReader,
    describe_evidence,
    read_evidence,
    read_stored,
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
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a line; its `text` is the line as it is shown without --json",
    )
    parser.set_defaults(handler=logs)


def logs(arguments: argparse.Namespace) -> int:
    host = this_host()
    with open_catalog(host) as runs:
        state = runs.find(arguments.run)
        folder = runs.folder(state.run)
        if arguments.follow:
            import asyncio  # slow to import, and only --follow needs it

            asyncio.run(_follow(host, runs, state, arguments))
            return 0
    if arguments.json and (arguments.evidence is not None or arguments.raw):
        raise UsageError("--json cannot be combined with --evidence or --raw", hint="Leave one of them out.")
    if arguments.evidence is not None:
        _print_evidence(state, folder, arguments.evidence)
        return 0
    found = list(transcripts(state, folder, task=arguments.task, attempt=arguments.attempt))
    if arguments.attempt is not None and not found:
        task = "" if arguments.task is None else f" of task {arguments.task}"
        raise UsageError(
            f"run {state.run} has no attempt {arguments.attempt}{task}",
            hint=f"List its attempts: orchestrator status {state.run}",
        )
    if arguments.raw:
        if len(found) != 1:
            raise UsageError(
                f"--raw prints one attempt, and {len(found)} match", hint="Add --task ID and --attempt N."
            )
        sys.stdout.flush()
        for piece in read_stored(found[0].folder / "stdout"):
            sys.stdout.buffer.write(piece)
        return 0
    for transcript in found:
        _AttemptLog(host, state.run, transcript, as_json=arguments.json).print_new(ended=True)
    return 0


def _print_evidence(state: RunState, folder: RunFolder, wanted: str) -> None:
    """The output on standard output; whose it is on standard error."""
    pieces = read_evidence(folder, wanted)
    first = next(pieces)
    about = describe_evidence(state, wanted)
    nothing = "" if first else "\nIt printed nothing."
    if about is not None:
        print(f"{about}{nothing}", file=sys.stderr, flush=True)
    for piece in chain((first,), pieces):
        print(visible(piece), end="")


async def _follow(host: Host, runs: RunCatalog, state: RunState, arguments: argparse.Namespace) -> None:
    """Print stored lines and new ones, of all attempts in order, until no process carries out the run."""
    folder, logs_of = runs.folder(state.run), dict[tuple[str, int], _AttemptLog]()
    ended = runs.owner(state.run) is None
    while True:
        for each in transcripts(state, folder, task=arguments.task, attempt=arguments.attempt):
            key = (each.task, each.attempt)
            if key not in logs_of:
                logs_of[key] = _AttemptLog(host, state.run, each, as_json=arguments.json)
            # An attempt ends after its last byte is stored: then a line without a newline is whole, too.
            logs_of[key].print_new(ended=ended or each.has_ended)
        sys.stdout.flush()
        if ended:
            return
        await runs.clock.sleep(FOLLOW_SECONDS)
        # Check before the last read: then that read includes all output of an owner that has ended.
        ended = runs.owner(state.run) is None
        state = runs.run(state.run)


class _AttemptLog:
    """Prints the output of one attempt; each call continues where the last one stopped."""

    def __init__(self, host: Host, run: str, transcript: Transcript, *, as_json: bool) -> None:
        self._run = run
        self._of = transcript
        self._parser = _parser_of(host, transcript.agent)
        self._reader = TranscriptReader(transcript.folder)
        self._as_json = as_json
        self._is_whole = False

    def print_new(self, *, ended: bool) -> None:
        if self._is_whole:
            return
        for stream, data in self._reader.new_lines(ended=ended):
            for text in readable_lines(data, self._parser if stream == "stdout" else None):
                self._print(stream, text)
        self._is_whole = ended

    def _print(self, stream: str, text: str) -> None:
        if not self._as_json:
            mark = "!" if stream == "stderr" else " "
            print(f"{self._of.task}/{self._of.attempt}{mark} {visible(text)}")
            return
        import msgspec

        entry = {
            "schema": 1,
            "run": self._run,
            "task": self._of.task,
            "attempt": self._of.attempt,
            "stream": stream,
            "text": text,
        }
        print(msgspec.json.encode(entry).decode())


def _parser_of(host: Host, agent: str) -> Parser | None:
    """The parser of the agent that an attempt was started with; None: its output is shown as it is."""
    try:
        return event_parser(host.agent_driver(agent))
    except UsageError:  # an agent of a newer version
        return None
