"""A command for a running container, its output, and the error after its time-out."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.errors import CodingAgentTimeout

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    container: str
    argv: tuple[str, ...]
    stdin: bytes | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    """Empty: the container's own."""
    output_limit: int
    """Bytes, over both streams."""
    on_output: Callable[[bytes], object] | None = None
    """Gets each piece of output that is within the limit when it comes."""


class Output:
    """The output of a command, up to a limit; the rest is read and dropped, so that the command continues."""

    def __init__(self, limit: int, on_output: Callable[[bytes], object] | None = None) -> None:
        self._room = limit
        self._on_output = on_output
        self._stdout = bytearray()
        self._stderr = bytearray()
        self.truncated = False

    def add(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        kept = data[: self._room]
        self._room -= len(kept)
        self.truncated = self.truncated or len(kept) < len(data)
        (self._stderr if stream == "stderr" else self._stdout).extend(kept)
        if kept and self._on_output is not None:
            self._on_output(kept)

    @property
    def stdout(self) -> str:
        return self._stdout.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self._stderr.decode("utf-8", "replace")


def timeout_error(execution: Execution, timeout: float, output: Output, killed: bool) -> CodingAgentTimeout:
    end = "and was killed" if killed else "and could not be killed: it ends when the container is removed"
    error = CodingAgentTimeout(
        f"{describe_command(execution)} took longer than {timeout:g} s {end}",
        where=shorten_id(execution.container),
    )
    error.stdout, error.stderr = output.stdout, output.stderr
    return error


def shorten_id(container: str) -> str:
    """A container for messages: a name in full, an id as `docker ps` shows it."""
    return container[:12] if _ID.fullmatch(container) else container


def describe_command(execution: Execution) -> str:
    """The command in one line of at most 200 characters, for messages."""
    line = " ".join(execution.argv)
    return line if len(line) <= 200 else f"{line[:199]}…"
