"""Plans on disk: a regular file of a sane size, read without ever waiting for anybody."""

import os
import stat
from pathlib import Path

from orchestrator.errors import PlanError
from orchestrator.plan.model import Plan
from orchestrator.plan.reader import read_plan
from orchestrator.plan.text import MAX_BYTES

_CHUNK = 1 << 20


def read_plan_file(path: Path, format: str | None = None) -> tuple[Plan, bytes]:
    """The plan and the bytes it was read from; the plan's path is `path` as given.

    Raises PlanError when there is no such file, it is no regular file, too large, or no plan.
    """
    data = _bytes_of(path)
    return read_plan(data, path=str(path), format=format), data


def _bytes_of(path: Path) -> bytes:
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        hint = "Check the path, or write a plan with `orchestrator plan new TITLE`."
        raise PlanError("there is no such file", where=str(path), hint=hint) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PlanError(f"the plan cannot be opened: {reason}", where=str(path), hint=_HINT) from None
    try:
        return _read(descriptor, path)
    except OSError as error:
        raise PlanError(f"the plan cannot be read: {error.strerror}", where=str(path), hint=_HINT) from None
    finally:
        os.close(descriptor)


_HINT = "Name a regular file that you may read."


def _read(descriptor: int, path: Path) -> bytes:
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no regular file"
        raise PlanError(f"the plan is {kind}", where=str(path), hint=_HINT)
    pieces: list[bytes] = []
    size = 0
    while size <= MAX_BYTES and (piece := os.read(descriptor, _CHUNK)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
