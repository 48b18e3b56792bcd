"""Containers for the tests: small, of a plain Debian, and gone afterwards."""

import os
import uuid
from typing import Any

from orchestrator.containers.base import LABEL_KIND, ContainerLimits, ContainerSpec
from orchestrator.containers.engine import EngineClient

IMAGE = os.environ.get("KTRDR_TEST_IMAGE", "debian:bookworm-slim")
LABEL_TEST = "ktrdr.test"
SMALL = ContainerLimits(memory_bytes=256 * 1024**2, cpus=None, pids=128)


class Containers:
    """Makes and starts containers, and removes each at the end."""

    def __init__(self, engine: EngineClient) -> None:
        self.engine = engine
        self.label = uuid.uuid4().hex

    @property
    def labels(self) -> dict[str, str]:
        return {LABEL_KIND: "probe", LABEL_TEST: self.label}

    def spec(self, *command: str, **changes: Any) -> ContainerSpec:
        given: dict[str, Any] = {
            "name": self.name(),
            "image": IMAGE,
            "uid": os.getuid(),
            "gid": os.getgid(),
            "limits": SMALL,
            "command": command or ("sleep", "infinity"),
            "working_dir": "/",
            "labels": self.labels,
        }
        return ContainerSpec(**(given | changes))

    def name(self) -> str:
        return f"ktrdr-test-{uuid.uuid4().hex[:12]}"

    async def run(self, *command: str, **changes: Any) -> str:
        container = await self.engine.create(self.spec(*command, **changes))
        await self.engine.start(container)
        return container

    async def names(self) -> list[str]:
        return [state.name for state in await self.engine.list({LABEL_TEST: self.label})]

    async def remove_all(self) -> None:
        for state in await self.engine.list({LABEL_TEST: self.label}):
            await self.engine.remove(state.id)


class FarEngine:
    """An engine in front of the real one; a test overrides what is to go wrong on the way."""

    def __init__(self, near: EngineClient) -> None:
        self.near = near

    def __getattr__(self, name: str) -> Any:
        return getattr(self.near, name)
