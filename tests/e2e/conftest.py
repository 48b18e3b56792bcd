import os
import shutil
from collections.abc import Iterator

import pytest
from e2e_kit import ROOT, MakeScene, Scene, scenes
from greeting_run import GreetingRun

# It takes minutes: `make night`.
collect_ignore = [] if os.environ.get("NIGHT") == "all" else ["test_night.py"]


@pytest.fixture
def new_scene() -> Iterator[MakeScene]:
    yield from scenes()


@pytest.fixture(scope="module")
def new_module_scene() -> Iterator[MakeScene]:
    yield from scenes()


@pytest.fixture(scope="session")
def new_session_scene() -> Iterator[MakeScene]:
    yield from scenes()


@pytest.fixture
def scene(new_scene: MakeScene) -> Scene:
    return new_scene()


@pytest.fixture(scope="session")
def greeting(new_session_scene: MakeScene) -> GreetingRun:
    """The example, by the real Claude Code with its scripted model."""
    scene = new_session_scene()
    shutil.copytree(ROOT / "examples" / "greeting", scene.folder, dirs_exist_ok=True)
    scene.commit()
    base, owners = scene.git("rev-parse", "HEAD"), scene.owners()
    done = scene.run("-c", "gateway.scripted=model.json")
    return GreetingRun(scene=scene, base=base, owners_before=owners, done=done, status=scene.status(done.run))
