import os
from collections.abc import Iterator

import pytest
from e2e_kit import MakeScene, Scene, scenes
from project_kit import owner

# Their toolchains take minutes to install, so they belong to `make projects`.
collect_ignore = [] if os.environ.get("PROJECTS") == "all" else ["test_go.py", "test_rust.py"]


@pytest.fixture
def new_scene() -> Iterator[MakeScene]:
    yield from scenes()


@pytest.fixture
def scene(new_scene: MakeScene) -> Scene:
    return new_scene(owner=owner())


@pytest.fixture(scope="module")
def new_module_scene() -> Iterator[MakeScene]:
    yield from scenes()
