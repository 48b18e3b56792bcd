from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from container_makers import IMAGE, Containers

from orchestrator.containers.engine import EngineClient, connect_engine


@pytest.fixture
async def engine() -> AsyncIterator[EngineClient]:
    async with await connect_engine() as client:
        yield client


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
