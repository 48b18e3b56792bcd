"""Evidence of a gate: its command, verdict and whole output, stored under an id."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from orchestrator.files import write_atomically
from orchestrator.run.facts import Verdict
from orchestrator.stored_output import open_stored
from orchestrator.text import plain_end

TAIL_CHARACTERS = 4_000
CLEANED_CHARACTERS = 20 * TAIL_CHARACTERS
"""How much of an output's end is cleaned to find its tail: an output of gigabytes is not cleaned whole."""
_DRAFT = ".draft-"

LOADED_BYTES = 400_000_000
"""More than any stored output: a command is stopped at 100 MB, and a byte becomes at most three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The record of one gate. The file `output` next to it holds everything that the command printed."""

    id: str
    gate: str
    command: str
    candidate: str
    image: str
    """The image's id."""
    container: str
    verdict: Verdict
    exit_code: int | None
    """None when the command could not be run."""
    seconds: float
    output_sha256: str
    detail: str
    """The reason when it is unavailable or took too long; else empty."""
    failed_tests: tuple[str, ...] | None = None
    """The tests that failed, by a report that pytest wrote; None without one."""
    reused: str | None = None
    """The evidence that this is a copy of, as an id of the same run or as RUN/ID."""


def digest(output: str) -> str:
    """SHA-256 of the output as UTF-8, in hexadecimal."""
    return hashlib.sha256(output.encode()).hexdigest()


def tail(output: str) -> str:
    """The end of an output, without control codes, for the journal and for prompts."""
    return plain_end(output, CLEANED_CHARACTERS)[-TAIL_CHARACTERS:]


def store(folder: Path, evidence: Evidence, output: str) -> None:
    """Write `<folder>/<id>/` with `output` and `gate.json`, whole or not at all.

    A kill can leave a draft of it, which `remove_drafts` removes.
    """
    target, draft = folder / evidence.id, folder / f"{_DRAFT}{evidence.id}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    write_atomically(draft / "output", output.encode("utf-8", "replace"))
    write_atomically(draft / "gate.json", msgspec.json.format(msgspec.json.encode(evidence)))
    # Of a gate whose owner was killed before the gate's end was recorded: it has run again.
    shutil.rmtree(target, ignore_errors=True)
    draft.replace(target)


def remove_drafts(folder: Path) -> None:
    """Remove the evidence that a killed owner had not written completely; requires the run's lock."""
    for draft in folder.glob(f"{_DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)


class StoredEvidence(NamedTuple):
    evidence: Evidence
    output: str


def load(folder: Path, id: str) -> StoredEvidence | None:
    """Evidence as it was stored; None if it is no longer there, is damaged, or is of another version."""
    try:
        evidence = msgspec.json.decode((folder / id / "gate.json").read_bytes(), type=Evidence)
        with open_stored(folder / id / "output") as output:
            content = output.read(LOADED_BYTES + 1)
    except (OSError, msgspec.MsgspecError):
        return None
    if len(content) > LOADED_BYTES:
        return None
    return StoredEvidence(evidence, content.decode("utf-8", "replace"))
