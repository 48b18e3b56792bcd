import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# For project_kit, and for e2e_kit with its scenes.
sys.path[:0] = [str(Path(__file__).parents[1] / "e2e"), str(Path(__file__).parent)]

from e2e_kit import MakeScene, Scene, scenes  # noqa: E402 - found by the line above  # noqa: E402
from project_kit import owner  # noqa: E402


@pytest.fixture
def new_scene() -> Iterator[MakeScene]:
    yield from scenes()


@pytest.fixture
def scene(new_scene: MakeScene) -> Scene:
    return new_scene(owner=owner())


@pytest.fixture(scope="module")
def new_module_scene() -> Iterator[MakeScene]:
    yield from scenes()
