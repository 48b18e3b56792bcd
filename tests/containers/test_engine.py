"""The engine's client against the real engine, over its socket and over TCP."""

import asyncio
import hashlib
import io
import json
import os
import socket
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from container_makers import LABEL_TEST, SMALL, Containers

from orchestrator import subprocesses
from orchestrator.containers.base import ContainerLimits
from orchestrator.containers.engine import EngineClient, connect_engine
from orchestrator.containers.profile import create_body, docker_run_argv
from orchestrator.errors import (
    CannotStart,
    CodingAgentError,
    CodingAgentTimeout,
    ConfigurationError,
    EnvironmentInvalid,
)
from orchestrator.mounts import AnonymousVolume, Bind, Volume

pytestmark = pytest.mark.docker


async def raw(engine: EngineClient, container: str) -> Any:
    return await engine._docker.containers.container(container).show()


@pytest.fixture
async def tcp_endpoint(engine: EngineClient) -> AsyncIterator[str]:
    """The engine's socket, reached over TCP."""
    path = (await engine.info()).endpoint.removeprefix("unix://")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(path)
        try:
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)
        finally:
            far_writer.close()
            writer.close()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def docker_context(home: Path, host: str) -> None:
    """Make `host` the current context of the user whose home this is."""
    folder = home / ".docker" / "contexts" / "meta" / hashlib.sha256(b"other").hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": "other", "Endpoints": {"docker": {"Host": host}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (home / ".docker" / "config.json").write_text(json.dumps({"currentContext": "other"}))


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        pytest.param("unix:///nonexistent/docker.sock", "Cannot connect", id="no socket"),
        pytest.param("tcp://127.0.0.1:{port}", "Cannot connect", id="no listener"),
        pytest.param("docker.sock", "scheme", id="no scheme"),
    ],
)
async def test_no_engine_is_an_invalid_environment_with_the_next_step(
    endpoint: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", endpoint.format(port=unused_port()))
    with pytest.raises(EnvironmentInvalid, match=words) as caught:
        await connect_engine()
    assert caught.value.exit_code == 2
    assert "DOCKER_HOST" in str(caught.value)


async def test_the_current_context_is_honoured_and_docker_host_goes_before_it(
    engine: EngineClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_context(tmp_path, "unix:///nonexistent/context.sock")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    with pytest.raises(CannotStart, match=r"/nonexistent/context\.sock"):
        await connect_engine()
    monkeypatch.setenv("DOCKER_HOST", (await engine.info()).endpoint)
    reached = await connect_engine()
    try:
        assert await reached.info() == await engine.info()
    finally:
        await reached.close()


async def test_over_tcp_it_is_the_same_engine(
    tcp_endpoint: str, containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = await containers.run()
    monkeypatch.setenv("DOCKER_HOST", tcp_endpoint)
    far = await connect_engine()
    try:
        result = await far.exec(container, ("wc", "-c"), timeout=30, stdin=bytes(3_000_000))
        assert (result.exit_code, result.stdout) == (0, "3000000\n")
        waiting = asyncio.create_task(far.wait(container))
        await far.signal(container, "SIGKILL")
        assert (await waiting).exit_code == 137
    finally:
        await far.close()


async def test_the_engine_shows_the_profile(
    engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    mounts = (Bind(source=tmp_path, target="/workspace", read_only=True),)
    found = await raw(engine, await containers.run(mounts=mounts, uid=12345, gid=23456))
    host = found["HostConfig"]
    assert found["Config"]["User"] == "12345:23456"
    assert (host["Init"], host["Privileged"], host["CapDrop"], host["CapAdd"]) == (True, False, ["ALL"], None)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] == SMALL.memory_bytes
    assert (host["PidsLimit"], host["NetworkMode"]) == (SMALL.pids, "bridge")
    assert not host["Devices"]
    assert not host["Binds"]
    assert host["LogConfig"]["Config"]["max-file"] == "1"
    assert [(mount["Source"], mount["Destination"], mount["RW"]) for mount in found["Mounts"]] == [
        (str(tmp_path), "/workspace", False)
    ]


async def test_a_container_runs_as_the_user_of_its_specification(
    engine: EngineClient, containers: Containers
) -> None:
    container = await containers.run(uid=12345, gid=23456)
    shown = "uid=12345(agent) gid=23456(agent) groups=23456(agent)\n"
    assert (await engine.exec(container, ("id",), timeout=30)).stdout == shown


async def test_every_user_has_a_name_and_the_image_keeps_its_own(
    engine: EngineClient, containers: Containers
) -> None:
    ask = (
        'whoami; id -gn; echo "$USER $LOGNAME"; echo ~; id -un 0 1; '
        "stat -c '%U:%G %a' /etc/passwd /etc/group"
    )
    container = await containers.run(uid=4321, gid=4322, env={"HOME": "/tmp/home"})
    done = await engine.exec(container, ("bash", "-c", ask), timeout=60)
    assert done.stdout.splitlines() == [
        *("agent", "agent", "agent agent", "/tmp/home", "root", "daemon"),
        *("root:root 644", "root:root 644"),
    ]


async def test_the_users_name_is_not_written_into_a_mount(
    engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    users = tmp_path / "passwd"
    users.write_text("root:x:0:0::/:/bin/sh\n")
    container = await containers.run(uid=4321, mounts=(Bind(source=users, target="/etc/passwd"),))
    assert (await engine.exec(container, ("id", "-u"), timeout=30)).stdout == "4321\n"
    assert users.read_text() == "root:x:0:0::/:/bin/sh\n"


async def test_a_volume_is_made_and_mounted(engine: EngineClient, containers: Containers) -> None:
    volume = containers.name()
    container = await containers.run(mounts=(Volume(name=volume, target="/models"),))
    try:
        result = await engine.exec(container, ("grep", "-c", " /models ", "/proc/self/mounts"), timeout=30)
        assert result.stdout == "1\n"
        state = await engine.inspect(container)
        assert state is not None
        assert state.mount_sources == ()
    finally:
        await engine.remove(container)
        await (await engine._docker.volumes.get(volume)).delete()


@pytest.mark.parametrize("kind", ["itself", "its folder", "a link to it", "a link to its folder"])
async def test_the_engines_socket_is_never_mounted(
    kind: str, engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    endpoint = Path((await engine.info()).endpoint.removeprefix("unix://"))
    source = endpoint if "folder" not in kind else endpoint.parent
    if "link" in kind:
        (tmp_path / "link").symlink_to(source)
        source = tmp_path / "link"
    with pytest.raises(ConfigurationError, match="socket"):
        await engine.create(containers.spec(mounts=(Bind(source=source, target="/s"),)))
    assert await containers.names() == []


async def test_what_the_state_says_from_creation_to_removal(
    engine: EngineClient, containers: Containers
) -> None:
    spec = containers.spec("sh", "-c", "exit 4")
    container = await engine.create(spec)
    made = await engine.inspect(spec.name)
    assert made is not None
    assert (made.id, made.name, made.status, made.exit_code) == (container, spec.name, "created", None)
    assert (made.started_at, made.finished_at, made.labels[LABEL_TEST]) == (None, None, containers.label)
    await engine.start(container)
    ended = await engine.wait(container)
    assert (ended.status, ended.exit_code, ended.oom_killed) == ("exited", 4, False)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    await engine.remove(container)
    assert await engine.inspect(container) is None
    await engine.remove(container)
    await engine.signal(container, "SIGTERM")


async def test_labels_are_matched_by_name_or_by_value(engine: EngineClient, containers: Containers) -> None:
    odd = "a=b, c/ü"
    first = await engine.create(containers.spec(labels={**containers.labels, "ktrdr.task": odd}))
    second = await engine.create(containers.spec(labels={**containers.labels, "ktrdr.task": "other"}))
    by_value = await engine.list({LABEL_TEST: containers.label, "ktrdr.task": odd})
    by_name = await engine.list({LABEL_TEST: containers.label, "ktrdr.task": None})
    assert [state.id for state in by_value] == [first]
    assert {state.id for state in by_name} == {first, second}


async def test_the_engines_own_words_come_through(engine: EngineClient, containers: Containers) -> None:
    with pytest.raises(CodingAgentError, match="No such image: nosuch:image"):
        await engine.create(containers.spec(image="nosuch:image"))
    with pytest.raises(CodingAgentError, match="No such container: nosuch"):
        await engine.start("nosuch")
    with pytest.raises(CodingAgentError, match="is not running"):
        await engine.exec(await engine.create(containers.spec()), ("true",), timeout=30)
    missing = containers.spec(mounts=(Bind(source=Path("/nonexistent/folder"), target="/s"),))
    with pytest.raises(CodingAgentError, match="/nonexistent/folder"):
        await engine.create(missing)


async def test_image_digest(engine: EngineClient, image: str) -> None:
    digest = await engine.image_digest(image)
    assert digest is not None
    assert digest.startswith("sha256:")
    assert await engine.image_digest("nosuch:image") is None


async def test_a_command_sees_its_environment_and_user(engine: EngineClient, containers: Containers) -> None:
    container = await containers.run(uid=12345, gid=12345)
    result = await engine.exec(
        container,
        ("sh", "-c", 'echo "$COLOUR $(id -u)"'),
        timeout=30,
        env={"COLOUR": "dark blue"},
        user="7:7",
    )
    assert result.stdout == "dark blue 7\n"


async def test_a_program_that_is_missing_is_an_exit_code(
    engine: EngineClient, containers: Containers
) -> None:
    result = await engine.exec(await containers.run(), ("nosuch",), timeout=30)
    assert result.exit_code in (126, 127)
    assert "nosuch" in result.stdout + result.stderr


async def test_output_over_the_limit_is_dropped_and_the_command_continues(
    engine: EngineClient, containers: Containers
) -> None:
    container = await containers.run()
    noisy = ("sh", "-c", "head -c 100000000 /dev/zero; echo late >&2; exit 6")
    result = await engine.exec(container, noisy, timeout=60, output_limit=1_000_000)
    assert (result.exit_code, len(result.stdout), result.stderr, result.truncated) == (6, 1_000_000, "", True)


async def test_text_that_is_not_utf8_is_replaced(engine: EngineClient, containers: Containers) -> None:
    result = await engine.exec(await containers.run(), ("printf", "a\\377b"), timeout=30)
    assert (result.stdout, result.truncated) == ("a\N{REPLACEMENT CHARACTER}b", False)


async def test_unread_input_does_not_block_the_command(engine: EngineClient, containers: Containers) -> None:
    result = await engine.exec(await containers.run(), ("false",), timeout=8, stdin=bytes(30_000_000))
    assert result.exit_code == 1


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("sleep 4711", id="plain"),
        pytest.param("trap '' TERM INT HUP; while :; do sleep 4711; done", id="ignores signals"),
        pytest.param("sleep 4711 & sleep 4711 & wait", id="children"),
        pytest.param("(setsid sh -c 'sleep 4711 & wait' &) ; sleep 4711", id="session of its own"),
        pytest.param("env -i sleep 4711 & wait", id="environment cleared"),
        pytest.param("cp /bin/sleep '/tmp/a) R 1 1'; '/tmp/a) R 1 1' 4711", id="odd name"),
    ],
)
async def test_over_its_time_everything_a_command_began_is_killed(
    command: str, engine: EngineClient, containers: Containers
) -> None:
    container = await containers.run(uid=12345, gid=12345)
    with pytest.raises(CodingAgentTimeout, match="and was killed") as caught:
        await engine.exec(container, ("sh", "-c", f"echo begun; echo oops >&2; {command}"), timeout=0.7)
    assert (caught.value.stdout, caught.value.stderr) == ("begun\n", "oops\n")
    left = await engine.exec(container, ("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"), timeout=30)
    assert "4711" not in left.stdout
    state = await engine.inspect(container)
    assert state is not None
    assert state.status == "running"


async def test_at_the_time_out_unread_input_is_dropped(engine: EngineClient, containers: Containers) -> None:
    container = await containers.run()
    with pytest.raises(CodingAgentTimeout, match="and was killed"):
        await engine.exec(container, ("sleep", "60"), timeout=0.7, stdin=bytes(5_000_000))


async def test_another_command_is_left_alone_by_the_end_of_the_first(
    engine: EngineClient, containers: Containers
) -> None:
    container = await containers.run()
    second = asyncio.create_task(engine.exec(container, ("sh", "-c", "sleep 2; echo done"), timeout=30))
    with pytest.raises(CodingAgentTimeout):
        await engine.exec(container, ("sleep", "60"), timeout=0.5)
    assert (await second).stdout == "done\n"


async def test_a_caller_that_is_cancelled_leaves_nothing_running(
    engine: EngineClient, containers: Containers
) -> None:
    container = await containers.run()
    running = asyncio.create_task(engine.exec(container, ("sleep", "4711"), timeout=60))
    search = ("sh", "-c", "grep -lzx -e '471[1]' /proc/[0-9]*/cmdline")
    while not (await engine.exec(container, search, timeout=30)).stdout:
        assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await engine.exec(container, search, timeout=30)).stdout == ""


async def test_a_container_that_ends_ends_its_commands(engine: EngineClient, containers: Containers) -> None:
    container = await containers.run()
    running = asyncio.create_task(engine.exec(container, ("sh", "-c", "echo begun; sleep 60"), timeout=60))
    search = ("sh", "-c", "grep -lzx -e '6[0]' /proc/[0-9]*/cmdline")
    while not (await engine.exec(container, search, timeout=30)).stdout:
        assert not running.done()
    await engine.signal(container, "SIGKILL")
    assert (await running).exit_code == 137


async def test_a_tar_file_is_put_in_before_the_container_starts(
    engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    tar = tmp_path / "files.tar"
    content = bytes(range(256)) * 20_000
    with tarfile.open(tar, "w") as archive:
        entry = tarfile.TarInfo("dir/inside")
        entry.size, entry.uid, entry.gid, entry.mode = len(content), 77, 78, 0o640
        archive.addfile(entry, io.BytesIO(content))
    container = await engine.create(containers.spec("sh", "-c", "stat -c '%u %g %a %s' /dir/inside"))
    await engine.put_archive(container, "/", tar)
    await engine.start(container)
    await engine.wait(container)
    printed = [chunk.data async for chunk in engine.logs(container, follow=False)]
    assert b"".join(printed) == b"77 78 640 5120000\n"


async def test_a_folder_that_is_not_there_takes_no_archive(
    engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    tar = tmp_path / "files.tar"
    tar.write_bytes(bytes(10_000_000))
    with pytest.raises(CodingAgentError, match=r"[Nn]o such|not find"):
        await engine.put_archive(await engine.create(containers.spec()), "/nonexistent", tar)


async def test_out_of_memory_differs_from_a_kill(engine: EngineClient, containers: Containers) -> None:
    hungry = ("sh", "-c", "head -c 200000000 /dev/zero | tail")
    limits = ContainerLimits(memory_bytes=32 * 1024**2, cpus=None, pids=64)
    assert (await engine.wait(await containers.run(*hungry, limits=limits))).oom_killed
    killed = await containers.run()
    await engine.signal(killed, "SIGKILL")
    state = await engine.wait(killed)
    assert (state.exit_code, state.oom_killed) == (137, False)


@pytest.fixture
async def committed(engine: EngineClient, containers: Containers) -> AsyncIterator[str]:
    """An image with a folder of its own, which only user 1234 may write."""
    name = f"ktrdr-test-{containers.label}:made"
    made = await containers.run(
        "sh", "-c", "mkdir -m 0700 /made && echo kept > /made/file && sleep 60", uid=0, gid=0
    )
    while (await engine.exec(made, ("test", "-s", "/made/file"), timeout=30)).exit_code != 0:
        await asyncio.sleep(0.05)
    await engine.exec(made, ("sh", "-c", "echo gone > /tmp/file"), timeout=30)
    await engine.signal(made, "SIGKILL")
    await engine.wait(made)
    labels, env = {"ktrdr.setup": "a key"}, {"MADE": "a=b c"}
    yield await engine.commit(made, name=name, labels=labels, env=env)
    await engine._docker.images.delete(name, force=True)


async def test_an_image_made_of_a_container(
    engine: EngineClient, containers: Containers, committed: str
) -> None:
    found = await engine.image(f"ktrdr-test-{containers.label}:made")
    base = await engine.image(containers.spec().image)
    assert found is not None and base is not None
    assert found.id == committed
    assert found.labels["ktrdr.setup"] == "a key"
    assert found.layers[: len(base.layers)] == base.layers and len(found.layers) == len(base.layers) + 1
    child = await containers.run(image=committed, uid=0, gid=0)
    shown = await engine.exec(child, ("sh", "-c", 'cat /made/file; ls /tmp; echo "$MADE"'), timeout=30)
    assert shown.stdout == "kept\na=b c\n"


async def test_an_anonymous_volume_is_filled_from_the_image_and_goes_with_its_container(
    engine: EngineClient, containers: Containers, committed: str
) -> None:
    mounts = (AnonymousVolume(target="/made"),)
    with_volume = await containers.run(image=committed, uid=0, gid=0, mounts=mounts)
    shown = await engine.exec(with_volume, ("sh", "-c", "cat /made/file && echo new > /made/new"), timeout=30)
    assert shown.stdout == "kept\n"
    volume = next(m for m in (await raw(engine, with_volume))["Mounts"] if m["Type"] == "volume")["Name"]
    await engine.remove(with_volume)
    left = await engine._docker.volumes.list(filters={"name": [volume]})
    assert not left["Volumes"]


async def test_the_docker_command_makes_the_same_container(
    engine: EngineClient, containers: Containers, tmp_path: Path
) -> None:
    """In every field that the profile or a specification chooses."""
    specs = [
        containers.spec(
            "sleep",
            "infinity",
            name=containers.name(),
            mounts=(Bind(source=tmp_path, target="/in", read_only=True), AnonymousVolume(target="/kept")),
            env={"A": "1, 2"},
            limits=ContainerLimits(memory_bytes=256 * 1024**2, cpus=1.5, pids=64),
        )
        for _ in range(2)
    ]
    await engine.create(specs[0])
    argv = docker_run_argv(specs[1])
    done = await subprocesses.run(("docker", "create", *argv[2:]), timeout=60, env=dict(os.environ))
    assert done.exit_code == 0, done.stderr
    ours, theirs = [await raw(engine, spec.name) for spec in specs]
    for chosen in create_body(specs[0])["HostConfig"]:
        if chosen != "Mounts":
            assert (ours["HostConfig"][chosen] or None) == (theirs["HostConfig"][chosen] or None), chosen
    assert sorted(ours["Config"]["Env"]) == sorted(theirs["Config"]["Env"])
    for field in ("User", "WorkingDir", "Labels", "Tty", "OpenStdin", "Image"):
        assert ours["Config"][field] == theirs["Config"][field], field
    assert [ours["Path"], *ours["Args"]] == [theirs["Path"], *theirs["Args"]]
    assert [
        [(mount["Type"], mount["Destination"], mount["RW"]) for mount in sorted_mounts(each)]
        for each in (ours, theirs)
    ] == [[("bind", "/in", False), ("volume", "/kept", True)]] * 2


def sorted_mounts(container: Any) -> list[Any]:
    return sorted(container["Mounts"], key=lambda mount: str(mount["Destination"]))
