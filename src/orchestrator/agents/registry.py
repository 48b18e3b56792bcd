"""The drivers by the names that users type; each is imported when it is needed."""

import difflib
from importlib import import_module
from typing import Final

from orchestrator.agents.base import AgentDriver
from orchestrator.errors import UsageError

_DRIVERS: Final = {
    "claude-code": "orchestrator.agents.claude_code:ClaudeCode",
    "command": "orchestrator.agents.command:Command",
    "nop": "orchestrator.agents.nop:Nop",
}
KNOWN: Final = tuple(_DRIVERS)
LOGIN_FOLDERS: Final = ("/home/agent/.claude",)
"""Where the agents' programs look for a login in their container: what is mounted there is the user's."""


def agent_driver(name: str) -> AgentDriver:
    """The driver called `name`. Raises UsageError with the known names and the nearest one."""
    place = _DRIVERS.get(name)
    if place is None:
        nearest = difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=0.5)
        guess = f"Did you mean {nearest[0]}? " if nearest else ""
        hint = f"{guess}Known agents: {', '.join(KNOWN)}."
        raise UsageError(f"unknown agent {name!r}", hint=hint)
    module, _, attribute = place.partition(":")
    driver: AgentDriver = getattr(import_module(module), attribute)()
    return driver
