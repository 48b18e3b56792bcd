"""A disk that is nearly full is an error before anything starts."""

import os
import subprocess  # noqa: TID251 - mounts a small file system, as a user would
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from e2e_kit import AGENT, REPORT, Scene, plan, task

from orchestrator.errors import EnvironmentInvalid
from orchestrator.preflight.environment import DISK_BYTES, refuse_full_disk


@pytest.mark.parametrize(
    ("free", "full"), [(0, True), (DISK_BYTES - 1, True), (DISK_BYTES, False), (10**15, False)]
)
def test_too_little_free_space(free: int, full: bool) -> None:
    with pytest.raises(EnvironmentInvalid, match="nearly full") if full else nullcontext():
        refuse_full_disk(free, Path("/"))


@pytest.fixture
def on_a_small_disk(scene: Scene) -> Iterator[Callable[[str], None]]:
    """Puts the state folder on a file system of that size."""
    small = scene.state.parent
    small.mkdir(parents=True, exist_ok=True)

    def mount(size: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)], check=True)

    yield mount
    subprocess.run(["umount", "--lazy", str(small)], check=True)


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


@pytest.mark.docker
@only_root
def test_a_state_folder_on_a_small_disk(scene: Scene, on_a_small_disk: Callable[[str], None]) -> None:
    scene.commit(plan__md=plan(task("1")), agent__sh=f"{REPORT}\nreport completed\n")
    on_a_small_disk("64m")
    done = scene.run(*AGENT)
    assert done.exit_code == 2, done
    assert done.stdout == b""
    assert "nearly full" in done.err
    assert "XDG_STATE_HOME" in done.err
    assert not scene.ever_started()


FILLING = f"""{REPORT}
echo x > made-$ORCHESTRATOR_TASK.txt
report completed
fill=/run/orchestrator/out/fill
if [ $ORCHESTRATOR_TASK = 2 ] && ! test -e again; then cat /dev/zero > $fill; echo more; fi
"""


@pytest.mark.docker
@only_root
def test_a_disk_that_an_agent_fills_parks_the_run(
    scene: Scene, on_a_small_disk: Callable[[str], None]
) -> None:
    scene.commit(
        plan__md=plan(task("1", "test -s made-1.txt"), task("2", "test -s made-2.txt")), agent__sh=FILLING
    )
    on_a_small_disk(f"{DISK_BYTES // 1_000_000 + 40}m")
    done = scene.run(*AGENT)
    assert done.exit_code == 4, done
    assert "full" in done.err and "Free some space" in done.err and "bug" not in done.err, done
    # The end of the attempt could not be recorded, so its container is left for the next owner.
    assert len(scene.containers()) == 1
    (fill,) = scene.state.rglob("fill")
    fill.unlink()
    scene.write("again", "")
    resumed = scene.orchestrator("resume", "--json")
    assert resumed.exit_code == 0, resumed
    assert scene.containers() == []
    assert len(scene.commits("work", since=done.events[0]["base"])) == 2
