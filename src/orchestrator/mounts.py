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


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """The folder `lower` of the engine's host, without a copy: what the container changes is in `upper`.

    All three are paths on the engine's host, and the engine does not check what they are. So `lower` must not
    be, or lead through, a link that a container has made. `upper` and `work` must be empty, belong to the
    container's user, and be used by no other container.
    """

    target: str
    lower: str
    upper: str
    work: str

    @property
    def options(self) -> str:
        """The options of the mount; without an index, so that nothing but `work` has to be removed."""
        paths = {"lowerdir": self.lower, "upperdir": self.upper, "workdir": self.work}
        named = [f"{name}={_escape(path)}" for name, path in paths.items()]
        # With redirects, the container can rename folders of `lower`.
        return ",".join([*named, "index=off", "redirect_dir=on"])

    @property
    def is_expressible(self) -> bool:
        """Whether the engine can be given these paths: an option ends at a comma, and one page holds all."""
        paths = (self.lower, self.upper, self.work)
        return not any("," in path for path in paths) and len(self.options.encode(errors="replace")) < 4000


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


Mount = Bind | Volume | AnonymousVolume | Overlay
