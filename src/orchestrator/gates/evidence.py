"""Evidence: what a gate did and saw, stored whole under its id, written by rename."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from orchestrator.files import write_atomically
from orchestrator.run.facts import Verdict
from orchestrator.text import plain

TAIL_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The record of one gate; `output` beside it holds everything the command printed."""

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
    """Why it is unavailable, or that it took too long; else empty."""


def digest(output: str) -> str:
    return hashlib.sha256(output.encode()).hexdigest()


def tail(output: str) -> str:
    """The end of an output as text that can be shown and quoted."""
    return plain(output[-TAIL_CHARACTERS:])


def store(folder: Path, evidence: Evidence, output: str) -> None:
    """Write `<folder>/<id>/output` and `<folder>/<id>/gate.json`."""
    place = folder / evidence.id
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(place / "output", output.encode("utf-8", "replace"))
    write_atomically(place / "gate.json", msgspec.json.format(msgspec.json.encode(evidence)))
