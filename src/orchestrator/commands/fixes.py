"""`doctor --fix`: carry out the fixes that change nothing of the user's."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from orchestrator.commands.doctor import Diagnosis, DoctorRequest, doctor
from orchestrator.commands.image import build
from orchestrator.errors import OrchestratorError
from orchestrator.preflight import leftovers
from orchestrator.project.host import Host
from orchestrator.project.records import read_records
from orchestrator.state_folder import close_to_others, state_folder

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    question: str
    """Names the change, for the user to agree to."""
    carry_out: Callable[[], Awaitable[str]]
    """Returns what was done. Raises OrchestratorError when it cannot be done."""


async def carry_out_fixes(
    host: Host, request: DoctorRequest, *, agrees: Callable[[str], bool], say: Say
) -> Diagnosis:
    """Carry out each fix that `agrees` accepts, report it, and diagnose again: what is left is in there.

    The modes of the state folder come first, because the others read that folder.
    """
    found = await doctor(host, request)
    for find in (_find_open_state_folder, _find_missing_image, _find_ended_containers):
        fix = await find(host, found, say)
        if fix is None or not agrees(fix.question):
            continue
        try:
            say(f"fixed: {await fix.carry_out()}")
        except OrchestratorError as error:
            say(f"not fixed: {error.what}")
        found = await doctor(host, request)
    return found


async def _find_open_state_folder(host: Host, found: Diagnosis, _say: Say) -> Fix | None:
    if not _has_failed(found, "state"):
        return None
    path = state_folder(host.environ)

    async def close() -> str:
        close_to_others(path)
        return f"only you can access {path}"

    return Fix(question=f"Make the state folder {path} accessible to you alone", carry_out=close)


async def _find_missing_image(host: Host, found: Diagnosis, say: Say) -> Fix | None:
    name = found.loaded.settings.image.name
    if not _has_failed(found, "image") or _has_failed(found, "engine"):
        return None
    async with host.connect_engine() as engine:
        if await engine.image(name) is not None:
            return None

    async def build_missing() -> str:
        built = await build(host, base=None, on_line=say)
        return f"built the image {built.name}"

    return Fix(question=f"Build the image {name}, which takes minutes", carry_out=build_missing)


async def _find_ended_containers(host: Host, found: Diagnosis, _say: Say) -> Fix | None:
    """Containers of our state folder that no run needs, as `clean` removes them."""
    state = state_folder(host.environ)
    needed = ("state", "engine", "containers")
    if not state.exists() or any(name not in found.checks for name in needed):
        return None
    if _has_failed(found, "state") or _has_failed(found, "engine"):
        return None
    with read_records(host) as records:
        async with host.connect_engine() as engine:
            ended = (await leftovers.list_containers(engine, records.state.id, records.catalog)).ended
    if not ended:
        return None
    names = ", ".join(container.name for container in ended)

    async def remove() -> str:
        async with host.connect_engine() as engine:
            for container in ended:
                await engine.remove(container.id)
        return f"removed {names}"

    return Fix(question=f"Remove containers that no run needs ({names})", carry_out=remove)


def _has_failed(found: Diagnosis, name: str) -> bool:
    return name in found.checks and found.checks[name].status == "failed"
