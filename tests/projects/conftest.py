import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# For project_kit, and for e2e_kit with its scenes.
sys.path[:0] = [str(Path(__file__).parents[1] / "e2e"), str(Path(__file__).parent)]

from e2e_kit import MakeScene, Scene, docker, scenes  # noqa: E402 - found by the line above  # noqa: E402
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


@pytest.fixture(scope="session", autouse=True)
def _no_setup_images_left() -> Iterator[None]:
    """Images of these tests' own setups; those with packages stay, because they take minutes."""
    before = _setup_images()
    yield
    for name in _setup_images() - before:
        docker("image", "rm", "-f", name)


def _setup_images() -> set[str]:
    try:
        return set(docker("images", "--format", "{{.Repository}}:{{.Tag}}", "ktrdr-setup").split())
    except (AssertionError, FileNotFoundError):
        return set()
