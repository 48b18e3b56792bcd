"""The promises that the orchestrator relies on, as cases that can be run against any container engine.

The image of a Probe needs a shell, coreutils, findutils and grep; its folder is written to.
"""

import asyncio
import io
import tarfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.containers.base import LABEL_KIND, ContainerEngine, ContainerLimits, ContainerSpec
from orchestrator.errors import CodingAgentError, CodingAgentTimeout
from orchestrator.mounts import AnonymousVolume, Bind, Overlay

MEGABYTE = 1024**2
EXEC_SECONDS = 30.0
CASE_SECONDS = 60.0
_OWN_LABEL = "ktrdr.conformance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    engine: ContainerEngine
    image: str
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    promise: str
    run: Callable[[Probe], Awaitable[None]]

    @property
    def name(self) -> str:
        return self.run.__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    case: Case


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    case: Case
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownToBreak:
    case: Case
    reason: str
    """Why it is so and what it means, not what was seen this time."""


Verdict = Kept | Broken | KnownToBreak

KNOWN_FAILURES: Mapping[str, Mapping[str, str]] = {
    "docker": {
        "bytes_that_are_not_text": (
            "the json-file log driver stores text: each byte that is not UTF-8 comes back as U+FFFD"
        ),
    },
}
"""By engine and case."""


class Unmet(Exception):
    """A promise was not kept; the message says what was seen."""


CASES: list[Case] = []


def find_known_failure(engine: str, case: Case) -> str | None:
    return KNOWN_FAILURES.get(engine, {}).get(case.name)


async def judge(case: Case, probe: Probe) -> Verdict:
    """Run one case. A known failure that is kept nevertheless counts as broken: the list is wrong then."""
    known = find_known_failure((await probe.engine.info()).name, case)
    try:
        async with asyncio.timeout(CASE_SECONDS):
            await case.run(probe)
    except (Unmet, CodingAgentError, TimeoutError) as error:
        if known is not None:
            return KnownToBreak(case=case, reason=known)
        return Broken(case=case, reason=str(error) or f"not done within {CASE_SECONDS:g} s")
    if known is not None:
        return Broken(case=case, reason=f"it is kept, but listed as a known failure: {known}")
    return Kept(case=case)


def _case(promise: str) -> Callable[[Callable[[Probe], Awaitable[None]]], Callable[[Probe], Awaitable[None]]]:
    def register(run: Callable[[Probe], Awaitable[None]]) -> Callable[[Probe], Awaitable[None]]:
        CASES.append(Case(promise=promise, run=run))
        return run

    return register


@_case("the folder is mounted, and what is written there belongs to its owner")
async def folder_on_the_host(probe: Probe) -> None:
    (probe.folder / "from-outside").write_text("seen\n")
    seen = await _shell(probe, "cat from-outside && echo written > from-inside")
    _expect(seen == "seen\n", f"inside, the file held {seen!r}")
    made = (probe.folder / "from-inside").stat()
    owner = probe.folder.stat()
    _expect(
        (made.st_uid, made.st_gid) == (owner.st_uid, owner.st_gid),
        f"it belongs to {made.st_uid}:{made.st_gid}",
    )


@_case("every folder name can be mounted")
async def odd_folder_name(probe: Probe) -> None:
    folder = probe.folder / "a b:c,d=e 'f' \"g\" ünï \N{SNOWMAN}"
    folder.mkdir(exist_ok=True)
    (folder / "here").touch()
    listed = await _shell(replace(probe, folder=folder), "ls")
    _expect(listed == "here\n", f"inside, the folder held {listed!r}")


@_case("a folder that is missing is an error, and is not made")
async def folder_that_does_not_exist(probe: Probe) -> None:
    folder = probe.folder / "not-there"
    try:
        async with _run_container(replace(probe, folder=folder), "true"):
            pass
    except CodingAgentError:
        _expect(not folder.exists(), "the engine made the folder")
    else:
        raise Unmet("the engine started a container on it")


@_case("no capability, no way to new privileges, system calls filtered")
async def walls(probe: Probe) -> None:
    status = await _shell(probe, "cat /proc/self/status")
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        _expect(int(values[name], 16) == 0, f"{name} is {values[name]}")
    _expect(values["NoNewPrivs"] == "1", "new privileges can be had")
    _expect(values["Seccomp"] == "2", f"Seccomp is {values['Seccomp']}")


@_case("no socket of an engine and no device of the host inside")
async def host_is_hidden(probe: Probe) -> None:
    sockets = await _shell(probe, "find /run /var/run/ -type s 2>/dev/null || true")
    _expect(sockets == "", f"sockets: {sockets!r}")
    devices = await _shell(probe, "find /dev -type b")
    _expect(devices == "", f"block devices: {devices!r}")


@_case("programs can be run from /tmp")
async def programs_in_tmp(probe: Probe) -> None:
    ran = await _shell(
        probe, "cp /bin/true /tmp/program && /tmp/program && stat -f -c %T /tmp && stat -c %a /tmp"
    )
    _expect(ran == "tmpfs\n1777\n", f"it is {ran!r}")


@_case("the limit on processes holds")
async def process_limit(probe: Probe) -> None:
    script = "for n in $(seq 200); do sleep 20 & done 2>/dev/null; echo all"
    printed = await _shell(probe, f"({script}) || true", pids=40)
    _expect("all" not in printed, "200 processes were started although 40 are allowed")


@_case("too much memory ends the container, and the engine says that this is why")
async def memory_limit(probe: Probe) -> None:
    async with _run_container(probe, "head -c 200000000 /dev/zero | tail", memory=32 * MEGABYTE) as container:
        state = await probe.engine.wait(container)
    _expect(state.oom_killed, f"it ended with {state.exit_code}, and nothing was said of memory")


@_case("a container without a network has none")
async def no_network(probe: Probe) -> None:
    async with _run_container(probe, "ls /sys/class/net", network=False) as container:
        await probe.engine.wait(container)
        seen = await _read_output(probe, container, "stdout")
    _expect(seen == b"lo\n", f"its interfaces are {seen!r}")


@_case("the host has a name inside")
async def host_alias(probe: Probe) -> None:
    found = await _shell(probe, "getent hosts host.docker.internal || true")
    _expect(found != "", "host.docker.internal has no address")


@_case("the main process's exit code is the container's")
async def exit_code(probe: Probe) -> None:
    async with _run_container(probe, "exit 7") as container:
        state = await probe.engine.wait(container)
    _expect(state.exit_code == 7, f"it is {state.exit_code}")


@_case("a signal reaches the main process, and one that comes too late is not an error")
async def signals(probe: Probe) -> None:
    async with _run_container(
        probe, "trap 'exit 9' INT; echo ready; while :; do sleep 0.1; done"
    ) as container:
        await _wait_for_output(probe, container, b"ready\n")
        await probe.engine.signal(container, "SIGINT")
        state = await probe.engine.wait(container)
        await probe.engine.signal(container, "SIGINT")
    _expect(state.exit_code == 9, f"it ended with {state.exit_code}")


@_case("an init is the first process: it reaps orphans, and SIGTERM ends what has no handler for it")
async def init(probe: Probe) -> None:
    async with _run_container(probe, "(sleep 0 & exec true); echo ready; exec sleep 60") as container:
        await _wait_for_output(probe, container, b"ready\n")
        zombies = ("sh", "-c", "sleep 0.2; grep -l '^State:.Z' /proc/[0-9]*/status")
        left = await probe.engine.exec(container, zombies, timeout=EXEC_SECONDS)
        await probe.engine.signal(container, "SIGTERM")
        state = await probe.engine.wait(container)
    _expect(left.stdout == "", f"dead and not reaped: {left.stdout!r}")
    _expect(state.exit_code == 143, f"it ended with {state.exit_code}")


@_case("stdout and stderr are apart, and a line of 2 MB is one line")
async def output(probe: Probe) -> None:
    script = "head -c 2000000 /dev/zero | tr '\\0' x; echo; echo problem >&2; printf rest"
    async with _run_container(probe, script) as container:
        await probe.engine.wait(container)
        stdout = await _read_output(probe, container, "stdout")
        stderr = await _read_output(probe, container, "stderr")
    _expect(stdout == b"x" * 2_000_000 + b"\nrest", f"stdout had {len(stdout)} bytes")
    _expect(stderr == b"problem\n", f"stderr was {stderr[:200]!r}")


@_case("bytes that are not text come back as they were")
async def bytes_that_are_not_text(probe: Probe) -> None:
    async with _run_container(probe, "printf 'a\\377\\000\\376b'") as container:
        await probe.engine.wait(container)
        stdout = await _read_output(probe, container, "stdout")
    _expect(stdout == b"a\xff\x00\xfeb", f"they came back as {stdout!r}")


@_case("a command gets its input whole and gives exit code and output")
async def command(probe: Probe) -> None:
    sent = b"\x00\xff" * 500_000
    async with _run_container(probe, "sleep 60") as container:
        result = await probe.engine.exec(
            container, ("sh", "-c", "wc -c; echo no >&2; exit 5"), timeout=EXEC_SECONDS, stdin=sent
        )
    seen = (result.exit_code, result.stdout.strip(), result.stderr)
    _expect(seen == (5, "1000000", "no\n"), f"it gave {seen}")


@_case("a command over its time-out is killed with all that it began")
async def command_over_time(probe: Probe) -> None:
    stubborn = "trap '' TERM INT HUP; (sleep 4711 & setsid sleep 4711 & wait) & echo begun; wait"
    async with _run_container(probe, "sleep 60") as container:
        try:
            await probe.engine.exec(container, ("sh", "-c", stubborn), timeout=1)
        except CodingAgentTimeout as error:
            _expect(error.stdout == "begun\n", f"it had printed {error.stdout!r}")
        else:
            raise Unmet("it continued")
        # The brackets keep the search from finding itself.
        alive = "grep -lzx -e '471[1]' /proc/[0-9]*/cmdline"
        left = await probe.engine.exec(container, ("sh", "-c", alive), timeout=EXEC_SECONDS)
    _expect(left.stdout == "", f"alive: {left.stdout!r}")


@_case("files put in have the owners that the archive gives them")
async def archive(probe: Probe) -> None:
    tar = probe.folder / "archive.tar"
    tar.write_bytes(_archive())
    async with _run_container(probe, "sleep 60") as container:
        await probe.engine.put_archive(container, "/", tar)
        seen = await probe.engine.exec(
            container, ("stat", "-c", "%u:%g %a", "/put-in/script"), timeout=EXEC_SECONDS
        )
    _expect(seen.stdout == "1234:2345 750\n", f"owner and mode are {seen.stdout!r} {seen.stderr!r}")


@_case("containers are found by their labels, ended ones too, and removing twice is not an error")
async def labels_and_removal(probe: Probe) -> None:
    async with _run_container(probe, "true") as container:
        await probe.engine.wait(container)
        label = uuid.uuid4().hex
        spec = replace(_spec(probe, "true"), labels={LABEL_KIND: "probe", _OWN_LABEL: label})
        second = await probe.engine.create(spec)
        found = await probe.engine.list({LABEL_KIND: None, _OWN_LABEL: label})
        await probe.engine.remove(second)
        await probe.engine.remove(second)
    _expect([state.id for state in found] == [second], f"{len(found)} were found")
    _expect(await probe.engine.inspect(second) is None, "it is still there")


@_case("an image made of a container is found by its labels, stays while a container needs it, and goes")
async def images_and_removal(probe: Probe) -> None:
    label = uuid.uuid4().hex
    async with _run_container(probe, "true") as container:
        await probe.engine.wait(container)
        name = f"ktrdr-conformance:{label}"
        made = await probe.engine.commit(container, name=name, labels={_OWN_LABEL: label}, env={})
    user = await probe.engine.create(replace(_spec(probe, "true"), image=made))
    found = await probe.engine.images({LABEL_KIND: None, _OWN_LABEL: label})
    removed_in_use = await probe.engine.remove_image(made)
    await probe.engine.remove(user)
    removed = [await probe.engine.remove_image(name) for _ in range(2)]
    _expect([(image.id, image.names) for image in found] == [(made, (name,))], f"{len(found)} were found")
    _expect(not removed_in_use, "it was removed while a container needed it")
    _expect(removed == [True, True], f"removing it twice gave {removed}")
    _expect(await probe.engine.image(name) is None, "it is still there")


@_case("a folder of a container's files differs from a file, a link and nothing, before it is started")
async def folders_and_links(probe: Probe) -> None:
    container = await probe.engine.create(_spec(probe, "true"))
    try:
        await _put(probe, container, "/", {"made": None, "made/file": "x", "made/link": Path("..")})
        paths = ("/made", "/made/file", "/made/link", "/made/absent", "/absent/absent")
        seen = [await probe.engine.is_folder(container, path) for path in paths]
    finally:
        await probe.engine.remove(container)
    _expect(seen == [True, False, False, False, False], f"of {paths} are folders: {seen}")


@_case("an overlay shows a folder of an image, keeps what is written apart, and goes with its container")
async def overlays(probe: Probe) -> None:
    """An engine that does not report the folder of an image promises nothing."""
    async with AsyncExitStack() as stack:
        filled = await _create(probe, stack, _spec(probe, "true"))
        files = {"made": None, "made/deep": None, "made/deep/file": "one\n", "made/other": "two\n"}
        await _put(probe, filled, "/", files)
        image = await probe.engine.commit(
            filled, name=f"ktrdr-conformance:{uuid.uuid4().hex}", labels={}, env={}
        )
        stack.push_async_callback(probe.engine.remove_image, image)
        about = await probe.engine.image(image)
        if about is None or about.layer_folder is None:
            return
        spec = replace(_spec(probe, "true"), image=image, mounts=(AnonymousVolume(target="/run/held"),))
        holder = await _create(probe, stack, spec)
        await _put(probe, holder, "/run/held", {"upper": None, "work": None})
        state = await probe.engine.inspect(holder)
        held = "" if state is None else state.volumes["/run/held"]
        overlay = Overlay(
            target="/over",
            lower=f"{about.layer_folder}/made",
            upper=f"{held}/upper",
            work=f"{held}/work",
        )
        script = (
            "cat deep/file other && rm other && echo three > deep/file && touch new && ls && cat /made/other"
        )
        spec = replace(_spec(probe, script), image=image, mounts=(overlay,), volumes_from=holder)
        user = await _create(probe, stack, replace(spec, working_dir="/over"))
        await probe.engine.start(user)
        ended = await probe.engine.wait(user)
        seen = await _read_output(probe, user, "stdout")
        wrong = await _read_output(probe, user, "stderr")
        _expect((ended.exit_code, seen) == (0, b"one\ntwo\ndeep\nnew\ntwo\n"), f"it printed {seen + wrong!r}")
        written = await probe.engine.is_folder(holder, "/run/held/upper/deep")
        _expect(written, "what was written is not in the upper folder")
        for container in (holder, user):
            await probe.engine.remove(container)
        # On a machine of its own the engine's folders are never here, and this says nothing.
        _expect(not Path(held).exists(), f"{held} is still there")


async def _create(probe: Probe, stack: AsyncExitStack, spec: ContainerSpec) -> str:
    container = await probe.engine.create(spec)
    stack.push_async_callback(probe.engine.remove, container)
    return container


async def _put(probe: Probe, container: str, path: str, entries: Mapping[str, str | Path | None]) -> None:
    """Put files, links (paths) and folders (None) in, owned by the container's user."""
    spec, packed = _spec(probe, "true"), probe.folder / "put.tar"
    with tarfile.open(packed, "w") as tar:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.uid, entry.gid = 0o755, spec.uid, spec.gid
            data = b""
            match content:
                case None:
                    entry.type = tarfile.DIRTYPE
                case Path():
                    entry.type, entry.linkname = tarfile.SYMTYPE, str(content)
                case str():
                    data = content.encode()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    await probe.engine.put_archive(container, path, packed)
    packed.unlink()


def _expect(kept: bool, seen: str) -> None:
    if not kept:
        raise Unmet(seen)


def _spec(
    probe: Probe, script: str, *, memory: int = 256 * MEGABYTE, pids: int = 128, network: bool = True
) -> ContainerSpec:
    owner = (probe.folder if probe.folder.exists() else probe.folder.parent).stat()
    return ContainerSpec(
        name=f"ktrdr-probe-{uuid.uuid4().hex[:12]}",
        image=probe.image,
        uid=owner.st_uid,
        gid=owner.st_gid,
        limits=ContainerLimits(memory_bytes=memory, cpus=None, pids=pids),
        command=("sh", "-c", script),
        labels={LABEL_KIND: "probe"},
        mounts=(Bind(source=probe.folder, target="/workspace"),),
        network="open" if network else "none",
    )


@asynccontextmanager
async def _run_container(
    probe: Probe, script: str, *, memory: int = 256 * MEGABYTE, pids: int = 128, network: bool = True
) -> AsyncIterator[str]:
    container = await probe.engine.create(_spec(probe, script, memory=memory, pids=pids, network=network))
    try:
        await probe.engine.start(container)
        yield container
    finally:
        await probe.engine.remove(container)


async def _shell(probe: Probe, script: str, *, pids: int = 128) -> str:
    """Runs the command as a container's main process and returns its output. Raises Unmet when it fails."""
    async with _run_container(probe, script, pids=pids) as container:
        state = await probe.engine.wait(container)
        stdout = await _read_output(probe, container, "stdout")
        stderr = await _read_output(probe, container, "stderr")
    _expect(
        state.exit_code == 0, f"`{script}` ended with {state.exit_code}: {stderr.decode('utf-8', 'replace')}"
    )
    return stdout.decode("utf-8", "replace")


async def _read_output(probe: Probe, container: str, stream: str) -> bytes:
    async with aclosing(probe.engine.logs(container, follow=False)) as chunks:
        return b"".join([chunk.data async for chunk in chunks if chunk.stream == stream])


async def _wait_for_output(probe: Probe, container: str, text: bytes) -> None:
    async with aclosing(probe.engine.logs(container, follow=True)) as chunks:
        seen = b""
        async for chunk in chunks:
            seen += chunk.data
            if text in seen:
                return


def _archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, kind, mode in (
            ("put-in", tarfile.DIRTYPE, 0o755),
            ("put-in/script", tarfile.REGTYPE, 0o750),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.uid, entry.gid = kind, mode, 1234, 2345
            tar.addfile(entry)
    return packed.getvalue()
