import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from gateway_kit import end_all

from orchestrator.gateway.sockets import gateway_folder


@pytest_asyncio.fixture
async def state(tmp_path: Path) -> AsyncIterator[Path]:
    """A state folder of its own; its gateway is ended after the test."""
    folder = tmp_path / "state folder"
    folder.mkdir(mode=0o700)
    yield folder
    await end_all(folder)
    shutil.rmtree(gateway_folder(folder), ignore_errors=True)


@pytest.fixture
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gw-", dir="/tmp") as folder:
        yield Path(folder)
