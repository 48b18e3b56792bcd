"""What a person has approved of a repository's file: kept in the state folder, out of an agent's reach.

The approved values themselves are stored, not only a hash of them, so that a change can be shown as one. They
count for one code folder: where its `.git` really lies. A record that somebody else could have written counts
for nothing.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.files import open_regular, write_atomically

SCHEMA = 1
LARGEST_RECORD = 1_000_000  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """A value of the repository's file that counts only with approval, and whether it has it."""

    key: str
    value: object
    """As it was written."""
    where: str
    """`orchestrator.toml:12`"""
    reason: str
    """Why it needs approval."""
    approved: bool
    before: object = None
    """What was approved for this key; None for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    values: Mapping[str, object] = field(default_factory=dict)
    """By key, as they were written."""
    everything: bool = False
    """The file is one that a run was started with, and so had been approved then."""

    def covers(self, key: str, value: object) -> bool:
        if self.everything:
            return True
        return key in self.values and canonical(self.values[key]) == canonical(value)


def canonical(value: object) -> str:
    """The same text for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def read_approval(state: Path, folder: Path) -> Approval:
    """What was approved for a code folder; nothing where there is no record, or one that is not ours."""
    path = _record(state, folder)
    if not all(_only_ours(place) for place in (state, path.parent)):
        return Approval()
    try:
        with open_regular(path) as file:
            if not _private(os.fstat(file.fileno())):
                return Approval()
            return _parsed(file.read(LARGEST_RECORD), _identity(folder))
    except OSError:
        return Approval()


def write_approval(state: Path, folder: Path, values: Mapping[str, object]) -> None:
    """Approve exactly these values; what was approved before is replaced. Raises OSError."""
    path = _record(state, folder)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    record = {"schema": SCHEMA, "repository": _identity(folder), "values": dict(values)}
    write_atomically(path, f"{canonical(record)}\n".encode())


def _identity(folder: Path) -> str:
    return os.path.realpath(folder / ".git")


def _record(state: Path, folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(_identity(folder))).hexdigest()[:32]
    return state / "trust" / f"{name}.json"


def _only_ours(place: Path) -> bool:
    try:
        return _private(place.stat())
    except OSError:
        return False


def _private(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _parsed(content: bytes, identity: str) -> Approval:
    try:
        record: Any = json.loads(content)
    except (ValueError, RecursionError):
        return Approval()
    known = isinstance(record, dict) and record.get("schema") == SCHEMA
    if not known or record.get("repository") != identity or not isinstance(record.get("values"), dict):
        return Approval()
    return Approval(values=record["values"])
