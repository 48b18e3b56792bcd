from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from e2e_kit import MakeScene, Scene, myself, sandboxed, scenes
from mount_kit import check_sound


@pytest.fixture
def new_scene(request: pytest.FixtureRequest) -> Iterator[MakeScene]:
    """Makes scenes; afterwards each one's repository is sound and no container is left."""
    made: list[Scene] = []
    caller = myself() if request.node.get_closest_marker("docker") else sandboxed()
    with contextmanager(scenes)() as make:

        def remembered(**options: object) -> Scene:
            made.append(make(caller=caller, **options))
            return made[-1]

        yield remembered
        for scene in made:
            check_sound(scene)


@pytest.fixture
def scene(new_scene: MakeScene) -> Scene:
    return new_scene()
