from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.config import LoadedSettings, Override, load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A code folder and a user with an empty home."""

    folder: Path
    home: Path

    @property
    def repository_file(self) -> Path:
        return self.folder / "orchestrator.toml"

    @property
    def user_file(self) -> Path:
        return self.home / ".config/ktrdr-orchestrator/config.toml"

    @property
    def environ(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": "/usr/bin"}

    def load(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        overrides: Iterable[str | Override] = (),
        leave_out_unapproved: bool = False,
    ) -> LoadedSettings:
        return load_settings(
            self.folder,
            environ={**self.environ, **(environ or {})},
            overrides=overrides,
            leave_out_unapproved=leave_out_unapproved,
        )


@pytest.fixture
def place(tmp_path: Path) -> Project:
    place = Project(folder=tmp_path / "code folder", home=tmp_path / "home")
    place.folder.mkdir()
    place.user_file.parent.mkdir(parents=True)
    return place


@pytest.fixture
def write(place: Project) -> Callable[[str, str | bytes], None]:
    """Writes the repository's or the user's file."""

    def write(which: str, content: str | bytes) -> None:
        path = place.repository_file if which == "repository" else place.user_file
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return write
