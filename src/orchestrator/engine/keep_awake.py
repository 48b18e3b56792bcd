"""Keeps the machine awake while a run is at work, where it has mains power and a program for that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from orchestrator.run.facts import Sleep
from orchestrator.subprocesses import start_process

# Each of them holds the machine awake as long as its command runs. The command says that it has begun, and
# ends when our end of its pipe is closed: also after a kill of this process.
HOLD = ("sh", "-c", "echo held; exec cat")
INHIBITORS = (
    (
        *("systemd-inhibit", "--what=idle:sleep", "--who=orchestrator", "--why=a run is at work"),
        *("--mode=block", *HOLD),
    ),
    ("caffeinate", "-s", *HOLD),  # -s: on mains power only
)
START_SECONDS = 2.0
"""A program that has not begun to hold the machine awake by then counts as one that cannot."""
POWER_SUPPLIES = Path("/sys/class/power_supply")


@asynccontextmanager
async def keep_awake() -> AsyncIterator[Sleep]:
    """Inside, the machine does not sleep by itself. Without mains power, or a program, nothing happens."""
    async with AsyncExitStack() as stack:
        yield await _hold_awake(stack)


async def _hold_awake(stack: AsyncExitStack) -> Sleep:
    if not await asyncio.to_thread(is_on_mains, POWER_SUPPLIES):
        return "on_battery"
    for argv in INHIBITORS:
        try:
            if await stack.enter_async_context(_keep_running(argv)):
                return "kept_awake"
        except FileNotFoundError:
            continue
    return "no_program"


@asynccontextmanager
async def _keep_running(argv: Sequence[str]) -> AsyncIterator[bool]:
    """Gives whether the program holds the machine awake; that it cannot, or ends, is not an error.

    Raises FileNotFoundError when the program does not exist.
    """
    null = asyncio.subprocess.DEVNULL
    async with start_process(argv, env=None, cwd=None, identity=None, stdin=True, stderr=null) as process:
        holds = await _has_begun(process)
        yield holds
        assert process.stdin is not None
        process.stdin.close()
        if not holds and process.returncode is None:
            process.kill()
        await process.wait()


async def _has_begun(process: asyncio.subprocess.Process) -> bool:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            return await process.stdout.readline() != b""
    except TimeoutError:
        return False


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
