"""The stored output of agents and gates."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import UsageError
from orchestrator.project.run_folder import RunFolder
from orchestrator.run.state import RunState

STREAMS = ("stdout", "stderr")


class Transcript(NamedTuple):
    """The output of one attempt; a file for each stream."""

    task: str
    attempt: int
    folder: Path


class Line(NamedTuple):
    stream: str
    text: str


def transcripts(
    state: RunState, folder: RunFolder, *, task: str | None = None, attempt: int | None = None
) -> Iterator[Transcript]:
    """Transcripts of a run, of one task or of one attempt number. Raises UsageError for an unknown task."""
    if task is not None and task not in state.tasks:
        raise UsageError(f"run {state.run} has no task {task}", hint=f"Its tasks: {', '.join(state.tasks)}")
    for task_id, found in state.tasks.items():
        for each in found.attempts:
            if task in (None, task_id) and attempt in (None, each.number):
                yield Transcript(task_id, each.number, folder.root / each.start.folder / "transcript")


def read_evidence(folder: RunFolder, wanted: str) -> str:
    """Everything that a gate printed. Raises UsageError for unknown evidence."""
    known = sorted(path.name for path in folder.evidence.glob("*"))
    if wanted not in known:
        raise UsageError(
            f"there is no evidence {wanted}", hint=f"Evidence of this run: {', '.join(known) or 'none'}"
        )
    return (folder.evidence / wanted / "output").read_text("utf-8", "replace")


class TranscriptReader:
    """Reads a transcript line by line; each call continues where the last one stopped."""

    def __init__(self, transcript: Transcript) -> None:
        self._folder = transcript.folder
        self._read = dict.fromkeys(STREAMS, 0)

    def new_lines(self, *, ended: bool) -> Iterator[Line]:
        """The lines since the last call; an incomplete last line only when the attempt has ended."""
        for stream in STREAMS:
            path = self._folder / stream
            if path.exists():
                yield from self._lines_of(path, stream, ended=ended)

    def _lines_of(self, path: Path, stream: str, *, ended: bool) -> Iterator[Line]:
        with path.open("rb") as source:
            source.seek(self._read[stream])
            for line in source:
                if not line.endswith(b"\n") and not ended:
                    return
                self._read[stream] += len(line)
                yield Line(stream, line.removesuffix(b"\n").decode("utf-8", "replace"))
