"""Whether the machine shuts down, so that a signal comes from it and not from the user."""

from orchestrator.subprocesses import ProcessTimeout, run

ASK = ("systemctl", "is-system-running")
ASK_SECONDS = 2.0
STOPPING = b"stopping"


async def is_shutting_down() -> bool:
    """Asks systemd; where it does not answer in time, or does not exist, the machine counts as up."""
    try:
        asked = await run(ASK, timeout=ASK_SECONDS)
    except (OSError, ProcessTimeout):
        return False
    return asked.stdout.strip() == STOPPING
