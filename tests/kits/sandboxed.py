"""The command `orchestrator` with a fake engine, whose containers run the commands of this machine."""

import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from orchestrator.cli.host import this_host, use_host
from orchestrator.cli.main import main
from orchestrator.containers.base import ContainerEngine


@asynccontextmanager
async def fake_engine() -> AsyncIterator[ContainerEngine]:
    # Most commands do not need it, so they do not import it, as in the real one.
    from orchestrator.clock import SystemClock
    from orchestrator.testing.engine import FakeEngine
    from orchestrator.testing.sandbox import run_on_host

    folder = Path(tempfile.mkdtemp(prefix="ktrdr-engine-"))
    try:
        yield FakeEngine(folder, run_on_host, clock=SystemClock())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main_in_sandbox() -> int:
    with use_host(replace(this_host(), connect_engine=fake_engine)):
        return main()


if __name__ == "__main__":
    sys.exit(main_in_sandbox())
