"""The orchestrator's side of the gateway: starts it, opens attempts at it, and restarts it when it dies."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.clock import Clock
from orchestrator.containers.machine import EXCEPTION_VARIABLES, HTTP_PROXY_VARIABLES
from orchestrator.errors import EnvironmentInvalid, OrchestratorError
from orchestrator.gateway import wire
from orchestrator.gateway.access import AttemptAccess, AttemptKey
from orchestrator.gateway.sockets import control_socket, gateway_folder, prepare_folder
from orchestrator.subprocesses import start_detached

log = logging.getLogger(__name__)

LOG_NAME = "gateway.log"
START_SECONDS = 10.0
START_TRIES = 3  # a gateway that is started while another one exits may defer to it, and exit too
POLL_SECONDS = 0.02
RESTART_SECONDS = 1.0

# The gateway gets no other variable of the caller. So the only keys in it are those that were handed over for
# an attempt, and a key that merely happens to be exported cannot leak through it.
PASSED_VARIABLES = frozenset(
    (
        "PATH", "HOME", "LANG", "LC_ALL", "TZ", "XDG_RUNTIME_DIR",
        "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS",
        *HTTP_PROXY_VARIABLES, *EXCEPTION_VARIABLES,
    )
)  # fmt: skip


class GatewayClient:
    """Holds a control connection to the gateway, which keeps it alive.

    When the gateway dies, the client starts it again and opens every open attempt at the new one. The caller
    does not notice; an agent sees failed requests until then, and retries.
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
        """A client of the state folder's gateway, which is started unless it is running.

        `state_id` is the value of the `ktrdr.state` label. Raises EnvironmentInvalid when the folder of the
        sockets is not private to us, or the gateway does not start.
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
        """Make sure that a gateway is running and knows every open attempt."""
        async with self._ensuring:
            if self._connection is not None and not self._connection.lost.is_set():
                return
            await self._disconnect()
            self._connection = await self._connect()
            # A new gateway knows no attempt, and would refuse the tokens of agents that are at work.
            for access in self._attempts.values():
                await self._connection.ask(wire.open_request(access))

    async def open_attempt(self, access: AttemptAccess) -> Path:
        """Create the attempt's socket and return its folder, to be mounted into the container.

        For an attempt that is open already, token and model are replaced and the folder stays the same.
        Raises ConfigurationError for a bad script or upstream.
        """
        reply = await self._ask(wire.open_request(access))
        assert isinstance(reply, wire.Done) and reply.folder is not None
        # Only after the gateway has accepted it: a script or address that it refuses would make every later
        # restart of the gateway fail.
        self._attempts[access.key] = access
        return Path(reply.folder)

    async def close_attempt(self, run: str, task: str, attempt: int) -> None:
        """Make the attempt's token invalid. It is not an error when the attempt is not open.

        A gateway that has died is not restarted for this: its successor would not know the attempt.
        """
        async with self._ensuring:
            self._attempts.pop(AttemptKey(run, task, attempt), None)
            try:
                if self._connection is not None:
                    await self._connection.ask(wire.CloseAttempt(run=run, task=task, attempt=attempt))
            except ConnectionError:
                pass

    async def _ask(self, request: wire.OpenAttempt) -> wire.Reply:
        """Ask once more when the gateway dies during the request; opening an attempt may be repeated."""
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
        """Connect to the running gateway, or start one. Several starters end up with the same gateway."""
        prepare_folder(gateway_folder(self._state))
        control = control_socket(self._state)
        found = await _greet(control)
        for _ in range(START_TRIES):
            if found is not None:
                return found
            await self._start()
            found = await self._wait_until_it_answers(control)
        if found is not None:
            return found
        raise EnvironmentInvalid(
            f"the gateway did not start within {START_TRIES * START_SECONDS:g} s",
            where=str(self._state / LOG_NAME),
            hint="See the end of that file for the reason.",
        )

    async def _start(self) -> None:
        above_package = Path(__file__).parents[2]
        environment = {name: value for name, value in self._environ.items() if name in PASSED_VARIABLES}
        # aiohttp sends the login of a netrc file to the hosts in it: it would compete with the credential.
        environment |= {"PYTHONPATH": str(above_package), "NETRC": os.devnull}
        # -P: no module is imported from the folder in which it is started.
        argv = [sys.executable, "-P", "-m", "orchestrator.gateway"]
        argv += ["--state", str(self._state), "--state-id", self._state_id]
        await start_detached(argv, env=environment, cwd=self._state, output=self._state / LOG_NAME)

    async def _wait_until_it_answers(self, control: Path) -> "_Connection | None":
        for _ in range(int(START_SECONDS / POLL_SECONDS)):
            await self._clock.sleep(POLL_SECONDS)
            found = await _greet(control)
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
            self._replies.put_nowait(b"")  # wakes up a caller that waits for a reply

    async def ask(self, request: wire.Request) -> wire.Reply:
        """Send a request and return the reply.

        Raises ConnectionError when the gateway has died. A refusal is raised as the error that it carries.
        """
        async with self._asking:
            if self.lost.is_set():
                raise ConnectionResetError("the gateway has died")
            self._writer.write(msgspec.json.encode(request) + b"\n")
            await self._writer.drain()
            try:
                line = await self._replies.get()
            except asyncio.CancelledError:
                # The reply is still to come, and would be taken for the reply to the next request.
                self._writer.close()
                self.lost.set()
                raise
        if not line:
            raise ConnectionResetError("the gateway has died")
        reply: wire.Reply = msgspec.json.decode(line, type=wire.Reply)
        if isinstance(reply, wire.Refused):
            raise wire.to_error(reply)
        return reply

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.close()
        await asyncio.gather(self._reading, self._writer.wait_closed(), return_exceptions=True)


async def _greet(control: Path) -> _Connection | None:
    """A connection to a gateway that answers; None when none is running, or it is just exiting.

    Raises EnvironmentInvalid when the gateway speaks another version of the protocol.
    """
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
        hint="It exits when its last agent has ended. Wait for that, then try again.",
    )
