"""Carry an agent's session from one attempt's HOME to the next, and nothing else of it.

An agent owned the source: every step is opened relative to the one before without following links, only
regular files and folders are taken, of bounded size, depth and number.
"""

import os
import stat
from pathlib import Path

from orchestrator.files import Owner, give_to, make_private_folder, open_below, open_entry

MAX_ENTRIES = 2_000
"""Files and folders."""
MAX_BYTES = 200_000_000
MAX_DEPTH = 8


class _Allowance:
    def __init__(self) -> None:
        self.entries = MAX_ENTRIES
        self.bytes = MAX_BYTES


def session_exists(home: Path, session_files: tuple[str, ...]) -> bool:
    """Whether the first of the session's files is there as a regular file that is not empty."""
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
    """Copy these files and folders; what is absent or is no file or folder is left out."""
    allowance = _Allowance()
    for relative in session_files:
        parts = relative.split("/")
        try:
            folder = open_below(source, parts[:-1])
        except OSError:
            continue
        try:
            _make_parents(target, parts[:-1], owner)
            _copy(folder, parts[-1], target.joinpath(*parts), owner, allowance, MAX_DEPTH)
        finally:
            os.close(folder)


def _make_parents(target: Path, parts: list[str], owner: Owner) -> None:
    for part in parts:
        target = target / part
        if not target.exists():
            make_private_folder(target, owner)


def _copy(folder: int, name: str, target: Path, owner: Owner, allowance: _Allowance, depth: int) -> None:
    if allowance.entries == 0:
        return
    try:
        descriptor = open_entry(name, dir_fd=folder)
    except OSError:
        return
    allowance.entries -= 1
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            _copy_file(descriptor, target, owner, allowance)
        elif stat.S_ISDIR(mode) and depth > 0:
            make_private_folder(target, owner, exist_ok=True)
            for entry in os.listdir(descriptor):  # noqa: PTH208 - by descriptor, never by name
                _copy(descriptor, entry, target / entry, owner, allowance, depth - 1)
    finally:
        os.close(descriptor)


def _copy_file(descriptor: int, target: Path, owner: Owner, allowance: _Allowance) -> None:
    size = os.fstat(descriptor).st_size
    if size > allowance.bytes:
        return
    allowance.bytes -= size
    with os.fdopen(os.dup(descriptor), "rb") as source, target.open("wb") as copy:
        copy.write(source.read(size))
    target.chmod(0o600)
    give_to(target, owner)
