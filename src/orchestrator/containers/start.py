"""Start a container of a specification, and remove one: neither leaves a container that nobody knows of."""

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.errors import CannotStart, CodingAgentError

T = TypeVar("T")

ALIVE_SECONDS = 30.0
_LOG_TAIL = 2_000


async def start_container(engine: ContainerEngine, spec: ContainerSpec) -> str:
    """Make the container and start it; gives its id. When this fails or is cancelled, no container is left.

    Raises CannotStart when the image is missing, CodingAgentError with the engine's own words otherwise.
    """
    container = None

    async def create() -> None:
        nonlocal container
        container = await _create(engine, spec)

    try:
        # Cancelled half-way, the engine might have made a container whose id we never learn.
        await _to_the_end(create())
        assert container is not None
        await engine.start(container)
        await _prove_alive(engine, container, spec)
    except BaseException:
        # A container of our name that we did not make is not ours to remove.
        if container is not None:
            await remove_container(engine, container)
        raise
    return container


async def remove_container(engine: ContainerEngine, container: str) -> bool:
    """Remove it with every process in it, even when we are cancelled meanwhile; an absent one is fine.

    Never hides the error that led here: while one is on its way, a failure to remove is a note on it. Gives
    whether the container is gone.
    """
    leading = sys.exc_info()[1]
    try:
        await _to_the_end(engine.remove(container))
    except CodingAgentError as error:
        if leading is None:
            raise
        leading.add_note(f"The container {container} was not removed: {error}")
        return False
    return True


async def _create(engine: ContainerEngine, spec: ContainerSpec) -> str:
    try:
        return await engine.create(spec)
    except CodingAgentError as error:
        if await engine.image_digest(spec.image) is not None:
            raise
        raise CannotStart(error.what, hint="Build the image: `orchestrator image build`.") from error


async def _prove_alive(engine: ContainerEngine, container: str, spec: ContainerSpec) -> None:
    """A command of the caller's may be short; the image's own has to keep the container alive for others."""
    if spec.command is None:
        try:
            await engine.exec(container, ("true",), timeout=ALIVE_SECONDS)
        except CodingAgentError:
            if not await _has_ended(engine, container):
                raise
    state = await engine.inspect(container)
    if state is None:
        raise CodingAgentError("the container was removed while it started", where=spec.name)
    if state.error:
        raise CodingAgentError(f"the container did not start: {state.error}", where=spec.name)
    if spec.command is None and state.exit_code is not None:
        printed = await _tail(engine, container)
        what = f"the container ended at once with exit code {state.exit_code}"
        raise CodingAgentError(f"{what}: {printed or 'it printed nothing'}", where=spec.name)


async def _has_ended(engine: ContainerEngine, container: str) -> bool:
    state = await engine.inspect(container)
    return state is None or state.exit_code is not None


async def _tail(engine: ContainerEngine, container: str) -> str:
    printed = b""
    async with aclosing(engine.logs(container, follow=False)) as chunks:
        async for chunk in chunks:
            printed = (printed + chunk.data)[-_LOG_TAIL:]
    return printed.decode("utf-8", "replace").strip()


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Finish the work even when the caller is cancelled meanwhile; the cancellation goes on afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
