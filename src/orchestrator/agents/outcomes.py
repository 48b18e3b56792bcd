"""The outcome file: what an agent without a structured stream writes, read on the host.

The agent chose everything about this file: its kind, size and content. Nothing here follows a link, waits
for a writer or reads more than the contract allows.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from orchestrator.agents.json_object import decode_object
from orchestrator.events import OUTCOME_MAX_BYTES, OUTCOME_MAX_OPTIONS, InvalidOutcome, Outcome, parse_outcome

OUTCOME_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "status": {
            "type": "string",
            "enum": ["completed", "failed", "needs_human"],
            "description": "completed: the task is done and its checks pass; failed: it cannot be done; "
            "needs_human: only a person can decide, and `question` says what",
        },
        "summary": {"type": "string", "description": "What was done, in a few sentences."},
        "handoff": {
            "type": "string",
            "description": "Markdown for whoever does the next task: decisions, and what to know.",
        },
        "question": {"type": "string", "description": "Required with needs_human: one question."},
        "options": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": OUTCOME_MAX_OPTIONS,
            "description": "Possible answers to the question.",
        },
        "recommendation": {"type": "string", "description": "The answer you would give, and why."},
    },
    "required": ["status", "summary", "handoff"],
    "additionalProperties": False,
}
"""For agents that take a JSON schema; `parse_outcome` checks what it cannot say."""


def read_outcome_file(path: Path) -> Outcome | InvalidOutcome | None:
    """The outcome an agent wrote, or None without a file; never raises for what an agent can write."""
    try:
        raw = _read_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return InvalidOutcome(reason=f"the outcome file cannot be read: {error.strerror}")
    if raw is None:
        return InvalidOutcome(reason="the outcome file is not a regular file")
    if len(raw) > OUTCOME_MAX_BYTES:
        return InvalidOutcome(reason=f"the outcome file is larger than {OUTCOME_MAX_BYTES} bytes")
    try:
        return parse_outcome(decode_object(raw))
    except UnicodeDecodeError:
        return InvalidOutcome(reason="the outcome file is not UTF-8")
    except ValueError as error:
        return InvalidOutcome(reason=f"the outcome file is not a JSON object: {error}")


def _read_regular(path: Path) -> bytes | None:
    """At most one byte more than allowed; None when it is something else than a regular file."""
    # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with (
        _opened(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as folder,
        _opened(path.name, flags, folder) as descriptor,
    ):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(OUTCOME_MAX_BYTES + 1)


@contextmanager
def _opened(path: Path | str, flags: int, folder: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
