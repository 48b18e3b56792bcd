import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for e2e_kit and greeting_run

from e2e_kit import ROOT, Caller, Scene, myself
from greeting_run import GreetingRun

MakeScene = Callable[..., Scene]


def make_scene(
    area: Path, *, name: str = "code", owner: int | None = None, caller: Caller | None = None
) -> Scene:
    """A fresh repository without a commit, and HOME and state of the caller's beside it."""
    caller = caller or myself()
    owner = os.geteuid() if owner is None else owner
    scene = Scene(folder=area / name, area=area, caller=caller, owner=owner)
    for folder, uid in ((scene.folder, owner), (area / "home", caller.uid), (area / "state", caller.uid)):
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, uid, uid)
    scene.git("init", "-q", "-b", "main")
    scene.git("config", "user.name", "Ada")
    scene.git("config", "user.email", "ada@example.org")
    return scene


def scenes() -> Iterator[MakeScene]:
    made: list[Scene] = []

    def make(**options: object) -> Scene:
        # Short and open to all: a user who is not root works below it.
        area = Path(tempfile.mkdtemp(prefix="ktrdr-e2e-", dir="/tmp"))
        area.chmod(0o755)
        made.append(make_scene(area, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for scene in made:
        scene.clear()


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
