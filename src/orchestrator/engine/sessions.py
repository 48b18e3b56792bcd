"""Carry an agent's session from one attempt's HOME to the next, and nothing else of it.

An agent owned the source: every step is opened relative to the one before without following links, only
regular files and folders are taken, of bounded size, depth and number.
"""

import os
import stat
from pathlib import Path

from orchestrator.project.run_folder import give
from orchestrator.subprocesses import Identity

MAX_ENTRIES = 2_000
"""Files and folders."""
MAX_BYTES = 200_000_000
MAX_DEPTH = 8

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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
        folder = _open_folder(home, parts[:-1])
        try:
            found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(folder)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def carry_session(source: Path, target: Path, session_files: tuple[str, ...], owner: Identity) -> None:
    """Copy these files and folders; what is absent or is no file or folder is left out."""
    allowance = _Allowance()
    for relative in session_files:
        parts = relative.split("/")
        try:
            folder = _open_folder(source, parts[:-1])
        except OSError:
            continue
        try:
            _make_parents(target, parts[:-1], owner)
            _copy(folder, parts[-1], target.joinpath(*parts), owner, allowance, MAX_DEPTH)
        finally:
            os.close(folder)


def _open_folder(root: Path, parts: list[str]) -> int:
    folder = os.open(root, _FOLDER)
    for part in parts:
        try:
            inner = os.open(part, _FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _make_parents(target: Path, parts: list[str], owner: Identity) -> None:
    for part in parts:
        target = target / part
        if not target.exists():
            target.mkdir(mode=0o700)
            give(target, owner)


def _copy(folder: int, name: str, target: Path, owner: Identity, allowance: _Allowance, depth: int) -> None:
    if allowance.entries == 0:
        return
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError:
        return
    allowance.entries -= 1
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            _copy_file(descriptor, target, owner, allowance)
        elif stat.S_ISDIR(mode) and depth > 0:
            target.mkdir(mode=0o700, exist_ok=True)
            give(target, owner)
            for entry in os.listdir(descriptor):  # noqa: PTH208 - by descriptor, never by name
                _copy(descriptor, entry, target / entry, owner, allowance, depth - 1)
    finally:
        os.close(descriptor)


def _copy_file(descriptor: int, target: Path, owner: Identity, allowance: _Allowance) -> None:
    size = os.fstat(descriptor).st_size
    if size > allowance.bytes:
        return
    allowance.bytes -= size
    with os.fdopen(os.dup(descriptor), "rb") as source, target.open("wb") as copy:
        copy.write(source.read(size))
    target.chmod(0o600)
    give(target, owner)
