"""The stored output of agents and gates.

The orchestrator stores it in files of its own, but the bytes are an agent's: a line can have any length and
any content. So files are opened without following links, and read in pieces of a limited size.
"""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from orchestrator.errors import UsageError
from orchestrator.files import open_regular
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.facts import BaseChecked, GateEnded
from orchestrator.run.state import RunState
from orchestrator.stored_output import DamagedOutput, open_stored, skip_bytes
from orchestrator.text import first_line, plain_end

STREAMS = ("stdout", "stderr")
LINE_MAX = 32 * 1024 * 1024
"""Bytes of one line that are shown; the rest of a longer line is skipped, as it is while it is followed."""
PIECE_BYTES = 1_000_000
STDERR_TAIL_CHARACTERS = 2_000


class Transcript(NamedTuple):
    """The output of one attempt; a file for each stream."""

    task: str
    attempt: int
    agent: str
    """The name of the agent that it was started with."""
    folder: Path
    has_ended: bool


class Line(NamedTuple):
    stream: str
    data: bytes
    """Without its newline."""


def transcripts(
    state: RunState, folder: RunFolder, *, task: str | None = None, attempt: int | None = None
) -> Iterator[Transcript]:
    """Transcripts of a run, of one task or of one attempt number. Raises UsageError for an unknown task."""
    if task is not None and task not in state.tasks:
        raise UsageError(f"run {state.run} has no task {task}", hint=f"Its tasks: {', '.join(state.tasks)}")
    for task_id, found in state.tasks.items():
        for each in found.attempts:
            if task in (None, task_id) and attempt in (None, each.number):
                yield Transcript(
                    task=task_id,
                    attempt=each.number,
                    agent=each.agent(state),
                    folder=folder.root / each.start.folder / "transcript",
                    has_ended=each.end is not None,
                )


def describe_evidence(state: RunState, wanted: str) -> str | None:
    """Gate, verdict and command of evidence in one line; None where no gate of the state has it."""
    for check in state.base:
        if check.check.evidence == wanted:
            of = "all tasks" if check.task is None else f"task {check.task}"
            before = check.check.before.replace("_", " ")
            return _describe_gate(check.check, f"{of}, before any work", before)
    for id, task in state.tasks.items():
        for gate in (gate for attempt in task.attempts for gate in attempt.gates):
            if gate.evidence == wanted:
                return _describe_gate(gate, f"task {id}", gate.verdict)
    for gate in state.end_to_end_gates:
        if gate.evidence == wanted:
            return _describe_gate(gate, "end to end", gate.verdict)
    return None


def _describe_gate(gate: GateEnded | BaseChecked, of: str, verdict: str) -> str:
    code = "" if gate.exit_code is None else f", exit code {gate.exit_code}"
    return f"{gate.evidence}: {gate.gate} of {of}: {verdict}{code}: {first_line(gate.command, 200)}"


def read_evidence(folder: RunFolder, wanted: str) -> Iterator[str]:
    """Everything that a gate printed, in pieces. Raises UsageError for unknown evidence."""
    known = sorted(path.name for path in folder.evidence.glob("[!.]*"))
    if wanted not in known:
        raise UsageError(
            f"there is no evidence {wanted}", hint=f"Evidence of this run: {', '.join(known) or 'none'}"
        )
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in read_stored(folder.evidence / wanted / "output"):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def read_stored(path: Path) -> Iterator[bytes]:
    """A file's bytes in pieces; nothing where it does not exist. Raises UsageError if it cannot be read."""
    with _open_if_present(path) as file:
        while file is not None and (piece := file.read(PIECE_BYTES)):
            yield piece


def read_stderr_tail(folder: Path) -> str:
    """The end of an agent's standard error, without control codes; empty where it cannot be read."""
    try:
        with open_regular(folder / "stderr") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - 8 * STDERR_TAIL_CHARACTERS))
            text = file.read(8 * STDERR_TAIL_CHARACTERS).decode("utf-8", "replace")
            return plain_end(text, 4 * STDERR_TAIL_CHARACTERS)[-STDERR_TAIL_CHARACTERS:]
    except OSError:
        return ""


class TranscriptReader:
    """Reads a transcript line by line; each call continues where the last one stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = dict.fromkeys(STREAMS, 0)

    def new_lines(self, *, ended: bool) -> Iterator[Line]:
        """The lines since the last call; an incomplete last line only when the attempt has ended.

        Raises UsageError for a file that cannot be read.
        """
        for stream in STREAMS:
            with _open_if_present(self._folder / stream) as file:
                if file is not None:
                    skip_bytes(file, self._read[stream])
                    yield from self._lines_of(file, stream, ended=ended)

    def _lines_of(self, file: BinaryIO, stream: str, *, ended: bool) -> Iterator[Line]:
        while line := file.readline(LINE_MAX):
            piece, size = line, len(line)
            while not piece.endswith(b"\n") and (piece := file.readline(LINE_MAX)):
                size += len(piece)
            if not piece and not ended:
                return
            self._read[stream] += size
            yield Line(stream, line.removesuffix(b"\n"))


@contextmanager
def _open_if_present(path: Path) -> Iterator[BinaryIO | None]:
    """None where the file does not exist.

    Raises UsageError for a link, a pipe, a file without access, or compressed data that are damaged.
    """
    try:
        file = open_stored(path)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise _explain_unreadable(path, error) from error
    with file:
        try:
            yield file
        except DamagedOutput as error:
            raise _explain_unreadable(path, error) from error


def _explain_unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"the stored output cannot be read: {error.strerror}",
        where=str(error.filename or path),
        hint="Only the orchestrator writes this file; check what has replaced it.",
    )
