"""The Python interface: a container by hand, and a run."""

import inspect as signatures
import json
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from e2e_kit import PACKAGE, REPORT, Scene, docker, inspect, plan, task

from orchestrator import (
    CodingAgentContainer,
    CodingAgentError,
    CodingAgentTimeout,
    run_milestone,
    validate_environment,
)
from orchestrator.subprocesses import run

pytestmark = pytest.mark.docker


@pytest.fixture
def name() -> str:
    """The default name is one for the whole machine, where the developer's own may be running."""
    return f"ktrdr-test-{uuid.uuid4().hex[:12]}"


@pytest_asyncio.fixture
async def container(name: str, folder: Path) -> AsyncIterator[CodingAgentContainer]:
    container = CodingAgentContainer(container_name=name)
    await container.start(folder)
    yield container
    await container.stop()


def test_the_defaults_are_those_of_the_hand_off() -> None:
    container = CodingAgentContainer()
    assert container.container_name == "ktrdr-coding-agent"
    assert container.image_name == "ktrdr-coding-agent:latest"
    assert container.workspace_path == "/workspace"


def test_the_signatures_are_those_of_the_hand_off() -> None:
    start = signatures.signature(CodingAgentContainer.start)
    execute = signatures.signature(CodingAgentContainer.exec)
    assert list(start.parameters) == ["self", "code_folder", "command"]
    assert start.parameters["command"].default is None
    assert list(execute.parameters) == ["self", "argv", "timeout", "stdin"]
    assert list(signatures.signature(CodingAgentContainer.stop).parameters) == ["self"]
    assert list(signatures.signature(validate_environment).parameters) == []
    assert next(iter(signatures.signature(run_milestone).parameters)) == "plan"
    assert issubclass(CodingAgentTimeout, CodingAgentError)


async def test_files_go_both_ways(container: CodingAgentContainer, folder: Path) -> None:
    (folder / "from-host.txt").write_text("hello\n")
    done = await container.exec(["sh", "-c", "cat from-host.txt; pwd; echo made > made.txt"], timeout=30)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "hello\n/workspace\n", "")
    assert (folder / "made.txt").read_text() == "made\n"
    assert (folder / "made.txt").stat().st_uid == folder.stat().st_uid


async def test_an_exit_code_is_a_value(container: CodingAgentContainer) -> None:
    done = await container.exec(["sh", "-c", "echo out; echo err >&2; exit 7"], timeout=30)
    assert (done.exit_code, done.stdout, done.stderr) == (7, "out\n", "err\n")


async def test_standard_input_and_bytes_that_are_not_text(container: CodingAgentContainer) -> None:
    done = await container.exec(["cat"], timeout=30, stdin=b"a\xff\xfeb")
    assert done.stdout == "a\ufffd\ufffdb"


async def test_processes_of_a_command_over_its_time_are_killed(container: CodingAgentContainer) -> None:
    with pytest.raises(CodingAgentTimeout):
        await container.exec(["sh", "-c", "sleep 300 & sleep 300"], timeout=1)
    left = await container.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"], timeout=30)
    assert "sleep 300" not in left.stdout


async def test_start_replaces_a_container_of_the_same_name(
    container: CodingAgentContainer, name: str, folder: Path
) -> None:
    before = inspect(name)["Id"]
    again = CodingAgentContainer(container_name=name)
    await again.start(folder)
    try:
        assert inspect(name)["Id"] != before
    finally:
        await again.stop()


async def test_stop_removes_it_and_may_be_called_again(container: CodingAgentContainer, name: str) -> None:
    await container.stop()
    await container.stop()
    assert docker("ps", "-aq", "--filter", f"name={name}") == ""


async def test_a_failure_carries_dockers_own_words(name: str, folder: Path) -> None:
    container = CodingAgentContainer(container_name=name, image_name="ktrdr-nowhere:latest")
    with pytest.raises(CodingAgentError, match="ktrdr-nowhere"):
        await container.start(folder)
    with pytest.raises(CodingAgentError):
        await container.exec(["true"], timeout=30)
    await container.stop()


async def test_stop_does_not_hide_the_error_that_led_there(container: CodingAgentContainer) -> None:
    with pytest.raises(ValueError, match="mine"):
        try:
            raise ValueError("mine")
        finally:
            await container.stop()


async def test_a_missing_folder_is_an_error_and_is_not_made(name: str, folder: Path) -> None:
    missing = folder / "missing"
    with pytest.raises(CodingAgentError):
        await CodingAgentContainer(container_name=name).start(missing)
    assert not missing.exists()


def test_validate_environment_gives_the_code_folder(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene.folder)
    assert validate_environment() == scene.folder


FROM_PYTHON = """
import asyncio, json, sys
from orchestrator import run_milestone
report = asyncio.run(run_milestone("plan.md", agent_command="bash agent.sh", config=("limits.attempts=1",)))
print(json.dumps([report.run, report.status, report.exit_code, report.reason]))
"""


@pytest.mark.parametrize(
    ("verify", "status", "exit_code"),
    [("test -s made.txt", "completed", 0), ("test -s other.txt", "failed", 1)],
    ids=["completed", "failed"],
)
async def test_a_run_from_python(scene: Scene, verify: str, status: str, exit_code: int) -> None:
    scene.commit(
        plan__md=plan(task("1", verify)), agent__sh=f"{REPORT}\necho x > made.txt\nreport completed\n"
    )
    environment = scene.environment({"PYTHONPATH": str(PACKAGE.parent)})
    done = await run([sys.executable, "-c", FROM_PYTHON], timeout=120, env=environment, cwd=scene.folder)
    assert done.exit_code == 0, done
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed[1:3] == [status, exit_code]
    assert scene.status(printed[0])["status"] == status
    assert scene.containers() == []
