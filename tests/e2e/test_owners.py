"""Files belong to the folder's owner, whichever user types the command."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_kit import AGENT, REPORT, Caller, Done, MakeScene, Scene, bash, outcome, plan, script, task
from ordinary import ordinary_caller

pytestmark = pytest.mark.docker

WORKS = f"""{REPORT}
mkdir -p deep/er; echo x > deep/er/made.txt; echo y > made.txt; echo more >> notes.txt; id -u > uid.txt
report completed
"""


@pytest.fixture(scope="module")
def ordinary() -> Iterator[Caller]:
    area = Path(tempfile.mkdtemp(prefix="ktrdr-e2e-user-", dir="/tmp"))
    area.chmod(0o755)
    yield ordinary_caller(area)
    shutil.rmtree(area)


def check(scene: Scene, before: dict[str, int], done: Done) -> None:
    """Everything new is the owner's, and nothing that was there has another owner than before."""
    after = scene.owners()
    assert {path: after[path] for path in before if path in after} == {
        p: before[p] for p in before if p in after
    }
    assert set(after.values()) == {scene.owner}, {p: uid for p, uid in after.items() if uid != scene.owner}
    assert (scene.folder / "uid.txt").read_text() == f"{scene.owner}\n"
    assert scene.git("status", "--porcelain") == ""
    assert scene.git("fsck", "--strict", "--no-dangling") == ""
    assert len(scene.commits("work", since=done.events[0]["base"])) == len(done.of("task_finished"))


CLAUDE = script(
    t1=[bash("echo y > made.txt; echo more >> notes.txt; id -u > uid.txt"), outcome()],
    t2=[bash("mkdir -p deep/er; echo x > deep/er/claude.txt; echo z > claude.txt"), outcome()],
)


UNKNOWN_TO_THE_IMAGE = 4321
NAMES = """test "$(whoami) $USER" = "agent agent"
env -u USER -u LOGNAME python3 -c 'import getpass; assert getpass.getuser() == "agent"'
node -e 'if (os.userInfo().username !== "agent") process.exit(1)'"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work in a folder of another user")
def test_files_of_roots_run_belong_to_the_folders_owner_who_has_a_name(new_scene: MakeScene) -> None:
    scene = new_scene(owner=UNKNOWN_TO_THE_IMAGE)
    scene.write("notes.txt", "one\n")
    text = plan(task("1", f"test -s made.txt\n{NAMES}"), task("2", "test -s claude.txt"))
    model = CLAUDE.replace("echo y > made.txt", "whoami > made.txt")
    scene.commit(plan__md=text, model__json=model)
    before = scene.owners()
    setup = f"setup.commands={json.dumps([NAMES])}"
    done = scene.run("-c", "gateway.scripted=model.json", "-c", setup)
    assert done.exit_code == 0, done
    check(scene, before, done)
    assert (scene.folder / "made.txt").read_text() == "agent\n"


def test_an_ordinary_caller_runs_claude(new_scene: MakeScene, ordinary: Caller) -> None:
    scene = new_scene(owner=ordinary.uid, caller=ordinary)
    scene.write("notes.txt", "one\n")
    text = plan(task("1", "test -s made.txt"), task("2", "test -s claude.txt"))
    scene.commit(plan__md=text, model__json=CLAUDE)
    before = scene.owners()
    done = scene.run("-c", "gateway.scripted=model.json")
    assert done.exit_code == 0, done
    check(scene, before, done)
    assert {path.lstat().st_uid for path in scene.state.rglob("*")} == {ordinary.uid}
    assert (scene.state.stat().st_mode & 0o777) == 0o700


def test_files_of_a_failed_attempt_belong_to_the_owner_too(new_scene: MakeScene, ordinary: Caller) -> None:
    scene = new_scene(owner=ordinary.uid, caller=ordinary)
    scene.write("notes.txt", "one\n")
    scene.commit(plan__md=plan(task("1", "false")), agent__sh=WORKS)
    done = scene.run(*AGENT, "-c", "limits.attempts=1")
    assert done.exit_code == 1, done
    assert set(scene.owners().values()) == {ordinary.uid}
    assert (scene.folder / "deep" / "er" / "made.txt").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user")
def test_an_ordinary_caller_is_refused_in_a_folder_of_another_user(
    new_scene: MakeScene, ordinary: Caller
) -> None:
    scene = new_scene(owner=0, caller=ordinary)
    scene.commit(plan__md=plan(task("1", "false")), agent__sh=WORKS)
    before = scene.picture()
    done = scene.run(*AGENT)
    assert (done.exit_code, done.stdout) == (2, b""), done
    assert scene.picture() == before
    assert not scene.ever_started()
