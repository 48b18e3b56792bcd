"""The coding agent container, from start to stop, in the real engine."""

import asyncio
import inspect
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from container_makers import SMALL, Containers, FarEngine

from orchestrator.containers.base import ContainerLimits
from orchestrator.containers.coding_agent_container import CodingAgentContainer
from orchestrator.containers.engine import EngineClient
from orchestrator.containers.logs import Followed
from orchestrator.containers.profile import attempt_command
from orchestrator.errors import CannotStart, CodingAgentError, CodingAgentTimeout, EnvironmentInvalid
from orchestrator.mounts import Bind

pytestmark = pytest.mark.docker

FOREVER = ("sleep", "infinity")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


class Made:
    """Images with a command of their own, made of the plain one."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self.images: list[str] = []

    async def image(self, *command: str) -> str:
        engine = self._containers.engine
        container = engine._docker.containers.container(await engine.create(self._containers.spec("true")))
        name = self._containers.name()
        await container.commit(repository=name, tag="latest", config={"Entrypoint": list(command), "Cmd": []})
        self.images.append(f"{name}:latest")
        return self.images[-1]


@pytest.fixture
async def made(containers: Containers) -> AsyncIterator[Made]:
    images = Made(containers)
    yield images
    await containers.remove_all()
    for image in images.images:
        await containers.engine._docker.images.delete(image)


@pytest.fixture
def new(containers: Containers, image: str) -> Any:
    """Makes a container object of the plain image, under a name and a label of this test."""

    def make(**changes: Any) -> CodingAgentContainer:
        given: dict[str, Any] = {
            "container_name": containers.name(),
            "image_name": image,
            "labels": containers.labels,
            "limits": SMALL,
        }
        return CodingAgentContainer(**(given | changes))

    return make


async def test_defaults_and_signatures_are_the_published_ones() -> None:
    container = CodingAgentContainer()
    assert container.container_name == "ktrdr-coding-agent"
    assert container.image_name == "ktrdr-coding-agent:latest"
    assert container.workspace_path == "/workspace"
    assert container.limits == ContainerLimits(memory_bytes=4 * 1024**3, cpus=None, pids=512)
    assert container.labels == {"ktrdr.kind": "shell"}
    assert list(inspect.signature(container.start).parameters) == ["code_folder", "command"]
    assert list(inspect.signature(container.exec).parameters) == ["argv", "timeout", "stdin"]


async def test_from_start_to_stop(new: Any, made: Made, containers: Containers, code_folder: Path) -> None:
    container = new(image_name=await made.image(*FOREVER))
    await container.start(code_folder)
    try:
        result = await container.exec(("sh", "-c", "pwd; cat > written; exit 3"), timeout=30, stdin=b"text")
        assert (result.exit_code, result.stdout, result.stderr) == (3, "/workspace\n", "")
    finally:
        await container.stop()
    assert (code_folder / "written").read_text() == "text"
    assert container.container_name not in await containers.names()
    await container.stop()


async def test_a_left_over_of_the_same_name_is_replaced(
    new: Any, engine: EngineClient, code_folder: Path
) -> None:
    first, second = new(), new()
    second.container_name = first.container_name
    await first.start(code_folder, command=FOREVER)
    await second.start(code_folder, command=FOREVER)
    await first.stop()
    state = await second.state()
    assert state is not None
    assert state.status == "running"
    await second.stop()
    assert await engine.inspect(second.container_name) is None


async def test_an_attempts_container_is_never_replaced(
    new: Any, engine: EngineClient, code_folder: Path
) -> None:
    first, second = new(), new(replace_existing=False)
    second.container_name = first.container_name
    await first.start(code_folder, command=FOREVER)
    with pytest.raises(CodingAgentError, match="already in use"):
        await second.start(code_folder, command=FOREVER)
    await second.stop()
    state = await first.state()
    assert state is not None
    assert state.status == "running"
    await first.stop()


async def test_another_process_finds_it_by_its_name(new: Any, code_folder: Path) -> None:
    first = new()
    await first.start(code_folder, command=("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"))
    second = new(container_name=first.container_name)
    assert (await second.exec(("true",), timeout=30)).exit_code == 0
    await second.signal("SIGTERM")
    assert (await second.wait()).exit_code == 5
    await second.stop()
    assert await first.state() is None
    await first.stop()


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a:b",
        "a,b",
        "a=b",
        "it's",
        'say "x"',
        "back\\slash",
        "ünï-\N{SNOWMAN}",
        "$HOME",
        "-v",
        "new\nline",
    ],
)
async def test_every_folder_name_works(name: str, new: Any, code_folder: Path) -> None:
    folder = code_folder / name
    folder.mkdir()
    container = new()
    await container.start(folder, command=("touch", "here"))
    assert (await container.wait()).exit_code == 0
    await container.stop()
    assert (folder / "here").exists()


@pytest.mark.parametrize("kind", ["missing", "a file", "relative"])
async def test_a_path_that_is_not_a_folder_is_refused(
    kind: str, new: Any, containers: Containers, code_folder: Path
) -> None:
    folder = {"missing": code_folder / "x", "a file": code_folder / "f", "relative": Path("code")}[kind]
    (code_folder / "f").touch()
    with pytest.raises(EnvironmentInvalid, match="folder") as caught:
        await new().start(folder, command=FOREVER)
    assert isinstance(caught.value, CodingAgentError)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert [entry.name for entry in code_folder.iterdir()] == ["f"]
    assert await containers.names() == []


async def test_a_relative_folder_is_below_the_current_one(
    new: Any, code_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(code_folder.parent)
    container = new()
    await container.start(code_folder.name, command=("touch", "here"))
    assert (await container.wait()).exit_code == 0
    await container.stop()
    assert (code_folder / "here").exists()


async def test_a_relative_folder_below_one_that_is_gone_is_named(
    new: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(EnvironmentInvalid, match="my-project: the current folder no longer exists"):
        await new().start("my-project", command=FOREVER)


async def test_a_folder_that_vanished_on_the_way_to_the_engine_is_not_made(
    new: Any, engine: EngineClient, code_folder: Path, containers: Containers
) -> None:
    class Slow(FarEngine):
        async def create(self, spec: Any) -> str:
            shutil.rmtree(code_folder)
            return await self.near.create(spec)

    with pytest.raises(CodingAgentError, match="bind source path does not exist"):
        await new(engine=Slow(engine)).start(code_folder, command=FOREVER)
    assert not code_folder.exists()
    assert await containers.names() == []


async def test_without_the_image_the_hint_says_how_to_build_it(new: Any, code_folder: Path) -> None:
    with pytest.raises(EnvironmentInvalid, match="No such image: nosuch:latest") as caught:
        await new(image_name="nosuch:latest").start(code_folder)
    assert "orchestrator image build" in str(caught.value)


async def test_without_an_engine_it_says_so(
    new: Any, code_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(CannotStart, match="no container engine answers"):
        await new().start(code_folder)


async def test_an_image_whose_command_ends_at_once_is_an_error(
    new: Any, made: Made, containers: Containers, code_folder: Path
) -> None:
    container = new(image_name=await made.image("sh", "-c", "echo what went wrong >&2; exit 3"))
    with pytest.raises(CodingAgentError, match="exit code 3: what went wrong"):
        await container.start(code_folder)
    assert container.container_name not in await containers.names()


async def test_a_start_that_fails_half_way_leaves_nothing(
    new: Any, engine: EngineClient, containers: Containers, code_folder: Path
) -> None:
    class NoStart(FarEngine):
        async def start(self, container: str) -> None:
            raise CodingAgentError("the disk is full")

    with pytest.raises(CodingAgentError, match="the disk is full"):
        await new(engine=NoStart(engine)).start(code_folder, command=FOREVER)
    assert await containers.names() == []


@pytest.mark.parametrize("method", ["create", "start"])
async def test_a_start_that_is_cancelled_leaves_nothing(
    method: str, new: Any, engine: EngineClient, containers: Containers, code_folder: Path
) -> None:
    class Slow(FarEngine):
        async def create(self, spec: Any) -> str:
            made = await self.near.create(spec)
            if method == "create":
                starting.cancel()
                await asyncio.sleep(0.1)
            return made

        async def start(self, container: str) -> None:
            await self.near.start(container)
            starting.cancel()
            await asyncio.sleep(60)

    starting = asyncio.create_task(new(engine=Slow(engine)).start(code_folder, command=FOREVER))
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await containers.names() == []


class NoRemove(FarEngine):
    async def remove(self, container: str) -> None:
        raise CodingAgentError("the engine is gone")


async def test_stop_does_not_hide_the_error_that_led_there(
    new: Any, engine: EngineClient, code_folder: Path
) -> None:
    container = new(engine=NoRemove(engine), replace_existing=False)
    await container.start(code_folder, command=FOREVER)
    with pytest.raises(ZeroDivisionError) as caught:
        try:
            _ = 1 / 0
        finally:
            await container.stop()
    assert "the engine is gone" in "".join(caught.value.__notes__)
    with pytest.raises(CodingAgentError, match="the engine is gone"):
        await container.stop()


async def test_stop_ends_every_process(new: Any, code_folder: Path) -> None:
    container = new()
    busy = (
        "setsid sh -c 'trap \"\" TERM; while :; do date +%s%N > beat; sleep 0.05; done' & exec sleep infinity"
    )
    await container.start(code_folder, command=("sh", "-c", busy))
    while not (code_folder / "beat").exists():
        await asyncio.sleep(0.02)
    await container.stop()
    (code_folder / "beat").unlink()
    await asyncio.sleep(0.3)
    assert not (code_folder / "beat").exists()


@needs_root
async def test_files_belong_to_the_folders_owner_and_so_does_the_process(new: Any, code_folder: Path) -> None:
    os.chown(code_folder, 12345, 23456)
    container = new(env={"COLOUR": "blue"})
    await container.start(
        code_folder, command=("sh", "-c", 'id -u; echo "$COLOUR${IS_SANDBOX:-}"; touch made')
    )
    await container.wait()
    result = await printed(container, code_folder.parent / "transcript")
    await container.stop()
    made = (code_folder / "made").stat()
    assert (made.st_uid, made.st_gid) == (12345, 23456)
    assert result == b"12345\nblue\n"


@needs_root
async def test_a_container_of_root_has_is_sandbox(new: Any, code_folder: Path) -> None:
    container = new()
    await container.start(code_folder, command=("sh", "-c", "echo $IS_SANDBOX"))
    assert await printed(container, code_folder.parent / "transcript") == b"1\n"
    await container.stop()


@needs_root
async def test_a_caller_who_neither_owns_the_folder_nor_is_root_is_refused(
    new: Any, containers: Containers
) -> None:
    with TemporaryDirectory() as folder:
        os.chown(folder, 12345, 12345)
        Path(folder).chmod(0o755)
        with acting_as(23456), pytest.raises(EnvironmentInvalid, match="belongs to user 12345"):
            await new().start(Path(folder), command=FOREVER)
    assert await containers.names() == []


async def test_an_attempt_reads_its_prompt_and_ends_at_its_limit(
    new: Any, tmp_path: Path, code_folder: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "prompt.md").write_text("do it\n")
    mounts = (Bind(source=tmp_path / "in", target="/run/orchestrator/in", read_only=True),)
    command = attempt_command(
        ("sh", "-c", "cat; echo no > /run/orchestrator/in/x; sleep 60"),
        limit_seconds=1,
        prompt_file="/run/orchestrator/in/prompt.md",
    )
    container = new(mounts=mounts, replace_existing=False)
    await container.start(code_folder, command=command)
    assert await printed(container, tmp_path / "transcript") == b"do it\n"
    state = await container.wait()
    await container.stop()
    assert state.exit_code == 124
    assert b"Read-only file system" in (tmp_path / "transcript" / "stderr").read_bytes()


async def test_a_signal_reaches_the_agent_through_its_wrapper(
    new: Any, tmp_path: Path, code_folder: Path
) -> None:
    agent = ("sh", "-c", "trap 'echo interrupted; exit 0' INT; echo ready; while :; do sleep 0.1; done")
    command = attempt_command(agent, limit_seconds=60, prompt_file="/dev/null")
    container = new()
    await container.start(code_folder, command=command)

    async def interrupt(line: bytes, _end: int) -> None:
        if line == b"ready":
            await container.signal("SIGINT")

    result = await container.follow(tmp_path / "transcript", on_stdout_line=interrupt, limit_bytes=1000)
    await container.stop()
    assert isinstance(result, Followed)
    assert result.state.exit_code == 0
    assert (tmp_path / "transcript" / "stdout").read_bytes() == b"ready\ninterrupted\n"


async def test_exec_over_its_time_raises(new: Any, code_folder: Path) -> None:
    container = new()
    await container.start(code_folder, command=FOREVER)
    with pytest.raises(CodingAgentTimeout, match=r"sleep 60 took longer than 0\.5 s"):
        await container.exec(("sleep", "60"), timeout=0.5)
    await container.stop()


@pytest.mark.parametrize("words", [[], "ls -l"], ids=["nothing", "a line"])
async def test_a_command_that_is_not_a_list_of_words_is_refused(
    new: Any, containers: Containers, code_folder: Path, words: Any
) -> None:
    container = new()
    with pytest.raises(CodingAgentError, match="is not a command"):
        await container.start(code_folder, command=words)
    assert container.container_name not in await containers.names()
    await container.start(str(code_folder), command=FOREVER)
    with pytest.raises(CodingAgentError, match="is not a command"):
        await container.exec(words, timeout=30)
    await container.stop()


async def printed(container: CodingAgentContainer, folder: Path) -> bytes:
    async def ignore(line: bytes, _end: int) -> None:
        pass

    result = await container.follow(folder, on_stdout_line=ignore, limit_bytes=100_000)
    assert isinstance(result, Followed)
    return (folder / "stdout").read_bytes()


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
