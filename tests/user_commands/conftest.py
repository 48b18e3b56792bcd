import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_kit import MakeScene, Scene, scenes


@pytest.fixture
def new_scene() -> Iterator[MakeScene]:
    yield from scenes()


@pytest.fixture(scope="module")
def new_module_scene() -> Iterator[MakeScene]:
    yield from scenes()


@pytest.fixture
def scene(new_scene: MakeScene) -> Scene:
    return new_scene()


@pytest.fixture
def alone_by_hand() -> Iterator[None]:
    """A machine has one container by hand, by its name: its tests wait for each other, in any process."""
    with (Path(tempfile.gettempdir()) / f"ktrdr-tests-by-hand-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
