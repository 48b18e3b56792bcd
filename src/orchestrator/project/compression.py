"""Compresses the outputs of agents and gates of finished runs; requires the run's lock."""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.files import DRAFTS
from orchestrator.project.run_folder import RunFolder
from orchestrator.project.transcripts import STREAMS, transcripts
from orchestrator.run.state import RunState
from orchestrator.stored_output import compress_file, measure_compressible

AT_ONCE_BYTES = 128 * 1024**2
"""For the end of a run, whose user waits for the prompt: it takes some 1.5 seconds. `clean` does the rest."""


def may_compress(state: RunState) -> bool:
    """Whether nothing is appended to outputs of this run any more, except by new attempts.

    A run that is parked, waits or was interrupted may have an agent at work, and its next owner appends to
    the transcript.
    """
    return state.end is not None and state.end.status in ("completed", "failed", "cancelled")


def has_compressible(folder: RunFolder) -> bool:
    """Whether there are outputs that are not compressed, by their names; cheap for a run without any."""
    found = (*folder.root.glob("attempts/*/*/transcript/*"), *folder.evidence.glob("[!.]*/output"))
    return any(measure_compressible(path) for path in found if path.name in (*STREAMS, "output"))


def list_compressible(state: RunState, folder: RunFolder) -> tuple[Path, ...]:
    """The outputs of attempts that have ended, and those of gates."""
    ended = (
        each.folder / stream for each in transcripts(state, folder) if each.has_ended for stream in STREAMS
    )
    found = (*ended, *sorted(folder.evidence.glob("[!.]*/output")))
    return tuple(path for path in found if measure_compressible(path))


def compress_outputs(paths: Iterable[Path], *, limit: int | None = None) -> int:
    """Compress these outputs, and return how many bytes that has freed. Raises OSError.

    With `limit`, those that would exceed so many bytes in total are left as they are.
    """
    freed = 0
    for path in paths:
        # A compression that was killed has left its unfinished file.
        for draft in path.parent.glob(DRAFTS):
            draft.unlink(missing_ok=True)
        size = measure_compressible(path)
        if limit is not None:
            if size > limit:
                continue
            limit -= size
        freed += compress_file(path)
    return freed
