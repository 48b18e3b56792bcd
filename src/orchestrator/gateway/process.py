"""The gateway's process: one per state folder, which runs while an orchestrator or an agent needs it.

It outlives the orchestrator that started it, so that an agent whose orchestrator was killed keeps its model.
It exits when no orchestrator holds a control connection and no attempt that was opened at it has a
running container.
"""

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import assert_never

import aiohttp
import msgspec

from orchestrator.clock import Clock
from orchestrator.errors import OrchestratorError
from orchestrator.files import open_own
from orchestrator.gateway import wire
from orchestrator.gateway.access import AttemptKey, Provider, Scripted
from orchestrator.gateway.accounts import AccountFiles
from orchestrator.gateway.endpoint import Endpoint, Serving
from orchestrator.gateway.gateway_journal import GatewayJournal
from orchestrator.gateway.passing import upstream_session
from orchestrator.gateway.script import Script, load_script
from orchestrator.gateway.sockets import (
    SOCKET_NAME,
    attempt_folder,
    control_socket,
    gateway_folder,
    prepare_folder,
)
from orchestrator.state_folder import GATEWAY_LOCK
from orchestrator.subprocesses import Identity

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
GRACE_SECONDS = 3.0
"""How long it waits for the first control connection, and for another one after the last has closed."""
BLIND_SECONDS = 600.0
"""How long it keeps serving its attempts while the engine does not answer."""
TAKE_OVER_SECONDS = 10.0

RunningAttempts = Callable[[], Awaitable[frozenset[AttemptKey] | None]]
"""Returns the attempts that have a running container; None when the engine does not answer."""


async def serve(state: Path, running: RunningAttempts, certificates: str | None, clock: Clock) -> None:
    """Serve until the gateway is not needed, or SIGTERM. Return when another one serves this state folder."""
    folder = gateway_folder(state)
    prepare_folder(folder)
    with _open_lock(state) as lock:
        if not await _take_lock(lock, control_socket(state), clock):
            log.info("gateway.second state=%s served by another gateway", state)
            return
        prepare_folder(folder)  # again: the gateway before this one may have removed it when it exited
        async with (
            upstream_session(certificates) as session,
            GatewayJournal(state, clock) as journal,
            _Gateway(folder, running, session, clock, journal, AccountFiles(state)).listen() as gateway,
        ):
            log.info("gateway.ready pid=%d state=%s", os.getpid(), state)
            await gateway.wait_until_unneeded()
        log.info("gateway.end pid=%d", os.getpid())


@contextmanager
def _open_lock(state: Path) -> Iterator[int]:
    descriptor = open_own(state / GATEWAY_LOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def _take_lock(lock: int, control: Path, clock: Clock) -> bool:
    """Whether this process now holds the lock.

    A holder that accepts connections keeps it. A holder that does not is about to exit, and is waited for.
    """
    deadline = clock.monotonic() + TAKE_OVER_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            # A gateway closes its socket before it exits. So one that holds the lock and accepts no
            # connection is on its way out: waiting for it avoids a run without a gateway.
            if _accepts_connections(control) or clock.monotonic() > deadline:
                return False
        await clock.sleep(0.05)


def _accepts_connections(control: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(control))
        except OSError:
            return False
    return True


class _Gateway:
    def __init__(
        self,
        folder: Path,
        running: RunningAttempts,
        session: aiohttp.ClientSession,
        clock: Clock,
        journal: GatewayJournal,
        accounts: AccountFiles,
    ) -> None:
        self._journal = journal
        self._accounts = accounts
        self._clock = clock
        self._folder = folder
        self._running = running
        self._session = session
        self._endpoints: dict[AttemptKey, Endpoint] = {}
        self._connections: set[asyncio.StreamWriter] = set()
        self._control: asyncio.Server | None = None
        self._stopped = asyncio.Event()
        self._needed_at = self._clock.monotonic()
        self._seen_at = self._clock.monotonic()

    @asynccontextmanager
    async def listen(self) -> AsyncIterator["_Gateway"]:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopped.set)
        path = self._folder / "control.sock"
        # A gateway that was killed leaves its socket. It cannot be a living one's: we hold the lock.
        path.unlink(missing_ok=True)
        self._control = await asyncio.start_unix_server(self._converse, path, limit=wire.LINE_BYTES)
        # The folder has mode 0700, so no other user can connect before this line either.
        path.chmod(0o600)
        try:
            yield self
        finally:
            self._close_control()
            await asyncio.gather(*(endpoint.close() for endpoint in self._endpoints.values()))

    def _close_control(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        # The name goes before the lock does. The next gateway unlinks it as well, but only once it holds the
        # lock.
        (self._folder / "control.sock").unlink(missing_ok=True)
        for writer in tuple(self._connections):
            writer.close()

    async def wait_until_unneeded(self) -> None:
        """Return after SIGTERM, or when no orchestrator and no agent needs the gateway.

        After SIGTERM the attempts' folders stay, because containers have them mounted: the next gateway of
        this state folder creates its sockets in them.
        """
        while not self._stopped.is_set():
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._stopped.wait()
            except TimeoutError:
                if not await self._is_needed():
                    # Before anything else is awaited: an orchestrator must not connect to it any more.
                    self._close_control()
                    await self._remove_folders()
                    return

    async def _remove_folders(self) -> None:
        """Remove the folders of attempts, except those that a container may have mounted.

        An agent can outlive the gateway that it began with, and its attempt may not have been opened at this
        one. Its container has the folder itself mounted, not the path: if the folder were removed and made
        again at the same path, the container would keep the removed one, and the agent would lose its model
        for good.
        """
        running = await self._running()
        if running is not None:  # else the engine does not answer, and any of them may be in use
            kept = {attempt_folder(self._folder, key).name for key in running}
            for folder in self._folder.iterdir():
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            self._folder.rmdir()

    async def _is_needed(self) -> bool:
        if self._connections:
            self._needed_at = self._seen_at = self._clock.monotonic()
            return True
        if self._clock.monotonic() - self._needed_at < GRACE_SECONDS:
            return True
        # The engine was asked in between, which takes time: an orchestrator may have connected meanwhile.
        return await self._has_running_container() or bool(self._connections)

    async def _has_running_container(self) -> bool:
        if not self._endpoints:
            return False
        running = await self._running()
        if running is not None:
            self._seen_at = self._clock.monotonic()
            return not running.isdisjoint(self._endpoints)
        # The engine does not answer. Its containers may still run, and without the gateway their agents would
        # fail after some retries; so the gateway stays for a while.
        return self._clock.monotonic() - self._seen_at < BLIND_SECONDS

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one control connection. The gateway does not exit while it is open."""
        self._connections.add(writer)
        try:
            while line := await reader.readline():
                reply = await self._reply(line)
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the client has disconnected, or sent a line that is too long
        finally:
            self._connections.discard(writer)
            self._needed_at = self._clock.monotonic()
            writer.close()

    async def _reply(self, line: bytes) -> wire.Reply:
        try:
            return await self._carry_out(msgspec.json.decode(line, type=wire.Request))
        except OrchestratorError as error:
            return wire.refusal(error)
        except (OSError, ValueError) as error:  # includes msgspec's errors; none of them quotes a value
            what = f"the gateway cannot carry out the request: {error}"
            return wire.Refused(error="EnvironmentInvalid", what=what, where=None, hint=None)

    async def _carry_out(self, request: wire.Request) -> wire.Reply:
        match request:
            case wire.Hello():
                return wire.Welcome(protocol=wire.PROTOCOL, pid=os.getpid())
            case wire.OpenAttempt():
                return wire.Done(folder=str(await self._open(request)))
            case wire.CloseAttempt():
                endpoint = self._endpoints.pop(request.key, None)
                if endpoint is not None:
                    await endpoint.close()
                shutil.rmtree(attempt_folder(self._folder, request.key), ignore_errors=True)
                log.info("gateway.close run=%s task=%r attempt=%d", *request.key)
                return wire.Done()
        assert_never(request)

    async def _open(self, request: wire.OpenAttempt) -> Path:
        token_hash = bytes.fromhex(request.token_hash)
        serving = Serving(
            key=request.key,
            token_hash=token_hash,
            model=_load_model(request.model),
            outage_seconds=request.outage_seconds,
            chosen=request.chosen,
        )
        folder = attempt_folder(self._folder, request.key)
        endpoint = self._endpoints.get(request.key)
        # A client that has reconnected opens its attempts again. A container has this socket mounted and
        # would not see another one, so the socket stays, and only token and model are replaced.
        if endpoint is not None and (folder / SOCKET_NAME).exists():
            endpoint.serving = serving
            return folder
        append = partial(self._journal.append, request.key)
        endpoint = endpoint or Endpoint(serving, self._session, self._clock, append, self._accounts)
        endpoint.serving = serving
        await endpoint.listen(folder, Identity(uid=request.uid, gid=request.gid))
        self._endpoints[request.key] = endpoint
        log.info("gateway.open run=%s task=%r attempt=%d", *request.key)
        return folder


def _load_model(model: wire.ScriptedModel | wire.ProviderModel) -> Script | Provider:
    match wire.model_source(model):
        case Scripted(path=path):
            return load_script(path)
        case Provider() as provider:
            return provider
