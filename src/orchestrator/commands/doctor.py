"""`doctor`: whether a run with these options can start here. Nothing that lasts is made."""

import os
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from orchestrator.commands.request import StartOptions, merge_options
from orchestrator.commands.run_settings import list_overrides
from orchestrator.config import LoadedSettings, load_settings
from orchestrator.containers.base import ContainerSpec
from orchestrator.containers.machine import read_machine
from orchestrator.engine.container_specs import ContainerSpecs
from orchestrator.errors import OrchestratorError
from orchestrator.preflight.checks import examine
from orchestrator.preflight.containers import find_project_image
from orchestrator.preflight.site import Finding, Site, open_model, open_once
from orchestrator.project.catalog import RunCatalog, open_catalog
from orchestrator.project.host import Host
from orchestrator.run.facts import RunOptions
from orchestrator.state_folder import state_folder
from orchestrator.workspace.workspace import Findings, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorRequest:
    only: str | None = None
    """The name of the one check to make."""
    options: StartOptions
    """Those of `run`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    loaded: LoadedSettings
    checks: Mapping[str, Finding]
    """By name, in the order of the list."""

    @property
    def is_healthy(self) -> bool:
        return all(check.status != "failed" for check in self.checks.values())


async def doctor(host: Host, request: DoctorRequest) -> Diagnosis:
    """Raises ConfigurationError when the settings cannot be read, and UsageError for wrong options."""
    overrides = list_overrides(merge_options(RunOptions(agent=""), request.options))
    loaded = load_settings(host.folder, environ=host.environ, overrides=overrides, leave_out_unapproved=True)
    async with AsyncExitStack() as stack:
        site = _open_site(host, loaded, stack, allow_dirty=request.options.allow_dirty)
        return Diagnosis(loaded=loaded, checks=await examine(site, request.only))


def _open_site(host: Host, loaded: LoadedSettings, stack: AsyncExitStack, *, allow_dirty: bool) -> Site:
    """Opens everything that the checks need, for reading only. Git compares with a repository of our own."""

    async def inspect() -> Findings:
        return await Workspace.inspect(
            host.current_folder(),
            repositories=state_folder(host.environ) / "repositories",
            environ=host.environ,
        )

    async def open_workspace() -> Workspace:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="ktrdr-doctor-"))
        return await Workspace.open(
            host.code_folder(), repositories=Path(scratch), environ=host.environ, clock=host.clock
        )

    async def enter_catalog() -> RunCatalog:
        return stack.enter_context(open_catalog(host))

    engine = open_once(lambda: stack.enter_async_context(host.connect_engine()))
    inspected = open_once(inspect)

    async def specify_probe() -> ContainerSpec | None:
        """None where there is no folder, engine or image yet: other checks report that."""
        image = loaded.settings.image
        try:
            owner, folder = (await inspected()).owner, host.current_folder()
            base = await (await engine()).image(image.name)
            built = base and await find_project_image(await engine(), base, folder, image)
        except OrchestratorError:
            return None
        if built is None:
            return None
        specs = ContainerSpecs(
            folder=folder,
            owner=owner,
            state_id="doctor",
            run=None,
            settings=loaded.settings,
            machine=read_machine(host.environ),
        )
        # Named after the folder: the next `doctor` here removes what a killed one left.
        name = f"ktrdr-doctor-{sha256(os.fsencode(folder)).hexdigest()[:16]}"
        return specs.probe(name=name, image=built.id)

    return Site(
        host=host,
        loaded=loaded,
        inspected=inspected,
        workspace=open_once(open_workspace),
        catalog=open_once(enter_catalog),
        engine=engine,
        model=open_model(host, loaded.settings, host.folder or Path("/")),
        probe=open_once(specify_probe),
        allow_dirty=allow_dirty,
    )
