"""A disk that is nearly full is said before anything starts."""

import os
import subprocess  # noqa: TID251 - mounts a small file system, as a person would

import pytest
from e2e_kit import AGENT, REPORT, Scene, plan, task

from orchestrator.engine.environment import DISK_BYTES, disk_nearly_full


@pytest.mark.parametrize(
    ("free", "full"), [(0, True), (DISK_BYTES - 1, True), (DISK_BYTES, False), (10**15, False)]
)
def test_how_much_is_too_little(free: int, full: bool) -> None:
    assert disk_nearly_full(free) is full


@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_state_folder_on_a_small_disk(scene: Scene) -> None:
    scene.commit(plan__md=plan(task("1")), agent__sh=f"{REPORT}\nreport completed\n")
    small = scene.state.parent
    small.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)], check=True)
    try:
        done = scene.run(*AGENT)
        assert done.exit_code == 2, done
        assert done.stdout == b""
        assert "nearly full" in done.err
        assert "XDG_STATE_HOME" in done.err
        assert not scene.ever_started()
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
