"""Chooses the model of an agent, by the settings and the caller's environment."""

from collections.abc import Mapping
from pathlib import Path

from orchestrator.agents.base import AgentDriver
from orchestrator.config import Settings
from orchestrator.errors import EnvironmentInvalid
from orchestrator.gateway.access import (
    PROVIDER_URL,
    VARIABLES,
    ModelSource,
    Provider,
    Scripted,
)
from orchestrator.gateway.credentials import find_credential
from orchestrator.gateway.script import load_script


async def choose_model(
    folder: Path, settings: Settings, environ: Mapping[str, str], driver: AgentDriver
) -> ModelSource:
    """The scripted model of the settings, else the provider with the caller's credential.

    Raises EnvironmentInvalid without a credential or with several, and ConfigurationError when the script or
    the address cannot be used.
    """
    if settings.gateway.scripted is not None:
        script = folder / settings.gateway.scripted
        load_script(script)
        return Scripted(path=script)
    credential = await find_credential(settings.credentials, environ, driver.credentials)
    if credential is None:
        names = " or ".join(VARIABLES[kind] for kind in driver.credentials)
        raise EnvironmentInvalid(
            f"no credential for the agent {driver.name}",
            hint=f"Set {names} in your environment, or use a scripted model: -c gateway.scripted=FILE"
            if names
            else "Use a scripted model: -c gateway.scripted=FILE",
        )
    upstream = settings.gateway.upstream or environ.get("ANTHROPIC_BASE_URL") or PROVIDER_URL
    return Provider(upstream=upstream, credential=credential)
