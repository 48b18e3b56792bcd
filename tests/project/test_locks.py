import asyncio
import os
import sys

import pytest

from orchestrator.clock import SystemClock
from orchestrator.errors import FolderBusy
from orchestrator.project.locks import FolderLock, RunLock

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.clock import SystemClock
from orchestrator.project.locks import FolderLock, RunLock
clock = SystemClock()
lock = FolderLock.take(Path(sys.argv[1]), Path(sys.argv[2]), clock, run="run-one")
other = RunLock.take(Path(sys.argv[3]), clock)
Path(sys.argv[4]).write_text("held")
time.sleep(60)
"""


@pytest.fixture
async def held(tmp_path):
    """A process that holds both locks."""
    (tmp_path / "git").mkdir()
    names = ("git", "holder.json", "run.lock", "ready")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HOLD,
        *(str(tmp_path / name) for name in names),
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    await until(lambda: (tmp_path / "ready").exists())
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


async def until(true):
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.02)


def take(tmp_path, holder="holder.json"):
    return FolderLock.take(tmp_path / "git", tmp_path / holder, SystemClock(), run="run-two")


async def test_a_busy_folder_names_run_and_process(tmp_path, held):
    with pytest.raises(FolderBusy) as failure:
        take(tmp_path)
    assert "run-one" in str(failure.value)
    assert str(held.pid) in str(failure.value)


async def test_a_run_of_another_state_folder_is_named_by_its_process(tmp_path, held):
    with pytest.raises(FolderBusy) as failure:
        take(tmp_path, holder="elsewhere.json")
    assert str(held.pid) in str(failure.value)
    assert not (tmp_path / "elsewhere.json").exists()


async def test_a_lock_ends_with_its_killed_holder(tmp_path, held):
    held.kill()
    await until(lambda: RunLock.holder(tmp_path / "run.lock", SystemClock()) is None)
    with take(tmp_path):
        pass
    lock = RunLock.take(tmp_path / "run.lock", SystemClock())
    assert lock is not None
    lock.release()


async def test_asking_for_the_holder_creates_and_disturbs_nothing(tmp_path, held):
    before = (tmp_path / "run.lock").stat()
    holder = RunLock.holder(tmp_path / "run.lock", SystemClock())
    assert holder is not None
    assert holder.pid == held.pid
    assert RunLock.take(tmp_path / "run.lock", SystemClock()) is None
    assert (tmp_path / "run.lock").stat().st_mtime_ns == before.st_mtime_ns
    assert RunLock.holder(tmp_path / "absent.lock", SystemClock()) is None
    assert not (tmp_path / "absent.lock").exists()


def test_a_released_lock_can_be_taken_again(tmp_path):
    (tmp_path / "git").mkdir()
    take(tmp_path).release()
    with take(tmp_path), pytest.raises(FolderBusy, match=f"run-two.*{os.getpid()}"):
        take(tmp_path)
