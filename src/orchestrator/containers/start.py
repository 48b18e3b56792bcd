"""Start a container from a specification, and remove one, without ever losing track of a container."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from orchestrator.containers.base import ContainerEngine, ContainerSpec
from orchestrator.errors import CannotStart, CodingAgentError
from orchestrator.text import plain_end

T = TypeVar("T")

ALIVE_SECONDS = 30.0
_LOG_TAIL = 2_000


async def _do_nothing(_container: str) -> None:
    pass


async def start_container(
    engine: ContainerEngine,
    spec: ContainerSpec,
    *,
    created: Callable[[str], Awaitable[object]] = _do_nothing,
) -> str:
    """Create and start a container; returns its id. Leaves none behind when it fails or is cancelled.

    `created` gets the id of the container before that is started. Raises CannotStart when the image is
    missing, CodingAgentError with the engine's own words otherwise.
    """
    container = None

    async def create() -> None:
        nonlocal container
        container = await _create(engine, spec)

    try:
        # If this were cancelled half-way, the engine could have made a container whose id we never learn.
        await _finish_uncancelled(create())
        assert container is not None
        await created(container)
        await engine.start(container)
        await _check_alive(engine, container, spec)
    except BaseException:
        # Without an id the container of this name, if any, was made by another process: leave it alone.
        if container is not None:
            await remove_container(engine, container)
        raise
    return container


async def create_container(engine: ContainerEngine, spec: ContainerSpec) -> str:
    """Create a container and return its id.

    If this is cancelled half-way, the engine may already be making a container whose id is not known yet. So
    the answer is waited for, and the container is removed before the cancellation is raised.
    """
    creation = asyncio.ensure_future(engine.create(spec))
    try:
        return await asyncio.shield(creation)
    except asyncio.CancelledError:
        await _wait_until_done(creation)
        if not creation.cancelled() and creation.exception() is None:
            await remove_container(engine, creation.result())
        raise


async def remove_container(engine: ContainerEngine, container: str) -> bool:
    """Remove a container with all its processes, even if cancelled meanwhile; an absent one is not an error.

    Returns whether the container is gone. Does not hide an error that is being handled: a failure to remove
    then becomes a note on that error.
    """
    leading = sys.exc_info()[1]
    try:
        await _finish_uncancelled(engine.remove(container))
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
        # Asked only after a failure: the engine's own message does not say reliably that an image is missing.
        if await engine.image_digest(spec.image) is not None:
            raise
        raise CannotStart(error.what, hint="Build the image: `orchestrator image build`.") from error


async def _check_alive(engine: ContainerEngine, container: str, spec: ContainerSpec) -> None:
    """Check that the container runs. A caller's command may be short; the image's own must keep it alive."""
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
    return plain_end(printed.decode("utf-8", "replace"), _LOG_TAIL - 200).strip()


async def _finish_uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Finish the work even if the caller is cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _wait_until_done(task)
        raise


async def _wait_until_done(task: asyncio.Future[Any]) -> None:
    """Wait for the end of a task, also if the caller is cancelled again."""
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
