import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_kit import Caller, MakeScene, Scene, scenes
from ordinary import ordinary_caller


@pytest.fixture
def new_scene() -> Iterator[MakeScene]:
    yield from scenes()


@pytest.fixture(scope="session")
def ordinary() -> Iterator[Caller]:
    area = Path(tempfile.mkdtemp(prefix="ktrdr-hostile-", dir="/tmp"))
    area.chmod(0o755)
    yield ordinary_caller(area)
    shutil.rmtree(area)


@pytest.fixture
def scene(new_scene: MakeScene, ordinary: Caller) -> Scene:
    """For an ordinary caller: what a mode forbids does not stop root."""
    return new_scene(owner=ordinary.uid, caller=ordinary)
