"""Files and folders that a container sees besides those of its image."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A host file or folder; a missing source is an error of the engine, never a new folder."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A named volume of the engine, made by the engine when it does not exist."""

    name: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousVolume:
    """A volume of this container alone, filled from what its image has at `target`, and removed with it."""

    target: str


Mount = Bind | Volume | AnonymousVolume
