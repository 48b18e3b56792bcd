"""Copy an agent's session from the HOME of one attempt to the HOME of the next, and nothing else of it.

An agent owned the source HOME and may have prepared it. Copying runs on the host, often as root, so each of
these would be an attack: a link in place of a file or of a folder on the way (root reads, and hands to the
next agent, any file of the machine), a pipe or device (the copy never returns), folders without end or files
without limit (the host's disk fills). Therefore every entry is opened relative to the open folder before it,
without following links and without waiting; only regular files and folders are copied; depth, number of
entries and total size are limited. What is refused is left out: the agent then starts without that part of
its session, which harms only its own run.
"""

import os
import stat
from pathlib import Path

from orchestrator.files import Owner, give_to, make_private_folder, open_below, open_entry

MAX_ENTRIES = 2_000
"""Files and folders, of all that is copied."""
MAX_BYTES = 200_000_000
"""Of all files together."""
MAX_DEPTH = 8


class _Allowance:
    def __init__(self) -> None:
        self.entries = MAX_ENTRIES
        self.bytes = MAX_BYTES


def has_session(home: Path, session_files: tuple[str, ...]) -> bool:
    """Whether the first of the session's files is a regular file that is not empty."""
    if not session_files:
        return False
    parts = session_files[0].split("/")
    try:
        folder = open_below(home, parts[:-1])
        try:
            found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(folder)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def carry_session(source: Path, target: Path, session_files: tuple[str, ...], owner: Owner) -> None:
    """Copy these files and folders from one HOME to another. What is missing or refused is left out.

    `target` is a new HOME in which no agent has worked, so its own paths need no such care.
    """
    allowance = _Allowance()
    for relative in session_files:
        parts = relative.split("/")
        try:
            folder = open_below(source, parts[:-1])
        except OSError:
            continue
        try:
            parent = target
            for part in parts[:-1]:
                parent = parent / part
                make_private_folder(parent, owner, exist_ok=True)
            _copy(folder, parts[-1], target.joinpath(*parts), owner, allowance, MAX_DEPTH)
        finally:
            os.close(folder)


def _copy(folder: int, name: str, target: Path, owner: Owner, allowance: _Allowance, depth: int) -> None:
    # One allowance for the whole copy, not one for each folder: otherwise many small folders would add up.
    if allowance.entries == 0:
        return
    try:
        descriptor = open_entry(name, dir_fd=folder)
    except OSError:
        return
    allowance.entries -= 1
    try:
        # Of the open descriptor: the name may lead to something else by now.
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_size <= allowance.bytes:
            allowance.bytes -= found.st_size
            with os.fdopen(os.dup(descriptor), "rb") as source, target.open("wb") as copy:
                # No more than was allowed, even if a process of the agent's still writes to the file.
                copy.write(source.read(found.st_size))
            target.chmod(0o600)
            give_to(target, owner)
        elif stat.S_ISDIR(found.st_mode) and depth > 0:
            make_private_folder(target, owner, exist_ok=True)
            for entry in os.listdir(descriptor):  # noqa: PTH208 - by descriptor, never by name
                _copy(descriptor, entry, target / entry, owner, allowance, depth - 1)
    finally:
        os.close(descriptor)
