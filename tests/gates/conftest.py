import io
import os
import tarfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clock import SystemClock
from orchestrator.containers.base import LABEL_KIND, ContainerLimits, ContainerSpec
from orchestrator.containers.engine import EngineClient, connect_engine
from orchestrator.gates.command_gate import (
    HOME,
    CommandGate,
    ContainerLost,
    GateBegun,
    GateRequest,
    GateResult,
    run_gates,
)
from orchestrator.gates.evidence import Evidence

IMAGE = "ktrdr-coding-agent:latest"
LABEL_TEST = "ktrdr.test"
UID = os.geteuid() or 1000


def archive_of(path: Path, files: dict[str, bytes]) -> Path:
    """A candidate as it is put at / of a gate's container."""
    with tarfile.open(path, "w") as tar:
        entries = {"workspace/": None, **{f"workspace/{name}": data for name, data in files.items()}}
        for name, data in entries.items():
            entry = tarfile.TarInfo(name)
            entry.uid = entry.gid = UID
            entry.mode = 0o755 if data is None else 0o644
            if data is None:
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return path


@dataclass
class Gates:
    """Runs blocks in a fresh container as a run does, and keeps what was said and stored."""

    engine: EngineClient
    folder: Path
    label: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: list[CommandGate] = field(default_factory=list)
    lost: list[str | None] = field(default_factory=list)
    """The commands whose container another process removed."""
    when_started: Callable[[CommandGate], object] = field(default=lambda command: None)
    when_printed: Callable[[bytes], object] = field(default=lambda data: None)

    @property
    def spec(self) -> ContainerSpec:
        return ContainerSpec(
            name=f"ktrdr-gate-{self.label[:12]}",
            image=IMAGE,
            uid=UID,
            gid=UID,
            limits=ContainerLimits(memory_bytes=512 * 1024**2, cpus=None, pids=128),
            env={"HOME": HOME},
            labels={LABEL_KIND: "gate", LABEL_TEST: self.label},
        )

    @property
    def evidence(self) -> Path:
        return self.folder / "evidence"

    def stored(self, result: GateResult) -> bytes:
        return (self.evidence / result.evidence.id / "output").read_bytes()

    async def run(self, *blocks: str, timeout: float = 60, **changes: Any) -> list[GateResult]:
        files = changes.pop("files", {"greeting.txt": b"hello\n"})
        asks = changes.pop("asks_for_report", False)
        request = GateRequest(
            spec=replace(self.spec, **changes),
            archive=archive_of(self.folder / "candidate.tar", files),
            candidate="c" * 40,
            image="sha256:1",
            gates=tuple(
                CommandGate(
                    name=f"verify-{number}", command=block, evidence=f"e{number}", asks_for_report=asks
                )
                for number, block in enumerate(blocks, 1)
            ),
            timeout=timeout,
            evidence=self.evidence,
            on_output=self.when_printed,
        )
        results = []
        async with aclosing(run_gates(self.engine, SystemClock(), request)) as events:
            async for event in events:
                match event:
                    case GateBegun(gate=gate):
                        self.started.append(gate)
                        self.when_started(gate)
                    case GateResult():
                        assert (self.evidence / event.evidence.id / "gate.json").exists()
                        results.append(event)
                    case ContainerLost(gate=lost):
                        self.lost.append(lost)
        return results

    async def one(self, block: str, **more: Any) -> Evidence:
        (result,) = await self.run(block, **more)
        return result.evidence


@pytest.fixture
async def gates(tmp_path: Path) -> AsyncIterator[Gates]:
    async with await connect_engine() as engine:
        made = Gates(engine=engine, folder=tmp_path)
        yield made
        left = await engine.list({LABEL_TEST: made.label})
        for container in left:
            await engine.remove(container.id)
        assert not left, "a gate leaves no container behind"
