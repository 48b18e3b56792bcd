import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for at_terminal_kit
sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))  # for e2e_kit

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
