"""A command in a running container: its input, its output, and its end, by force if need be.

The engine's API can start a command but not end it. So each one carries a mark of its own in its environment,
which everything that it starts inherits; a second command sends SIGKILL to every process that has the
mark or belongs to the session of one that has it.
"""

import asyncio
import uuid

from aiodocker import Docker, DockerError
from aiodocker.stream import Stream
from aiohttp import ClientError

from orchestrator.containers.base import ExecResult
from orchestrator.containers.execution import Execution, Output, describe_command, shorten_id, timeout_error
from orchestrator.errors import CodingAgentError

MARK = "KTRDR_EXEC"
KILL_SECONDS = 15.0
_STDIN_PIECE = 65536
_STDERR = 2

# The end of stdin is normally a half-closed connection, which not every connection to an engine supports (TLS
# does not). So `head` passes on exactly the announced number of bytes. Input that the command leaves unread
# is drained: Docker 20.10 keeps the connection open forever when more is left than the pipes hold.
_FEED = 'size=$1; shift; head -c "$size" | { "$@"; status=$?; cat > /dev/null; exit "$status"; }'

# `${line##*) }` skips a process's name, which may contain anything, even parentheses and spaces. Processes
# can fork while they are searched, so the search repeats until it finds none; processes that are left after
# all passes cannot be killed.
_KILL = r"""
mark=$1 sessions=' ' passes=0
fields() {
    read -r line 2>/dev/null < "/proc/$1/stat" || return 1
    set -- ${line##*) }
    state=$1 session=$4
}
while [ "$passes" -lt 20 ]; do
    passes=$((passes + 1)) alive=
    for file in $(grep -lzxF -e "$mark" /proc/[0-9]*/environ 2>/dev/null); do
        pid=${file#/proc/} pid=${pid%/environ}
        fields "$pid" || continue
        case $session in 0|1) ;; *) sessions="$sessions$session " ;; esac
        kill -KILL "$pid" 2>/dev/null && alive=1
    done
    for folder in /proc/[0-9]*; do
        pid=${folder#/proc/}
        fields "$pid" || continue
        case $state in Z|X) continue ;; esac
        case $sessions in *" $session "*) kill -KILL "$pid" 2>/dev/null && alive=1 ;; esac
    done
    [ -n "$alive" ] || exit 0
    sleep 0.05
done
exit 1
"""


async def run_in_container(docker: Docker, execution: Execution, timeout: float) -> ExecResult:
    """After `timeout` seconds, kills the command's processes and raises CodingAgentTimeout."""
    # The engine cannot end a command, only a container. Its processes inherit this variable, so they are
    # found by it, also after they have left their parent.
    mark = f"{MARK}={uuid.uuid4().hex}"
    output = Output(execution.output_limit, execution.on_output)
    deadline = asyncio.timeout(timeout)
    try:
        async with deadline:
            exit_code = await _run(docker, execution, mark, output)
    except BaseException as error:
        # Shielded: a command of a caller that was cancelled must not continue to write into the folder.
        killed = await asyncio.shield(_kill(docker, execution, mark))
        if isinstance(error, TimeoutError) and deadline.expired():
            raise timeout_error(execution, timeout, output, killed) from None
        raise
    return ExecResult(
        exit_code=exit_code, stdout=output.stdout, stderr=output.stderr, truncated=output.truncated
    )


async def _run(docker: Docker, execution: Execution, mark: str, output: Output) -> int:
    name, _, value = mark.partition("=")
    command = await docker.containers.container(execution.container).exec(
        _build_argv(execution),
        stdin=execution.stdin is not None,
        user=execution.user,
        environment={**execution.env, name: value},
    )
    async with command.start() as stream:
        await _exchange(stream, execution.stdin, output)
    state = await command.inspect()
    if state["Running"] or state["ExitCode"] is None:
        raise CodingAgentError(
            f"the engine closed the connection while {describe_command(execution)} was still running",
            where=shorten_id(execution.container),
        )
    return int(state["ExitCode"])


def _build_argv(execution: Execution) -> list[str]:
    if execution.stdin is None:
        return list(execution.argv)
    return ["sh", "-c", _FEED, "sh", str(len(execution.stdin)), *execution.argv]


async def _exchange(stream: Stream, stdin: bytes | None, output: Output) -> None:
    feeding = asyncio.create_task(_feed(stream, stdin or b""))
    try:
        while (message := await stream.read_out()) is not None:
            output.add("stderr" if message.stream == _STDERR else "stdout", message.data)
    finally:
        if not feeding.done():
            # Closing normally would wait forever for the command to take the rest of its input.
            connection = stream._resp.connection if stream._resp is not None else None
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(stream: Stream, stdin: bytes) -> None:
    for start in range(0, len(stdin), _STDIN_PIECE):
        await stream.write_in(stdin[start : start + _STDIN_PIECE])


async def _kill(docker: Docker, execution: Execution, mark: str) -> bool:
    """Kill all processes with the mark; returns whether none is left. Raises only CancelledError."""
    argv = ("sh", "-c", _KILL, "sh", mark)
    killer = Execution(container=execution.container, argv=argv, user=execution.user, output_limit=0)
    try:
        async with asyncio.timeout(KILL_SECONDS):
            return await _run(docker, killer, f"{MARK}=", Output(0)) == 0
    except (DockerError, ClientError, CodingAgentError, TimeoutError, OSError):
        return False
