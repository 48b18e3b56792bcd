"""Containers for the tests: small, of a plain Debian, and gone afterwards."""

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.containers.base import LABEL_KIND, ContainerSpec, Limits
from orchestrator.containers.engine import EngineClient, connect_engine

IMAGE = os.environ.get("KTRDR_TEST_IMAGE", "debian:bookworm-slim")
LABEL_TEST = "ktrdr.test"


class Containers:
    """Makes and starts containers, and removes each at the end."""

    def __init__(self, engine: EngineClient) -> None:
        self.engine = engine
        self.label = uuid.uuid4().hex

    def spec(self, *command: str, **changes: Any) -> ContainerSpec:
        given: dict[str, Any] = {
            "name": f"ktrdr-test-{uuid.uuid4().hex[:12]}",
            "image": IMAGE,
            "uid": os.getuid(),
            "gid": os.getgid(),
            "limits": Limits(memory_bytes=256 * 1024**2, cpus=None, pids=128),
            "command": command or ("sleep", "infinity"),
            "working_dir": "/",
            "labels": {LABEL_KIND: "probe", LABEL_TEST: self.label},
        }
        return ContainerSpec(**(given | changes))

    async def run(self, *command: str, **changes: Any) -> str:
        container = await self.engine.create(self.spec(*command, **changes))
        await self.engine.start(container)
        return container

    async def remove_all(self) -> None:
        for state in await self.engine.list({LABEL_TEST: self.label}):
            await self.engine.remove(state.id)


@pytest.fixture
async def engine() -> AsyncIterator[EngineClient]:
    client = await connect_engine()
    yield client
    await client.close()


@pytest.fixture
async def containers(engine: EngineClient) -> AsyncIterator[Containers]:
    made = Containers(engine)
    yield made
    await made.remove_all()


@pytest.fixture
def image() -> str:
    return IMAGE


@pytest.fixture
def code_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    return folder
