"""The orchestrator's side of the gateway: starts it, hands attempts over, and brings a dead one back."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

import orchestrator
from orchestrator.clock import Clock
from orchestrator.errors import EnvironmentInvalid, OrchestratorError
from orchestrator.gateway import wire
from orchestrator.gateway.access import AttemptAccess, AttemptKey
from orchestrator.gateway.sockets import control_socket, gateway_folder, prepare_folder
from orchestrator.subprocesses import start_detached

log = logging.getLogger(__name__)

LOG_NAME = "gateway.log"
START_SECONDS = 10.0
STARTS = 3  # one that found another just ending may have left to it
POLL_SECONDS = 0.02
RESTART_SECONDS = 1.0

# Nothing else of the caller's environment reaches the gateway: it holds no key that was not handed to it.
ENVIRONMENT = frozenset(
    {
        "PATH", "HOME", "LANG", "LC_ALL", "TZ", "XDG_RUNTIME_DIR",
        "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS",
    }
)  # fmt: skip


class GatewayClient:
    """A held control connection: while it is open, the gateway lives.

    A gateway that dies is started again and gets every open attempt handed over again, by itself.
    """

    def __init__(self, state: Path, state_id: str, environ: Mapping[str, str], clock: Clock) -> None:
        self._state = state
        self._state_id = state_id
        self._environ = environ
        self._clock = clock
        self._connection: _Connection | None = None
        self._attempts: dict[AttemptKey, AttemptAccess] = {}
        self._ensuring = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, state: Path, state_id: str, environ: Mapping[str, str], clock: Clock
    ) -> AsyncIterator["GatewayClient"]:
        """A client of the state folder's gateway, which is started when none lives.

        `state_id` is the value of the `ktrdr.state` label. Raises EnvironmentInvalid when the sockets'
        folder is not ours alone or the gateway does not start.
        """
        client = cls(state, state_id, environ, clock)
        await client.ensure()
        watch = asyncio.create_task(client._watch())
        try:
            yield client
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await client._disconnect()

    async def ensure(self) -> None:
        """Make sure that a gateway lives and knows every open attempt."""
        async with self._ensuring:
            if self._connection is not None and not self._connection.lost.is_set():
                return
            await self._disconnect()
            self._connection = await self._connect()
            for access in self._attempts.values():
                await self._connection.ask(wire.opening(access))

    async def open_attempt(self, access: AttemptAccess) -> Path:
        """Make the attempt's socket and give its folder, to be mounted into the container.

        Again for an open attempt: token and model are replaced, the folder stays the same.
        Raises ConfigurationError for a bad script or upstream.
        """
        reply = await self._ask(wire.opening(access))
        assert isinstance(reply, wire.Done) and reply.folder is not None
        self._attempts[access.key] = access
        return Path(reply.folder)

    async def close_attempt(self, run: str, task: str, attempt: int) -> None:
        """The token is worth nothing from here on; an attempt that is not open is not an error.

        A gateway that is gone is not started for this: it knows no attempt any more.
        """
        async with self._ensuring:
            self._attempts.pop(AttemptKey(run, task, attempt), None)
            try:
                if self._connection is not None:
                    await self._connection.ask(wire.CloseAttempt(run=run, task=task, attempt=attempt))
            except ConnectionError:
                pass

    async def _ask(self, request: wire.OpenAttempt) -> wire.Reply:
        """Twice at most: a gateway may die under a request, and opening may be repeated."""
        await self.ensure()
        assert self._connection is not None
        try:
            return await self._connection.ask(request)
        except ConnectionError:
            await self.ensure()
            return await self._connection.ask(request)

    async def _watch(self) -> None:
        while True:
            assert self._connection is not None
            await self._connection.lost.wait()
            log.warning("gateway.lost state=%s", self._state)
            try:
                await self.ensure()
            except (OrchestratorError, OSError) as error:
                log.warning("gateway.restart failed: %s", error)
                await self._clock.sleep(RESTART_SECONDS)

    async def _connect(self) -> "_Connection":
        """Connect to the living gateway, or start one. Several starters end up with the same one."""
        prepare_folder(gateway_folder(self._state))
        control = control_socket(self._state)
        found = await _greeted(control)
        for _ in range(STARTS):
            if found is not None:
                return found
            await self._start()
            found = await self._awaited(control)
        if found is not None:
            return found
        raise EnvironmentInvalid(
            f"the gateway did not start within {STARTS * START_SECONDS:g} s",
            where=str(self._state / LOG_NAME),
            hint="The end of that file says why.",
        )

    async def _start(self) -> None:
        package = Path(orchestrator.__file__).parent.parent
        environment = {name: value for name, value in self._environ.items() if name in ENVIRONMENT}
        # aiohttp would answer a host in a netrc file with what stands there, beside the credential.
        environment |= {"PYTHONPATH": str(package), "NETRC": os.devnull}
        # -P: no module is taken from the folder it is started in.
        argv = [sys.executable, "-P", "-m", "orchestrator.gateway"]
        argv += ["--state", str(self._state), "--state-id", self._state_id]
        await start_detached(argv, env=environment, cwd=self._state, output=self._state / LOG_NAME)

    async def _awaited(self, control: Path) -> "_Connection | None":
        for _ in range(int(START_SECONDS / POLL_SECONDS)):
            await self._clock.sleep(POLL_SECONDS)
            found = await _greeted(control)
            if found is not None:
                return found
        return None

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class _Connection:
    """One control connection. `lost` is set when the gateway has closed it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._replies: asyncio.Queue[bytes] = asyncio.Queue()
        self._asking = asyncio.Lock()
        self.lost = asyncio.Event()
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._replies.put_nowait(line)
        except (ConnectionError, ValueError):
            pass
        finally:
            self.lost.set()
            self._replies.put_nowait(b"")  # wakes up whoever waits for a reply

    async def ask(self, request: wire.Request) -> wire.Reply:
        """Raises ConnectionError when the gateway is gone, and its own refusals as errors of ours."""
        async with self._asking:
            if self.lost.is_set():
                raise ConnectionResetError("the gateway is gone")
            self._writer.write(msgspec.json.encode(request) + b"\n")
            await self._writer.drain()
            try:
                line = await self._replies.get()
            except asyncio.CancelledError:
                self._writer.close()  # the reply that is still to come would answer the next request
                self.lost.set()
                raise
        if not line:
            raise ConnectionResetError("the gateway is gone")
        reply: wire.Reply = msgspec.json.decode(line, type=wire.Reply)
        if isinstance(reply, wire.Refused):
            raise wire.as_error(reply)
        return reply

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.close()
        await asyncio.gather(self._reading, self._writer.wait_closed(), return_exceptions=True)


async def _greeted(control: Path) -> _Connection | None:
    """A connection to a gateway that answers; None when there is none, or one that is just ending."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(control), limit=wire.LINE_BYTES)
    except OSError:
        return None
    connection = _Connection(reader, writer)
    try:
        reply = await connection.ask(wire.Hello(protocol=wire.PROTOCOL))
    except ConnectionError:
        await connection.close()
        return None
    if isinstance(reply, wire.Welcome) and reply.protocol == wire.PROTOCOL:
        return connection
    await connection.close()
    raise EnvironmentInvalid(
        "a gateway of another version serves this state folder",
        where=str(control),
        hint="It ends by itself when its last agent has ended; then start again.",
    )
