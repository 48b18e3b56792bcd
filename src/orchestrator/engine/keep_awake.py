"""Keeps the machine awake while a run is at work, where it has mains power and a program for that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from orchestrator.subprocesses import start_process

# Each of them holds the machine awake as long as `cat` runs, and `cat` ends when our end of its pipe is
# closed: also after a kill of this process.
INHIBITORS = (
    (
        *("systemd-inhibit", "--what=idle:sleep", "--who=orchestrator", "--why=a run is at work"),
        *("--mode=block", "cat"),
    ),
    ("caffeinate", "-s", "cat"),  # -s: on mains power only
)
POWER_SUPPLIES = Path("/sys/class/power_supply")


@asynccontextmanager
async def keep_awake() -> AsyncIterator[None]:
    """Inside, the machine does not sleep by itself. Without mains power, or a program, nothing happens."""
    async with AsyncExitStack() as stack:
        if await asyncio.to_thread(is_on_mains, POWER_SUPPLIES):
            for argv in INHIBITORS:
                try:
                    await stack.enter_async_context(_keep_running(argv))
                    break
                except FileNotFoundError:
                    continue
        yield


@asynccontextmanager
async def _keep_running(argv: Sequence[str]) -> AsyncIterator[None]:
    """Raises FileNotFoundError when the program does not exist. That it fails is not an error."""
    null = asyncio.subprocess.DEVNULL
    async with start_process(
        argv, env=None, cwd=None, identity=None, stdin=True, stdout=null, stderr=null
    ) as process:
        yield
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def is_on_mains(supplies: Path) -> bool:
    """Whether the machine has mains power; a machine without a battery always has."""
    found = {each.name: _read(each / "type") for each in supplies.iterdir()} if supplies.is_dir() else {}
    if "Battery" not in found.values():
        return True
    return any(_read(supplies / name / "online") == "1" for name, kind in found.items() if kind != "Battery")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""
