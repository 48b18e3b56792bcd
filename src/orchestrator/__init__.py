"""Carries out a Markdown plan, unattended, with a coding agent in a disposable container.

The public names are imported on first use, so that each command loads only the modules that it needs.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.cli.api import run_milestone, validate_environment
    from orchestrator.containers.coding_agent_container import CodingAgentContainer
    from orchestrator.errors import CodingAgentError, CodingAgentTimeout

__version__ = "0.1.0"

__all__ = [
    "CodingAgentContainer",
    "CodingAgentError",
    "CodingAgentTimeout",
    "run_milestone",
    "validate_environment",
]

_MODULES = {
    "CodingAgentContainer": "orchestrator.containers.coding_agent_container",
    "CodingAgentError": "orchestrator.errors",
    "CodingAgentTimeout": "orchestrator.errors",
    "run_milestone": "orchestrator.cli.api",
    "validate_environment": "orchestrator.cli.api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
