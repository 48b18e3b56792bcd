from collections.abc import Iterator

import pytest
from e2e_kit import MakeScene, Scene, scenes
from project_kit import owner


@pytest.fixture
def new_scene() -> Iterator[MakeScene]:
    yield from scenes()


@pytest.fixture
def scene(new_scene: MakeScene) -> Scene:
    return new_scene(owner=owner())


@pytest.fixture(scope="module")
def new_module_scene() -> Iterator[MakeScene]:
    yield from scenes()
