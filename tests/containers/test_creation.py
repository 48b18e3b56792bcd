"""A creation that is cancelled half-way leaves no container, however often it is cancelled."""

import asyncio
from typing import Any, cast

import pytest

from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.containers.start import create_container


class SlowEngine:
    """Makes a container once `may_answer` is set, also when its client no longer waits for the answer."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.containers: set[str] = set()

    async def create(self, spec: Any) -> str:
        self.asked.set()
        await self.may_answer.wait()
        self.containers.add("made")
        return "made"

    async def remove(self, container: str) -> None:
        await asyncio.sleep(0)
        self.containers.discard(container)


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_cancelled_creation_leaves_nothing(times: int) -> None:
    engine = SlowEngine()
    creating = asyncio.create_task(
        create_container(cast(ContainerEngine, engine), cast(ContainerSpec, object()))
    )
    await engine.asked.wait()
    for _ in range(times):
        creating.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    engine.may_answer.set()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert engine.containers == set()
