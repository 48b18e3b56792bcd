"""Commands of this machine as the processes of FakeEngine's containers. Needs Linux, and root."""

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from orchestrator.subprocesses import start_process
from orchestrator.testing import namespaces
from orchestrator.testing.processes import OutOfMemory, Process

_MARK = "KTRDR_EXEC"
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_PROCESSES = 3
"""Processes of a container besides its command: its init, and those that start and end commands."""
_LAST_OUTPUT_SECONDS = 0.2


def find_obstacle() -> str | None:
    """The reason why commands cannot run here, or None."""
    if not sys.platform.startswith("linux"):
        return "namespaces need Linux"
    return None if os.geteuid() == 0 else "namespaces and limits need root"


async def run_on_host(process: Process) -> int:
    """A Program that runs the real command in the container's namespaces."""
    async with _open_groups(process) as groups:
        code = await (_run_main if process.is_main else _run_exec)(process, groups)
        if process.is_main and groups.out_of_memory:
            raise OutOfMemory
        return code


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """The control groups of a container, of version 1 or 2, whichever the machine has."""

    memory: Path
    pids: Path

    @classmethod
    def of(cls, process: Process) -> "_Groups":
        name = f"ktrdr-fake-{process.box.base.name}"
        if (_CGROUPS / "cgroup.controllers").exists():
            return cls(memory=_CGROUPS / name, pids=_CGROUPS / name)
        return cls(memory=_CGROUPS / "memory" / name, pids=_CGROUPS / "pids" / name)

    def make(self, memory: int, pids: int) -> None:
        for folder in (self.memory, self.pids):
            folder.mkdir(exist_ok=True)
        for name in ("memory.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
            _set(self.memory / name, str(memory))
        _set(self.memory / "memory.swap.max", "0")
        _set(self.pids / "pids.max", str(pids + _OWN_PROCESSES))

    @property
    def members(self) -> list[str]:
        return sorted({str(folder / "cgroup.procs") for folder in (self.memory, self.pids)})

    @property
    def out_of_memory(self) -> bool:
        files = [self.memory / name for name in ("memory.events", "memory.oom_control")]
        lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
        return any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in lines)

    async def remove(self) -> None:
        """Remove the groups as soon as the last process in them, which was killed a moment ago, has ended."""
        for _ in range(200):
            try:
                for folder in {self.memory, self.pids}:
                    if folder.exists():
                        folder.rmdir()
                return
            except OSError:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def _open_groups(process: Process) -> AsyncIterator[_Groups]:
    groups, limits = _Groups.of(process), process.box.spec.limits
    if not process.is_main:
        yield groups
        return
    groups.make(limits.memory_bytes, limits.pids)
    try:
        yield groups
    finally:
        await groups.remove()


def _set(file: Path, value: str) -> None:
    if file.exists():
        file.write_text(value)


async def _run_main(process: Process, groups: _Groups) -> int:
    box = process.box
    for name in ("root", "work"):
        (box.base / name).mkdir()
    hosts = box.base / "hosts"
    hosts.write_text(f"{Path('/etc/hosts').read_text()}127.0.0.1 host.docker.internal\n")
    binds = [(str(source), target, ro) for source, target, ro in box.mounts if target != "/tmp"]  # noqa: S108
    about = {
        "layer": str(box.base / "layer"),
        "work": str(box.base / "work"),
        "mounts": [(str(hosts), "/etc/hosts", True), *binds],
        "network": box.spec.network == "open",
        "tmp_bytes": box.spec.limits.memory_bytes // 2,
    }
    return await _run("main", process, groups, about)


async def _run_exec(process: Process, groups: _Groups) -> int:
    mark = uuid.uuid4().hex
    process.env = {**process.env, _MARK: mark}
    try:
        return await _run("exec", process, groups, {"leader": process.box.leader})
    except asyncio.CancelledError:
        await asyncio.to_thread(_kill_marked, f"{_MARK}={mark}".encode())
        raise


async def _run(what: str, process: Process, groups: _Groups, about: dict[str, Any]) -> int:
    spec = process.box.spec
    about |= {
        "root": str(process.box.base / "root"),
        "folder": spec.working_dir,
        "uid": spec.uid,
        "gid": spec.gid,
        "argv": process.argv,
        "env": {"PATH": os.defpath, "HOME": "/", **process.env},
        "groups": groups.members,
    }
    argv = [sys.executable, "-I", "-S", namespaces.__file__, what, json.dumps(about)]
    async with start_process(
        argv, env={}, cwd=None, identity=None, stdin=process.stdin is not None
    ) as command:
        if process.is_main:
            process.box.leader = command.pid
        assert command.stdout is not None
        if await command.stdout.read(1) == namespaces.BEGUN:
            process.begun.set()
        for number in namespaces.FORWARDED:
            process.handlers[number.name] = partial(command.send_signal, number)
        return await _attend(command, process)


async def _attend(command: asyncio.subprocess.Process, process: Process) -> int:
    """Pass input and output until the command has ended, even if processes that it left hold its pipes."""
    assert command.stdout is not None and command.stderr is not None
    feeding = asyncio.ensure_future(_feed(command, process.stdin))
    reading = {
        asyncio.ensure_future(_read(command.stdout, process, "stdout")),
        asyncio.ensure_future(_read(command.stderr, process, "stderr")),
    }
    try:
        code = await command.wait()
        await asyncio.wait(reading, timeout=_LAST_OUTPUT_SECONDS)
        return code if code >= 0 else 128 - code
    finally:
        for task in (feeding, *reading):
            task.cancel()
        await asyncio.gather(feeding, *reading, return_exceptions=True)


async def _feed(command: asyncio.subprocess.Process, stdin: bytes | None) -> None:
    if command.stdin is not None and stdin is not None:
        command.stdin.write(stdin)
        command.stdin.close()


async def _read(stream: asyncio.StreamReader, process: Process, name: Literal["stdout", "stderr"]) -> None:
    while data := await stream.read(65_536):
        process.write(name, data)


def _kill_marked(mark: bytes) -> None:
    """Kill every process that a command started, found by a mark in its environment."""
    while any(_kill_if_marked(process, mark) for process in Path("/proc").glob("[0-9]*")):
        pass


def _kill_if_marked(process: Path, mark: bytes) -> bool:
    try:
        if mark not in (process / "environ").read_bytes().split(b"\0"):
            return False
        os.kill(int(process.name), signal.SIGKILL)
        return True
    except OSError:
        return False
