import os
import shutil
import subprocess  # noqa: TID251 - builds as a packager does
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def scripts() -> Path:
    return ROOT / "scripts"


def build_wheel(folder: Path) -> Path:
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def rebuilt_wheel(tmp_path: Path) -> Path:
    """A second build of the same files."""
    return build_wheel(tmp_path)


@pytest.fixture
def environment_without(tmp_path: Path) -> Callable[..., Mapping[str, str]]:
    """An environment like the caller's, whose PATH leads to every program but the named ones."""

    def make(*programs: str) -> Mapping[str, str]:
        folder = tmp_path / "path"
        folder.mkdir()
        for place in os.get_exec_path():
            for program in Path(place).glob("*"):
                link = folder / program.name
                if not program.name.startswith(programs) and not link.is_symlink():
                    link.symlink_to(program)
        return {**os.environ, "PATH": str(folder)}

    return make


@pytest.fixture
def needs() -> Callable[[str], None]:
    """Skips without the program; in CI its absence is a failure."""

    def check(program: str) -> None:
        if shutil.which(program) is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{program} is not installed")

    return check
